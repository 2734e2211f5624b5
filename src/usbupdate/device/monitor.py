"""Waits for sticks where no systemd starts a service for each: one program, one stick after the other.

What udev announces only wakes it up; what is in is asked anew each time. So an announcement that gets lost while a stick is
being taken care of costs nothing, and a stick that is put in again under the same name is seen.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from usbupdate.core.policy import Insertion
from usbupdate.device.answering import is_answered_beside
from usbupdate.device.clock import LinuxClock
from usbupdate.device.facts import PARTS_MAX
from usbupdate.device.media import insertion_of
from usbupdate.device.obligations import Rest
from usbupdate.device.replug import plugging_mark
from usbupdate.errors import ProgramMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import pyudev


@dataclass(frozen=True, slots=True)
class Block:
    """What udev knows of a block device, as far as the rule asks for it; texts are empty where it knows nothing.

    `number` is that of a partition, 0 for a whole disk.
    """

    is_behind_usb: bool
    kind: str
    usage: str
    table: str
    size: int
    number: int


def is_stick(block: Block) -> bool:
    """Tell whether `90-usbupdate.rules` would start a service for a block device; a test holds the two together."""
    if not block.is_behind_usb or block.number > PARTS_MAX:
        return False
    is_blank = block.kind == "disk" and not block.usage and not block.table
    return block.usage == "filesystem" or (block.size > 0 and (block.kind == "partition" or is_blank))


class Sticks(Protocol):
    """The sticks of a machine."""

    def present(self) -> Mapping[Path, str]:
        """Return those that are in: their block devices, each with what its plugging-in has for itself alone."""

    def wait(self) -> None:
        """Return when something may have changed since the last call of `present`."""


def keep_watch(
    sticks: Sticks, take: Callable[[Path, Insertion], Rest], how_it_came: Callable[[Path], Insertion] | None = None
) -> None:
    """Take care of the sticks that are in, as found, and then of each that is put in, until the machine restarts.

    Args:
        sticks: the machine's.
        take: takes care of one, whatever it is; raises nothing.
        how_it_came: tells of one that appears later whether it was in from the start of the boot all the same: slow sticks
            appear after the first look; `device.media.insertion_of` by default.
    """
    how_it_came = how_it_came or (lambda source: insertion_of(source, LinuxClock()))
    handled: dict[Path, str] = {}
    seen: set[Path] = set()
    is_first_look = True
    while True:
        present = sticks.present()
        handled = {path: mark for path, mark in handled.items() if present.get(path) == mark}
        new = next((path for path in present if path not in handled), None)
        if new is None:
            sticks.wait()
            is_first_look = False
            continue
        # One that comes under a name of before was put in just now, however soon that is.
        insertion = Insertion.FOUND if is_first_look else Insertion.NEW if new in seen else how_it_came(new)
        seen.add(new)
        handled[new] = present[new]
        if take(new, insertion) is Rest.REBOOTING:
            return


class UdevSticks:
    """Implements `Sticks` by udev.

    Args:
        allowed: the file systems that are read.

    Raises:
        ProgramMissingError: udev's library is not there.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed
        try:
            from pyudev import Context, Monitor  # noqa: PLC0415 - only a system without systemd needs it
        except ImportError as error:
            raise ProgramMissingError(program="udev, or its library,") from error
        self._context: pyudev.Context = Context()
        self._monitor: pyudev.Monitor = Monitor.from_netlink(self._context)
        self._monitor.filter_by(subsystem="block")
        # Before the first look, so that nothing falls between it and the first wait.
        self._monitor.start()

    def present(self) -> Mapping[Path, str]:
        """Return the sticks that are in; see `Sticks`."""
        found = {}
        for device in self._context.list_devices(subsystem="block"):
            block = _block(device)
            if device.is_initialized and device.device_node and is_stick(block):
                path = Path(device.device_node)
                if is_answered_beside(path, self._allowed):
                    continue
                mark = plugging_mark(path)
                if mark is not None:
                    found[path] = mark
        return found

    def wait(self) -> None:
        """Wait for udev's next announcement, and take those that came with it; see `Sticks`."""
        timeout_s = None
        try:
            while self._monitor.poll(timeout=timeout_s) is not None:
                timeout_s = 0
        except OSError as error:
            # More was announced than there is room for: that something changed is all that counts.
            if error.errno != errno.ENOBUFS:
                raise


def _block(device: pyudev.Device) -> Block:
    told = device.properties
    size, number = (device.attributes.get(name) or b"0" for name in ("size", "partition"))
    return Block(
        is_behind_usb=told.get("ID_BUS") == "usb" or device.find_parent("usb") is not None,
        kind=device.device_type or "",
        usage=told.get("ID_FS_USAGE", ""),
        table=told.get("ID_PART_TABLE_TYPE", ""),
        size=int(size) if size.isdigit() else 0,
        number=int(number) if number.isdigit() else 0,
    )
