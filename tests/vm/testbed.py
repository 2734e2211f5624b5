"""What the scenarios start from, built once and cached: an office, sticks with its releases, and a device at rest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refdevice import disk, machine, release, rootfs
from refdevice.cache import cached, digest_of
from refdevice.disk import BootScript
from refdevice.guest import Guest
from refdevice.layout import COMPATIBLE
from refdevice.machine import Disk, Start
from refdevice.release import Fault, Release
from refdevice.stickimage import FileSystem, make_stick

MIB: Final = 1 << 20
STICK_SIZE: Final = 512 * MIB
_FILLING: Final = 8 * MIB + 4096
"""No whole number of chunks, so that what comes behind it moves within its chunk, too."""

_IDLE: Final = "The device reference-1 is ready"


def office() -> Path:
    """Return an office with keys and a root of trust, and nothing released yet."""
    return cached("office", digest_of("1"), _make_office)


def _make_office(target: Path) -> None:
    usbupdate("repo", "init", target)


def first_release() -> Release:
    """Return what every device runs at first."""
    return Release("1.0", 1, office() / "metadata/1.root.json")


def next_release(fault: Fault | None = None, **changes: object) -> Release:
    """Return the release that a device is updated to."""
    return Release("2.0", 2, office() / "metadata/1.root.json", fault, **changes)  # type: ignore[arg-type]


def distant_release() -> Release:
    """Return a next release in which hardly a block lies where the first one has it: a long file comes before all others."""
    digests = "".join(hashlib.sha256(number.to_bytes(4, "big")).hexdigest() for number in range(_FILLING // 64))
    return next_release(settings=(("aaa", digests),))


def stick_folder(*releases: Release) -> Path:
    """Return what `stick write` makes of an office that has these releases."""
    key = digest_of(*(release.key_of(each) for each in releases), rootfs.wheel_of_checkout().parent.name)

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            here = Path(folder) / "office"
            subprocess.run(["cp", "-R", office(), here], check=True)
            for each in releases:
                image = Path(folder) / "image"
                release.build(each, image)
                usbupdate(
                    *("bundle", "create", image, "--repo", here, "--name", release.NAME, "--compatible", COMPATIBLE),
                    *("--version", each.version, "--sequence", str(each.sequence)),
                )
            target.mkdir()
            usbupdate("stick", "write", here, target)

    return cached("stick", key, build)


def stick_image(target: Path, *releases: Release, filesystem: FileSystem = FileSystem.FAT32) -> Path:
    """Write a stick with these releases as a disk image, and return its path."""
    make_stick(target, stick_folder(*releases), size=STICK_SIZE, filesystem=filesystem)
    return target


@dataclass(frozen=True, slots=True)
class Resting:
    """A device that was provisioned, confirmed its boot and does nothing: its disk, and its memory at that moment."""

    disk: Path
    memory: Path


def resting_device(script: BootScript = BootScript.USBUPDATE) -> Resting:
    """Return a device at rest, booted once for all scenarios."""
    first = first_release()
    # A machine's memory fits only the machine that it was taken from.
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True, text=True).stdout
    key = digest_of(release.key_of(first), disk.key_of(script), Path(machine.__file__), qemu)

    def build(target: Path) -> None:
        target.mkdir()
        image = target / "release"
        release.build(first, image)
        disk.build(image, script, target / "disk.raw")
        image.unlink()
        with Guest(target, Start(Disk(target / "disk.raw"))) as guest:
            guest.machine.run()
            guest.expect(_IDLE)
            guest.expect_shell()
            guest.run("systemctl start usbupdate-boot.service; systemctl is-system-running --wait; sync")
            guest.machine.save(target / "memory")

    folder = cached(f"resting-{script}", key, build)
    return Resting(folder / "disk.raw", folder / "memory")


def overlay(disk_file: Path, target: Path) -> Disk:
    """Return a disk that begins with the contents of another and leaves that one as it is."""
    options = ["-f", "qcow2", "-F", "raw", "-b", disk_file.resolve()]
    subprocess.run(["qemu-img", "create", "-q", *map(str, options), target], check=True)
    return Disk(target, "qcow2")


def usbupdate(*arguments: str | Path) -> str:
    """Run the product's command in the office and return what it printed."""
    command = [sys.executable, "-m", "usbupdate", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
