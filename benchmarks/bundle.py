"""How long it takes to make a bundle, against `rauc bundle` of about the same size, and how long the next one takes.

Run: make bench (as root: the second image is the first one, mounted and changed a little)
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

RAUC_LEVELS: Final = (9, 12, 15)
CHANGED_FILES: Final = 40


def seconds(work: Callable[[], None]) -> float:
    """Return how long something took, with what it wrote durable."""
    run("sync")
    start = time.perf_counter()
    work()
    os.sync()
    return time.perf_counter() - start


def changed(image: Path, target: Path) -> None:
    """Make nearly the same image: some files have a line more."""
    run("cp", "--sparse=always", image, target)
    with mounted(target) as system:
        files = sorted(file for file in (system / "usr/share").rglob("*") if file.is_file() and not file.is_symlink())
        for file in files[:: len(files) // CHANGED_FILES]:
            with file.open("a", encoding="utf-8") as text:
                text.write("changed\n")


class Bundles:
    """Makes bundles in a folder, each in an office of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def ours(self, image: Path, frames: Path, *more: str | Path) -> tuple[float, int]:
        """Return seconds and bytes of `bundle create`."""
        self._made += 1
        office = Office(self._folder / f"office-{self._made}")
        took = seconds(lambda: office.release(image, "--cache", frames, *more))
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


def main() -> None:
    """Measure in turns, and print medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a small system, to try the benchmark itself")
    given = parser.parse_args()
    end_orderly_when_told()
    made = images(SMALL if given.small else USUAL)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        folder = Path(name)
        bundles = Bundles(folder)
        nearly = folder / "nearly.img"
        changed(made.old, nearly)
        rows: dict[str, list[tuple[float, int]]] = {}
        for turn in range(given.rounds):
            frames = folder / f"frames-{turn}"
            rows.setdefault("usbupdate, first", []).append(bundles.ours(made.old, frames))
            rows.setdefault("usbupdate, a nearly equal image", []).append(bundles.ours(nearly, frames))
            for level in RAUC_LEVELS:
                rows.setdefault(f"rauc bundle, zstd {level}", []).append(bundles.theirs(made.old, level))
        for what, each in rows.items():
            print(f"{what}: {statistics.median(took for took, _ in each):.1f} s, {each[0][1] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
