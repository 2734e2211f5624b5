"""The page docs/performance.md, with what was measured in one run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from installs import report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from installs.contenders import Contender
    from installs.measure import Measured
    from installs.sizes import Sizes

    Results = Mapping[tuple[str, str], Mapping[Contender, Sequence[Measured]]]
    """By setting, and by the form of the release."""

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
FULL: Final = "any"
_YARDSTICK: Final = {True: "xdelta3", False: "bmaptool, with checksums"}

_HEAD: Final = """\
# How fast it is

Written by `sudo make bench` on {date}: a machine with {processors} processors, its disk without a limit of its own, medians of {rounds} rounds in which everybody takes turns. Each writes a Debian system with a kernel
(1 GiB, about 600 MB of it in use) into an empty slot. The page cache is dropped before, the slot is durable at the end, and its contents are compared with the image after the clock has stopped. Slow sticks and slots are made by QEMU's storage
daemon, which limits reading and writing together.

"usbupdate" is the installation as a device does it once it trusts the manifest: everything that the slot lacks is proven before the first write ([ADR 0006](adr/0006-verified-before-the-first-write.md)), proven again when it is
written, and read back from the slot's device. No peer reads back, so there is a row without it for comparison only: a device always reads back.

![Seconds for one installation](performance.svg)
"""


def write(results: Results, sizes: Mapping[str, Sizes], date: str, rounds: int) -> None:
    """Write the page and its picture."""
    parts = [_HEAD.format(date=date, processors=os.cpu_count(), rounds=rounds)]
    for (setting, kind), measured in results.items():
        known = kind != FULL
        title = f"the device runs the base, next release {kind}" if known else "a whole image"
        parts.append(f"\n## {setting[:1].upper()}{setting[1:]}: {title}\n\n{report.table(measured, _YARDSTICK[known])}")
    parts.append(_sizes(sizes))
    (DOCS / "performance.md").write_text("".join(parts), "utf-8")
    pictured = {
        f"{setting}, {kind}" if kind != FULL else f"{setting}, whole image": each for (setting, kind), each in results.items()
    }
    (DOCS / "performance.svg").write_text(report.plot(pictured), "utf-8")


def _sizes(sizes: Mapping[str, Sizes]) -> str:
    lines = [
        "\n## What differs, in bytes\n",
        "What a stick carries for a device that runs the base: indexes, recipes and packs of a stick with deltas only, beside what two programs make of the same two images.\n",
        "| next release | usbupdate | `xdelta3 -9` | of it | `zstd -19 --patch-from --long=31` | of it |",
        "|---|---|---|---|---|---|",
    ]
    for kind, each in sizes.items():
        ours, xdelta, patch = (value / 1e6 for value in (each.ours, each.xdelta3, each.zstd_patch))
        lines.append(
            f"| {kind} | {ours:.1f} MB | {xdelta:.1f} MB | {ours / xdelta:.2f} | {patch:.1f} MB | {ours / patch:.2f} |"
        )
    return "\n".join(lines) + "\n"
