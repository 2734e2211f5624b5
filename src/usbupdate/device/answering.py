"""Which of a stick's partitions answers for it: udev announces each by itself, and a person expects one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.device.facts import probe, stick_device
from usbupdate.errors import MediumError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.device.facts import FileSystem, StickDevice


def is_answered_beside(
    source: Path, device_at: Callable[[Path], StickDevice] = stick_device, probed: Callable[[Path], FileSystem] = probe
) -> bool:
    """Tell whether a partition holds nothing and another one of its stick answers for it.

    A good stick whose file system is damaged beyond recognition must be answered. One that was divided by some tool often has a
    part beside the good one in which nothing ever was.
    """
    try:
        device = device_at(source)
    except UnusableFileError:
        return False
    members = device.disk_members()
    if not device.is_partition or _holds_something(device, probed):
        return False
    # Where all are empty, the first one answers.
    return device.sys != members[0].sys or any(_holds_something(other, probed) for other in members)


def _holds_something(device: StickDevice, probed: Callable[[Path], FileSystem]) -> bool:
    try:
        return bool(probed(device.path).type)
    except MediumError:
        # Two file systems in one place, or sectors that cannot be read: not nothing.
        return True
