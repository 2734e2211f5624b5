"""Where logs come from, for whatever reads them: a stick, a folder, or the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from usbupdate.audit.copies import LogCopy
    from usbupdate.core.words import DeviceId


class Place(Protocol):
    """One copy of one device's log, which is read when its device's turn comes."""

    @property
    def folder(self) -> DeviceId | None:
        """The device whose log it is, if that is known before it is read."""

    def read(self) -> LogCopy:
        """Return the copy, with whatever could not be read said in it."""
