"""How long it takes to make a bundle, against `rauc bundle` of about the same size, and how long the next one takes.

Run: make bench (as root: the second image is the first one, mounted and changed a little), or for the table of levels in
docs/release-engineer.md: python benchmarks/bundle.py --levels [--image IMAGE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "images")]

from installs import rauc  # noqa: E402 - found by the line above
from installs.images import SMALL, USUAL, images  # noqa: E402
from installs.mounts import mounted  # noqa: E402
from installs.office import Office  # noqa: E402
from installs.programs import end_orderly_when_told, run  # noqa: E402

from refdevice.cache import cache_folder  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from installs.images import Images

RAUC_LEVELS: Final = (12, 15, 19, 22)
LEVELS: Final = (3, 9, 12, 15, 19)
USUAL_LEVEL: Final = 15
CHANGED_FILES: Final = 40


def seconds(work: Callable[[], None]) -> float:
    """Return how long something took, with what it wrote durable."""
    run("sync")
    start = time.perf_counter()
    work()
    os.sync()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], None]) -> float:
    """Return how much processor time the programs took that some work started, which other work beside it hardly changes."""
    before = os.times()
    work()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def changed(image: Path, target: Path) -> None:
    """Make nearly the same image: some files have a line more."""
    run("cp", "--sparse=always", image, target)
    with mounted(target) as system:
        files = sorted(file for file in (system / "usr/share").rglob("*") if file.is_file() and not file.is_symlink())
        for file in files[:: len(files) // CHANGED_FILES]:
            with file.open("a", encoding="utf-8") as text:
                text.write("changed\n")


class Bundles:
    """Makes bundles in a folder, each in an office of its own, and measures it in some way."""

    def __init__(self, folder: Path, measured: Callable[[Callable[[], None]], float] = seconds) -> None:
        self._folder = folder
        self._measured = measured
        self._made = 0

    def ours(self, image: Path, frames: Path, *more: str | Path) -> tuple[float, int]:
        """Return seconds and bytes of `bundle create`."""
        self._made += 1
        office = Office(self._folder / f"office-{self._made}")
        took = self._measured(lambda: office.release(image, "--cache", frames, *more))
        size = sum(file.stat().st_size for file in (office.folder / "payload").rglob("*") if file.is_file())
        office.close()
        return took, size

    def theirs(self, image: Path, level: int) -> tuple[float, int]:
        """Return seconds and bytes of `rauc bundle`; its own copy of the image and its key are made before."""
        self._made += 1
        folder = self._folder / f"rauc-{self._made}"
        folder.mkdir()
        took = rauc.write_stick(folder, image, level=level, adaptive=False)
        size = (folder / "bundle.raucb").stat().st_size
        run("rm", "-rf", folder)
        return took, size


def compare_levels(image: Path, folder: Path, rounds: int) -> None:
    """Measure each level in turns, and print a table: processor time and size, as parts of those of the usual level."""
    bundles = Bundles(folder, processor_seconds)
    found: dict[int, list[tuple[float, int]]] = {level: [] for level in LEVELS}
    for turn in range(rounds):
        for level, each in found.items():
            frames = folder / f"frames-{level}-{turn}"
            each.append(bundles.ours(image, frames, "--level", str(level)))
            run("rm", "-rf", frames)
    took = {level: statistics.median(each_took for each_took, _ in each) for level, each in found.items()}
    size = {level: each[0][1] for level, each in found.items()}
    print("| `--level` | time | size |\n|---|---|---|")
    for level in LEVELS:
        print(f"| {level} | {took[level] / took[USUAL_LEVEL]:.2f} | {size[level] / size[USUAL_LEVEL]:.3f} |")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", action="store_true", help="only compare the levels of `bundle create`")
    parser.add_argument("--image", type=Path, help="for --levels: another image than the usual one")
    parser.add_argument("--small", action="store_true", help="a small system, to try the benchmark itself")
    asked = parser.parse_args()
    end_orderly_when_told()
    made = images(SMALL if asked.small else USUAL)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        if asked.levels:
            compare_levels(asked.image or made.old, Path(name), asked.rounds)
        else:
            compare_bundles(made, Path(name), asked.rounds)


def compare_bundles(made: Images, folder: Path, rounds: int) -> None:
    """Measure bundles and those of RAUC in turns, and print medians."""
    bundles = Bundles(folder)
    nearly, next_nearly = folder / "nearly.img", folder / "next-nearly.img"
    changed(made.old, nearly)
    changed(made.same_kernel, next_nearly)
    base = ("--base", str(made.old))
    rows: dict[str, list[tuple[float, int]]] = {}
    for turn in range(rounds):
        frames = folder / f"frames-{turn}"
        rows.setdefault("usbupdate, first", []).append(bundles.ours(made.old, frames))
        rows.setdefault("usbupdate, a nearly equal image", []).append(bundles.ours(nearly, frames))
        with_base = folder / f"frames-base-{turn}"
        rows.setdefault("usbupdate with a base, first", []).append(bundles.ours(made.same_kernel, with_base, *base))
        rows.setdefault("usbupdate with a base, a nearly equal image", []).append(bundles.ours(next_nearly, with_base, *base))
        for level in RAUC_LEVELS:
            rows.setdefault(f"rauc bundle, zstd {level}", []).append(bundles.theirs(made.old, level))
    for what, each in rows.items():
        print(f"{what}: {statistics.median(took for took, _ in each):.1f} s, {each[0][1] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
