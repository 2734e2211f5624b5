"""Picking one device's copies out of whatever the auditor has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.audit.chain import device_of
from usbupdate.errors import DeviceNotThereError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbupdate.audit.places import Place


def places_of(device: str, places: Iterable[Place]) -> list[Place]:
    """Return every place where a copy of a device's log lies.

    Raises:
        DeviceNotThereError: there is none.
    """
    there = [place for place in places if device == (place.folder or device_of(place.read()))]
    if not there:
        raise DeviceNotThereError(device=device, path="What was given")
    return there
