"""How many bytes differ between two releases, by usbupdate's reckoning and by that of others."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from installs.images import mounted, run
from usbupdate.core import manifest as manifests

if TYPE_CHECKING:
    from installs.measure import Task


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that tell a new image where the old one is known."""

    ours: int
    xdelta3: int
    zstd_patch: int


def sizes(delta_stick: Path, xdelta_stick: Path, patch: Path) -> Sizes:
    """Return them; the sticks are image files of the contenders, `patch` is from `zstd_patch`."""
    with mounted(delta_stick, "ro") as mount:
        (file,) = (mount / "usbupdate/targets").iterdir()
        (artifact,) = manifests.decode(file.read_bytes()).artifacts
        (delta,) = artifact.deltas
        ours = delta.index.size + sum(pack.size for pack in delta.packs)
    with mounted(xdelta_stick, "ro") as mount:
        xdelta = (mount / "image.xdelta").stat().st_size
    return Sizes(ours, xdelta, patch.stat().st_size)


def zstd_patch(task: Task, target: Path) -> None:
    """Write what zstd makes of the two images, with all of them in memory."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "patch"
        run("zstd", "-q", "-19", "-T0", "--long=31", f"--patch-from={task.old}", task.new, "-o", made)
        made.rename(target)
