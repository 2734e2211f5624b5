"""Installations by usbupdate and its peers, side by side in one run; writes docs/performance.md and its picture.

Needs the rights of root (mounts, caches, storage daemon), and installs the peers from Debian's packages if they are missing.
Run: make bench
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "images")]

from installs import memory, page, peers  # noqa: E402 - found by the line above
from installs.contender import Task  # noqa: E402
from installs.contenders import CONTENDERS  # noqa: E402
from installs.images import SMALL, USUAL, images  # noqa: E402
from installs.measure import IN_PLACE, REBUILT, SAME_KERNEL, Setting, install  # noqa: E402
from installs.programs import end_orderly_when_told  # noqa: E402
from installs.sizes import measured_sizes  # noqa: E402

from refdevice.cache import cache_folder  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from installs.contender import Contender

DOCS: Final = HERE.parent / "docs"
SETTINGS: Final = (
    Setting("as fast as the disk"),
    Setting("stick 30 MB/s", stick=30_000_000, forms=(REBUILT, SAME_KERNEL)),
    Setting(
        "stick 30 MB/s, slot 80 MB/s",
        stick=30_000_000,
        slot=80_000_000,
        forms=(SAME_KERNEL,),
        left_out=frozenset(
            {
                *("casync", "Mender", "zstd and dd", "usbupdate, delta, not read back"),
                *("usbupdate, whole insertion", "usbupdate, delta, whole insertion"),
            }
        ),
    ),
)


def main() -> None:
    """Prepare, and measure what was asked for."""
    given = _arguments()
    if os.geteuid() != 0:
        sys.exit("The benchmark mounts images and drops caches: run it as root.")
    end_orderly_when_told()
    peers.require()
    made = images(SMALL if given.small else USUAL)
    forms = {REBUILT: made.rebuilt, IN_PLACE: made.in_place, SAME_KERNEL: made.same_kernel}
    tasks = {form: Task(new, made.old) for form, new in forms.items()}
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        if given.memory:
            _measure_memory(tasks[REBUILT], Path(folder))
        else:
            _measure_installations(tasks, given, Path(folder))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", nargs="*", type=int, default=range(len(SETTINGS)), help="by their places")
    names = [each.name for each in CONTENDERS]
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME", help=f"of: {'; '.join(names)}")
    parser.add_argument("--small", action="store_true", help="a small system, to try the benchmark itself")
    parser.add_argument("--into", type=Path, help="folder for page and picture; docs/ if everything was measured")
    parser.add_argument("--remark", default="", help="a sentence for the page: what else has to be known of this run")
    parser.add_argument("--memory", action="store_true", help="only how much memory an insertion with a large image takes")
    given = parser.parse_args()
    if given.into is None and not given.small and len(given.only) == len(names) and len(given.settings) == len(SETTINGS):
        given.into = DOCS
    return given


def _measure_installations(tasks: dict[str, Task], given: argparse.Namespace, scratch: Path) -> None:
    chosen = [each for each in CONTENDERS if each.name in given.only]
    results = page.Results()
    for setting in (SETTINGS[place] for place in given.settings):
        for _ in range(given.rounds):
            for form, each in _turns([each for each in chosen if each.name not in setting.left_out], setting.forms):
                one = install(each, tasks[form], setting, scratch)
                print(f"{setting.name}; {form}; {each.name}: {one}", flush=True)
                results.add(setting.name, form, each, one)
    print(results.tables())
    if given.into is not None:
        sizes = {form: measured_sizes(task) for form, task in tasks.items()}
        today = datetime.now(UTC).date().isoformat()
        page.write(
            given.into, results, sizes, page.Circumstances(today, given.rounds, tasks[REBUILT], peers.versions(), given.remark)
        )


def _turns(contenders: Sequence[Contender], forms: Sequence[str]) -> Iterator[tuple[str, Contender]]:
    """Yield who is next, with which form of the release; a whole image is the same work for all of them."""
    for each in contenders:
        for form in forms if each.known_base else (REBUILT,):
            yield form, each


def _measure_memory(task: Task, scratch: Path) -> None:
    exceeded = False
    for name, took in memory.insertions(task, scratch):
        exceeded |= took.memory_bytes >= memory.LIMIT
        print(
            f"{memory.SIZE >> 30} GiB, {name}: {took.memory_bytes / (1 << 20):.1f} MiB of memory, {took.seconds:.1f} s",
            flush=True,
        )
    print(f"limit: {memory.LIMIT >> 20} MiB: {'BROKEN' if exceeded else 'held'}")
    if exceeded:
        sys.exit(1)


if __name__ == "__main__":
    main()
