"""Slots that are ordinary files in one folder: what the simulated device has for disks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from usbupdate.device.slotimages import OpenImage, open_without_link, status_of
from usbupdate.errors import SlotUnusableError
from usbupdate.plainfile import release

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from usbupdate.core.words import Slot, SlotClass
    from usbupdate.device.ports import SlotImage


class FileSlots:
    """Files that stand for block devices; implements `ports.Slots`.

    Args:
        folder: where the files lie.
        files: the name of each file, relative to `folder` and inside it, for the same classes in both slots.
    """

    def __init__(self, folder: Path, files: Mapping[Slot, Mapping[SlotClass, str]]) -> None:
        self._folder = folder
        self._files = files

    def classes(self) -> tuple[SlotClass, ...]:
        """Return the slot classes."""
        return tuple(dict.fromkeys(slot_class for files in self._files.values() for slot_class in files))

    def path(self, slot: Slot, slot_class: SlotClass) -> Path:
        """Return where the file of a slot lies.

        Raises:
            SlotUnusableError: the name leads out of the folder.
        """
        name = self._files[slot][slot_class]
        if name.startswith("/") or ".." in name.split("/"):
            raise SlotUnusableError(path=name, problem="it is not inside the device's folder")
        return self._folder / name

    def capacity(self, slot: Slot) -> Mapping[SlotClass, int]:
        """Return the size in bytes of each file of a slot."""
        sizes = {}
        for slot_class in self._files[slot]:
            descriptor = self._opened(slot, slot_class, os.O_RDONLY)
            sizes[slot_class] = status_of(descriptor, self.path(slot, slot_class)).st_size
            release(descriptor)
        return sizes

    def open(self, slot: Slot) -> Mapping[SlotClass, SlotImage]:
        """Open every file of a slot for reading and writing, exclusively."""
        with contextlib.ExitStack() as opened:
            images: dict[SlotClass, SlotImage] = {}
            for slot_class in self._files[slot]:
                descriptor = self._opened(slot, slot_class, os.O_RDWR)
                images[slot_class] = OpenImage(slot_class, descriptor, direct=True)
                opened.callback(images[slot_class].close)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise SlotUnusableError(path=str(self.path(slot, slot_class)), problem="it is in use") from error
            opened.pop_all()
            return images

    def open_running(self, slot: Slot, slot_class: SlotClass) -> SlotImage:
        """Open a file of the running slot, for reading only."""
        return OpenImage(slot_class, self._opened(slot, slot_class, os.O_RDONLY))

    def _opened(self, slot: Slot, slot_class: SlotClass, flags: int) -> int:
        path = self.path(slot, slot_class)
        descriptor = open_without_link(path, flags)
        if not stat.S_ISREG(status_of(descriptor, path).st_mode):
            release(descriptor)
            raise SlotUnusableError(path=str(path), problem="it is not an ordinary file")
        return descriptor
