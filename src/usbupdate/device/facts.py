"""What is known of a stick besides its files: which block device it is, its file system, and the names that it gives itself.

All of it comes from a stranger's hardware: it is hints for a person, never identity, and is cleaned before it goes anywhere.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usbupdate.core.plaintext import printable
from usbupdate.core.receipt import MediumFacts
from usbupdate.device import process
from usbupdate.errors import MediumUnreadableError, UnusableFileError

FACT_MAX: Final = 200
START_MS: Final = 60_000
"""A stick that was in at power-on has been seen by the kernel this long after the start of the boot."""

_SYS: Final = Path("/sys")
_UDEV_DATA: Final = Path("/run/udev/data")
_DEV: Final = Path("/dev")
_PROBE_S: Final = 30.0
_NOTHING_FOUND: Final = 2
_SYSFS_MAX: Final = 4096
_FIRST: Final = 4096
PARTS_MAX: Final = 16
"""Partitions of a stick that are looked at: each of them is announced, and looks at all."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a block device or an image holds; all empty if that is nothing that libblkid knows."""

    type: str = ""
    uuid: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class StickDevice:
    """A block device: its path under /dev, its number as the kernel writes it, and its folder under /sys."""

    path: Path
    number: str
    sys: Path

    @property
    def is_partition(self) -> bool:
        """Whether it is a partition of a disk, and not a disk."""
        return (self.sys / "partition").exists()

    @property
    def disk(self) -> Path:
        """The folder under /sys of the disk that this is or lies on."""
        return self.sys.parent if self.is_partition else self.sys

    @property
    def plugging(self) -> str:
        """The kernel's number of this plugging-in, or of this card in a reader; empty before Linux 5.15."""
        return _attribute(self.disk / "diskseq")

    def disk_members(self) -> tuple[StickDevice, ...]:
        """Return the first partitions of the disk that this is or lies on, or the disk itself if it has none."""
        try:
            found = sorted((entry.parent for entry in self.disk.glob("*/partition")), key=lambda sys: (len(sys.name), sys.name))
        except OSError:
            # It is being pulled, and the kernel takes its folders away meanwhile.
            found = []
        return tuple(_from_sys(sys) for sys in found[:PARTS_MAX]) or (self,)


def stick_device(path: Path, *, sys_root: Path = _SYS) -> StickDevice:
    """Return the block device at `path`.

    Raises:
        UnusableFileError: there is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UnusableFileError(path=str(path), problem=error.strerror or "it cannot be looked at") from error
    if not stat.S_ISBLK(status.st_mode):
        raise UnusableFileError(path=str(path), problem="it is no block device")
    device = device_of_number(status.st_rdev, sys_root=sys_root)
    if device is None:
        raise UnusableFileError(path=str(path), problem="the kernel does not know this block device")
    return device


def device_of_number(number: int, *, sys_root: Path = _SYS) -> StickDevice | None:
    """Return the block device with this number, such as a file's `st_dev`; None for tmpfs and the like."""
    sys = sys_root / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
    return _from_sys(sys.resolve()) if sys.exists() else None


def probe(source: Path) -> FileSystem:
    """Return what file system a block device or image file holds, looked at without mounting it.

    Raises:
        MediumUnreadableError: it could not be read, or the answer is not clear, which two file systems in one place make so.
    """
    try:
        finished = process.run(["blkid", "-p", "-o", "export", source], timeout_s=_PROBE_S)
    except OSError as error:
        raise MediumUnreadableError(name=str(source), problem="the program blkid is missing") from error
    if finished.exit_code == _NOTHING_FOUND:
        # blkid says the same of what it could not look at, such as a reader without its card.
        _require_readable(source)
        return FileSystem()
    if not finished.succeeded:
        raise MediumUnreadableError(name=str(source), problem="its file system cannot be told")
    pairs = (line.partition("=") for line in finished.output.decode("utf-8", errors="replace").splitlines())
    told = {key: value for key, _, value in pairs}
    return FileSystem(
        type=cleaned(told.get("TYPE", "")), uuid=cleaned(told.get("UUID", "")), label=cleaned(told.get("LABEL", ""))
    )


def _require_readable(source: Path) -> None:
    """Return only if the first bytes of a block device or image file can be read.

    Raises:
        MediumUnreadableError: why not.
    """
    try:
        with source.open("rb", buffering=0) as file:
            file.read(_FIRST)
    except OSError as error:
        raise MediumUnreadableError(name=str(source), problem=error.strerror or type(error).__name__) from error


def medium_facts(filesystem: FileSystem, device: StickDevice | None) -> MediumFacts:
    """Return the hints for the receipt; where nothing is known they are empty."""
    usb = None if device is None else _usb_device(device)
    return MediumFacts(
        usb_id="" if usb is None else f"{_attribute(usb / 'idVendor')}:{_attribute(usb / 'idProduct')}",
        serial="" if usb is None else _attribute(usb / "serial"),
        filesystem_uuid=filesystem.uuid,
        label=filesystem.label,
    )


def was_in_at_start(device: StickDevice, monotonic_ms: int, *, udev_data: Path = _UDEV_DATA) -> bool:
    """Tell whether a stick was in when this boot started: udev announces such a one again at every boot.

    It counts as the same insertion as before, or a release that is rolled back would be installed anew for ever while its stick
    stays in. One that a person puts in within `START_MS` of the start of the boot counts so too: it costs another insertion.

    Args:
        device: the stick.
        monotonic_ms: milliseconds since the start of this boot, now.
        udev_data: udev's own notes.

    Source: design, section 6, "Retry rules".
    """
    since_ms = connected_since_ms(device, monotonic_ms)
    if since_ms is None:
        since_ms = _announced_at_ms(device, udev_data)
    return since_ms is not None and since_ms < START_MS


def connected_since_ms(device: StickDevice, monotonic_ms: int) -> int | None:
    """Return when the kernel saw the stick being plugged in, in milliseconds since the start of the boot, if it counts that."""
    usb = _usb_device(device)
    duration = "" if usb is None else _attribute(usb / "power" / "connected_duration")
    return monotonic_ms - int(duration) if duration.isdecimal() else None


def _announced_at_ms(device: StickDevice, udev_data: Path) -> int | None:
    """Return when udev first announced the device; it keeps its notes from the initramfs on."""
    try:
        lines = (udev_data / f"b{device.number}").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    moments = [line[2:] for line in lines if line.startswith("I:")]
    return int(moments[0]) // 1000 if moments and moments[0].isdecimal() else None


def _usb_device(device: StickDevice) -> Path | None:
    return next((up for up in (device.sys, *device.sys.parents) if (up / "idVendor").is_file()), None)


def cleaned(text: str) -> str:
    """Return a hint with nothing in it that is not printable, and of bounded length."""
    return printable(text.strip(), FACT_MAX)


def _attribute(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return cleaned(file.read(_SYSFS_MAX).decode("utf-8", errors="replace"))[: FACT_MAX // 2]
    except OSError:
        # Cheap sticks have no serial number, and one that is being pulled has nothing any more.
        return ""


def _from_sys(sys: Path) -> StickDevice:
    # The kernel writes `!` where a device's name has a slash.
    return StickDevice(path=_DEV / sys.name.replace("!", "/"), number=_attribute(sys / "dev"), sys=sys)
