"""How many bytes differ between two releases, by usbupdate's reckoning and by that of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from installs import copiers, product
from installs.measure import stick_image
from installs.mounts import mounted
from installs.programs import run
from refdevice.cache import cached, digest_of
from usbupdate.core import manifest as manifests

if TYPE_CHECKING:
    from installs.contender import Task


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that tell a new image where the old one is known."""

    ours: int
    xdelta3: int
    zstd_patch: int


def measured_sizes(task: Task) -> Sizes:
    """Return them for one task; what takes minutes to make is made once."""
    with mounted(stick_image(product.DELTA, task), "ro") as mount:
        (file,) = (mount / "usbupdate/targets").iterdir()
        (artifact,) = manifests.decode(file.read_bytes()).artifacts
        (delta,) = artifact.deltas
        ours = delta.index.size + sum(pack.size for pack in delta.packs)
    with mounted(stick_image(copiers.XDELTA, task), "ro") as mount:
        xdelta = (mount / "image.xdelta").stat().st_size
    key = digest_of(Path(__file__), task.new.name, task.old.name)
    patch = cached("bench-patch.zst", key, lambda target: _write_zstd_patch(task, target))
    return Sizes(ours, xdelta, patch.stat().st_size)


def _write_zstd_patch(task: Task, target: Path) -> None:
    """Write what zstd makes of the two images, with all of them in memory."""
    run("zstd", "-q", "-19", "-T0", "--long=31", f"--patch-from={task.old}", task.new, "-o", target)
