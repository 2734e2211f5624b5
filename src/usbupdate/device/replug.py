"""Tells one plugging-in of a stick from the next one that bears the same name.

udev starts a service for a stick by the name of its block device. A stick that is pulled and put in again while that service
still runs bears the same name and starts nothing; so whoever took care of the first one looks again before it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from usbupdate.core.policy import Insertion
from usbupdate.device.clock import LinuxClock
from usbupdate.device.facts import stick_device
from usbupdate.device.media import insertion_of
from usbupdate.device.obligations import Rest
from usbupdate.errors import UnusableFileError, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REPLUGS_MAX: Final = 32
"""A contact that fails is no reason to go on for ever; the next one that is put in starts a service again."""


class Take(Protocol):
    """Takes care of a stick."""

    def __call__(self, insertion: Insertion) -> Rest:
        """Do what it is for, and return how the device rests; raises `UsbupdateError`."""


def take_each_plugging(source: Path, take: Take, mark_of: Callable[[Path], str | None] | None = None) -> None:
    """Take care of a stick, and of each that was put in under its name meanwhile.

    Args:
        source: a block device, which may be gone or another one by the time it is looked at; or a folder or image.
        take: takes care of one.
        mark_of: as `plugging_mark`.

    Raises:
        UsbupdateError: why nothing was installed from the last one; every one was answered.
    """
    mark_of = mark_of or plugging_mark
    insertion = insertion_of(source, LinuxClock())
    problem: UsbupdateError | None = None
    for _ in range(1 + REPLUGS_MAX):
        mark = mark_of(source)
        problem = None
        try:
            if take(insertion) is Rest.REBOOTING:
                return
        except UsbupdateError as error:
            problem = error
        now = mark_of(source)
        if now is None or now == mark:
            break
        insertion = Insertion.NEW
    if problem is not None:
        raise problem


def plugging_mark(source: Path) -> str | None:
    """Return what this plugging-in has for itself alone; None where no stick of its own is behind the name.

    A disk with partitions is none: udev announces each of these by its own name.
    """
    try:
        device = stick_device(source)
    except UnusableFileError:
        return None
    if device.disk_members() != (device,) and not device.is_partition:
        return None
    if number := device.plugging:
        return number
    try:
        # Before Linux 5.15: the kernel makes the disk's folder anew, under another number.
        return f"inode {device.disk.stat().st_ino}"
    except OSError:
        return None
