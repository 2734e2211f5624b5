"""Which of a stick's partitions answers for it: udev announces each by itself, and a person expects one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.device.facts import probe, stick_device
from usbupdate.errors import MediumError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from usbupdate.device.facts import FileSystem, StickDevice


def is_answered_beside(
    source: Path,
    allowed: Collection[str],
    device_at: Callable[[Path], StickDevice] = stick_device,
    probed: Callable[[Path], FileSystem] = probe,
) -> bool:
    """Tell whether another part of a stick answers for it: whoever is told "done" pulls the stick, so only one may say it.

    That is the first partition with a file system that is read here; where there is none, the first that holds anything, such
    as a good one that was damaged beyond recognition; else the first. Each part finds that out by itself, and all alike.

    Args:
        source: what udev announced.
        allowed: the file systems that are read.
        device_at: finds a block device; another only in tests.
        probed: tells what one holds; another only in tests.
    """
    try:
        device = device_at(source)
    except UnusableFileError:
        return False
    members = device.disk_members()
    if not device.is_partition:
        # A disk that is itself taken for a file system and has partitions, as images of installers are.
        return members[0].sys != device.sys
    if device.sys not in {member.sys for member in members}:
        # One of very many: nothing of ours has so many, and they must not keep the device busy.
        return True
    held = {member.sys: _held(member, probed) for member in members}
    readable = [sys for sys, filesystem in held.items() if filesystem in allowed]
    holding = [sys for sys, filesystem in held.items() if filesystem]
    return device.sys != (readable or holding or list(held))[0]


def _held(device: StickDevice, probed: Callable[[Path], FileSystem]) -> str:
    try:
        return probed(device.path).type
    except MediumError:
        # Two file systems in one place, or sectors that cannot be read: not nothing.
        return "unknown"
