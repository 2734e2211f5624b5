"""Slots that are block devices of the board, and of nothing that was plugged into it.

Source: design, section 9, "A stick can't pose as the device's disk".
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from usbupdate.device.blockdevices import BlockDevice, BlockDevices, Number, is_imitable
from usbupdate.device.slotimages import OpenImage, open_without_link, status_of
from usbupdate.errors import SlotUnusableError
from usbupdate.plainfile import release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.words import Slot, SlotClass
    from usbupdate.device.ports import SlotImage


class BlockSlots:
    """The board's block devices; implements `ports.Slots`.

    Args:
        paths: the configured path under /dev for each slot class, for the same classes in both slots.
        devices: where the kernel is asked.
        usb_allowed: whether slots may lie behind USB, which a board has to state.
    """

    def __init__(
        self, paths: Mapping[Slot, Mapping[SlotClass, str]], devices: BlockDevices | None = None, *, usb_allowed: bool = False
    ) -> None:
        self._paths = paths
        self._devices = devices or BlockDevices()
        self._usb_allowed = usb_allowed

    def classes(self) -> tuple[SlotClass, ...]:
        """Return the slot classes."""
        return tuple(dict.fromkeys(slot_class for paths in self._paths.values() for slot_class in paths))

    def capacity(self, slot: Slot) -> Mapping[SlotClass, int]:
        """Return the size in bytes of each block device of a slot."""
        return {slot_class: self.device(slot, slot_class).size for slot_class in self._paths[slot]}

    def device(self, slot: Slot, slot_class: SlotClass) -> BlockDevice:
        """Return the block device of a slot.

        Raises:
            SlotUnusableError: it is missing, or may be one that a stick brought along, or is another slot's too.
        """
        configured = self._paths[slot][slot_class]
        found = self._devices.find(configured)
        # A name that any disk can bear counts only on the disk from which the running system was started.
        if is_imitable(configured):
            root = self._devices.root()
            if root is None:
                raise SlotUnusableError(path=configured, problem="the disk of the running system is not known")
            if not self._devices.disks(found.number) <= self._devices.disks(root):
                raise SlotUnusableError(path=configured, problem="it is not on the disk of the running system")
        if self._devices.is_behind_usb(found.number) and not self._usb_allowed:
            raise SlotUnusableError(path=configured, problem="it is behind USB")
        return found

    def owner(self, device: Number) -> Slot | None:
        """Return the slot to which a block device belongs, or on which it is built, such as the one that is mounted at `/`."""
        built_on = self._devices.built_on(device)
        for slot, paths in self._paths.items():
            for slot_class in paths:
                with contextlib.suppress(SlotUnusableError):
                    if self.device(slot, slot_class).number in built_on:
                        return slot
        return None

    def open(self, slot: Slot) -> Mapping[SlotClass, SlotImage]:
        """Open every block device of a slot for reading and writing, exclusively."""
        self._require_distinct()
        with contextlib.ExitStack() as opened:
            images: dict[SlotClass, SlotImage] = {}
            for slot_class, configured in self._paths[slot].items():
                # Nothing is written where it takes a look twice to know what is meant.
                self._devices.require_sole_claim(configured)
                descriptor = self._opened_exclusively(self.device(slot, slot_class))
                images[slot_class] = OpenImage(slot_class, descriptor, direct=True)
                opened.callback(images[slot_class].close)
            opened.pop_all()
            return images

    def open_running(self, slot: Slot, slot_class: SlotClass) -> SlotImage:
        """Open a block device of the running slot, which is mounted, for reading only."""
        return OpenImage(slot_class, _opened(self.device(slot, slot_class), os.O_RDONLY))

    def _require_distinct(self) -> None:
        seen: dict[Number, str] = {}
        for paths in self._paths.values():
            for configured in paths.values():
                number = self._devices.find(configured).number
                if number in seen:
                    raise SlotUnusableError(path=configured, problem=f"it is the same device as {seen[number]}")
                seen[number] = configured

    def _opened_exclusively(self, device: BlockDevice) -> int:
        path = str(device.path)
        if self._devices.is_mounted(device.number):
            raise SlotUnusableError(path=path, problem="it is mounted")
        if self._devices.has_holders(device.number):
            raise SlotUnusableError(path=path, problem="another device is built on it")
        # O_EXCL on a block device: the kernel lets nobody else mount or claim it meanwhile.
        return _opened(device, os.O_RDWR | os.O_EXCL)


def _opened(device: BlockDevice, flags: int) -> int:
    descriptor = open_without_link(device.path, flags)
    found = status_of(descriptor, device.path)
    # What was examined by name must be what was opened.
    if not stat.S_ISBLK(found.st_mode) or Number(os.major(found.st_rdev), os.minor(found.st_rdev)) != device.number:
        release(descriptor)
        raise SlotUnusableError(path=str(device.path), problem="it changed while it was being opened")
    return descriptor
