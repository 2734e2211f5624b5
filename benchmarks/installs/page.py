"""The page performance.md and its picture, with what was measured in one run."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from installs import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from installs.contender import Contender, Task
    from installs.measure import Measured
    from installs.sizes import Sizes

_YARDSTICK: Final = {True: "xdelta3", False: "bmaptool, with checksums"}
_MIB: Final = 1 << 20

_HEAD: Final = """\
# How fast it is

Written by `sudo make bench` on {date}: a machine with {processors} processors, its disk without a limit of its own, medians of {rounds} rounds in which everybody takes turns. Each writes a Debian system
({size} MiB, {used} MB of it in use) into an erased slot, in which every byte is zero. The page cache is dropped before, the slot is durable at the end, and its contents are compared with the image after the
clock has stopped. Slow sticks and slots are made by QEMU's storage daemon, which limits reading and writing together. Memory is that of the largest process, at its peak. {remark}

The next release has all updates of its suite, a new kernel and its initramfs among them, and is made anew ("rebuilt") or updated in place; "same kernel" is updated in place with all but that, as most releases are. With a slow slot only some take part,
and with a slow stick only two forms, for it would take hours.

"usbupdate" is the installation as a device does it once it trusts the manifest: everything that the slot lacks is proven before the first write ([ADR 0006](adr/0006-verified-before-the-first-write.md)), proven again when it is
written, and read back from the slot's device. No peer reads back, so there is a row without it for comparison only: a device always reads back. "Whole insertion" is what a technician waits for before
the restart: all of `usbupdate device insert`, the start of the program included, with the stick's metadata verified, the release installed and read back, the state saved, and the boot loader told.

The peers are Debian's packages: {versions}. What differs among them besides time:

- SWUpdate, Mender and bmaptool know only when all is written, or a range of it, whether it was right; RAUC proves the bundle as a whole before, casync each chunk. RAUC, SWUpdate and Mender check a signature; bmaptool, casync and xdelta3 check none.
- bmaptool leaves blocks as they are that the file system of the image does not use, usbupdate those in which it finds zeros; everybody else writes them. In a slot that is not erased usbupdate writes zeros and bmaptool leaves what was there.
- `swupdate -i` looks once a second whether it is done, so its time is a little more than a whole number of seconds.
- Mender compresses with gzip, since its artifacts know no zstd. It writes to a block device only, here a loop device upon the slot, and makes each MiB durable. Its delta updates are a commercial addition, so it has a whole image only.
- casync has its own chunks and compression as it comes, in a store of small files; it reads the whole running slot as its seed.
- RAUC's service is running already when the clock starts; every other program is started with it.

![Seconds for one installation](performance.svg)
"""


@dataclass(slots=True)
class Results:
    """What was measured: for each setting, and form of the release that matters to it, the rounds of each contender."""

    groups: dict[tuple[str, str | None], dict[Contender, list[Measured]]] = field(default_factory=dict)

    def add(self, setting: str, form: str, contender: Contender, measured: Measured) -> None:
        """Take one round; a whole image is the same work for every form."""
        group = self.groups.setdefault((setting, form if contender.known_base else None), {})
        group.setdefault(contender, []).append(measured)

    def tables(self) -> str:
        """Return everything as tables with headings."""
        parts = []
        for (setting, form), measured in self.groups.items():
            title = f"the device runs the base, next release {form}" if form else "a whole image"
            table = report.table(measured, _YARDSTICK[form is not None])
            parts.append(f"\n## {setting[:1].upper()}{setting[1:]}: {title}\n\n{table}")
        return "".join(parts)

    def picture(self) -> str:
        """Return everything as one picture."""
        return report.plot(
            {f"{setting}, {form or 'whole image'}": measured for (setting, form), measured in self.groups.items()}
        )


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which circumstances one run measured: when, how often, what, and whom; `remark` is what else has to be known."""

    date: str
    rounds: int
    task: Task
    versions: Sequence[str]
    remark: str = ""


def write(folder: Path, results: Results, sizes: Mapping[str, Sizes], circumstances: Circumstances) -> None:
    """Write the page and its picture."""
    image = circumstances.task.new.stat()
    head = _HEAD.format(
        date=circumstances.date,
        processors=os.cpu_count(),
        rounds=circumstances.rounds,
        size=image.st_size // _MIB,
        used=round(image.st_blocks * 512 / 1e6),
        versions=", ".join(circumstances.versions),
        remark=circumstances.remark,
    )
    (folder / "performance.md").write_text(head + results.tables() + _sizes(sizes), "utf-8")
    (folder / "performance.svg").write_text(results.picture(), "utf-8")


def _sizes(sizes: Mapping[str, Sizes]) -> str:
    lines = [
        "\n## What differs, in bytes\n",
        "What a stick carries for a device that runs the base: indexes, recipes and packs of a stick with deltas only, beside what two programs make of the same two images.\n",
        "| next release | usbupdate | `xdelta3 -9` | of it | `zstd -19 --patch-from --long=31` | of it |",
        "|---|---|---|---|---|---|",
    ]
    for form, each in sizes.items():
        ours, xdelta, patch = (value / 1e6 for value in (each.ours, each.xdelta3, each.zstd_patch))
        lines.append(
            f"| {form} | {ours:.1f} MB | {xdelta:.1f} MB | {ours / xdelta:.2f} | {patch:.1f} MB | {ours / patch:.2f} |"
        )
    return "\n".join(lines) + "\n"
