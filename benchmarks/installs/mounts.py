"""Image files as mounted file systems and as block devices, for as long as a `with` lasts."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from installs.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def mounted(image: Path, *options: str) -> Iterator[Path]:
    """Mount an image file, and yield where."""
    folder = image.with_name(f"{image.name}.mount")
    folder.mkdir(exist_ok=True)
    try:
        run("mount", "-o", ",".join(("loop", *options)), image, folder)
        yield folder
    finally:
        # A signal may come when mount has done its work and has not said so yet.
        if is_mounted(folder):
            run("umount", folder)
        folder.rmdir()


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted at a path, also if nobody answers there any more."""
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    return any(line.split(" ")[4] == str(path) for line in lines)


@contextmanager
def looped(image: Path) -> Iterator[Path]:
    """Show a file as a block device, and yield which."""
    try:
        yield Path(run("losetup", "--find", "--show", image).strip())
    finally:
        for line in run("losetup", "--noheadings", "--output", "NAME", "--associated", image).split():
            run("losetup", "--detach", line)
