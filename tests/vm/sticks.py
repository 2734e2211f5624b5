"""Sticks that a device is not meant to install from, made from good ones."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from refdevice import rootfs
from refdevice.cache import cached, digest_of
from refdevice.stickimage import FileSystem, Fill, make_stick
from tests.vm import testbed

OTHER: Final = "acme,another"
SMALL: Final = 64 * testbed.MIB
_PAGE: Final = 4096


def log_folder() -> Path:
    """Return what `stick write --log-only` makes: metadata, and room for receipts."""

    def build(target: Path) -> None:
        target.mkdir()
        testbed.usbupdate("stick", "write", testbed.office(), target, "--log-only")

    return cached("log-stick", _key(), build)


def other_hardware_folder() -> Path:
    """Return what `stick write` makes of a small release for other hardware."""

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            office, image = Path(folder) / "office", Path(folder) / "image"
            subprocess.run(["cp", "-R", testbed.office(), office], check=True)
            image.write_bytes(b"another machine's" * _PAGE)
            names = ("--name", "another", "--compatible", OTHER, "--version", "9.0", "--sequence", "9")
            testbed.usbupdate("bundle", "create", image, "--repo", office, *names)
            target.mkdir()
            testbed.usbupdate("stick", "write", office, target)

    return cached("other-stick", _key(), build)


def small_stick(
    target: Path,
    folder: Path | None,
    *,
    filesystem: FileSystem = FileSystem.FAT32,
    fill: Fill = Fill.LEAVE_FREE,
    volume_id: int = 0x1234_5678,
) -> Path:
    """Write a stick of 64 MiB as a disk image, and return its path."""
    make_stick(target, folder, size=SMALL, filesystem=filesystem, fill=fill, volume_id=volume_id)
    return target


def copy_of(folder: Path, target: Path) -> Path:
    """Return a copy of a stick's folder that may be spoilt."""
    subprocess.run(["cp", "-R", folder, target], check=True)
    return target


def pack_in(folder: Path) -> Path:
    """Return the largest file of the payload."""
    return max((each for each in folder.glob("usbupdate/payload/*/*")), key=lambda each: each.stat().st_size)


def index_in(folder: Path) -> Path:
    """Return the smallest file of the payload."""
    return min((each for each in folder.glob("usbupdate/payload/*/*")), key=lambda each: each.stat().st_size)


def flip_in_every_page(path: Path) -> None:
    """Change one byte in every 4 KiB, so that some lie in what the device lacks."""
    contents = bytearray(path.read_bytes())
    for offset in range(_PAGE // 2, len(contents), _PAGE):
        contents[offset] ^= 0x01
    path.write_bytes(contents)


def flip_one(path: Path) -> None:
    """Change one byte, in the middle."""
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 0x01
    path.write_bytes(contents)


def sectors_of(image: Path, path: Path, *, every: int) -> list[int]:
    """Return sectors of an image in which a file of the stick lies, one in so many; it must lie there in one piece."""
    contents = path.read_bytes()
    start = image.read_bytes().find(contents)
    assert start >= 0
    sectors = range(start // 512, (start + len(contents)) // 512, every)
    # At whole MiB, marks of file systems are looked for: a stick that cannot be read there is taken for one without any.
    return [sector for sector in sectors if sector % 2048 >= every]


def _key() -> str:
    return digest_of("1", rootfs.wheel_of_checkout().parent.name)
