"""Stores of evidence and what lies in them, for the tests that fill, read and attack them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from usbupdate.audit.copies import LogCopy, find_copies
from usbupdate.audit.store.address import address_of
from usbupdate.audit.store.database import opened, opened_for_import
from usbupdate.audit.store.importing import Imported, Importer, import_logs
from usbupdate.audit.store.reading import stored_places
from usbupdate.audit.store.schema import METADATA
from usbupdate.audit.verdict import Verdict, verify

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from usbupdate.audit.devices import Devices
    from usbupdate.audit.places import Place
    from usbupdate.core.words import DeviceId

IMPORTER: Final = Importer("alice@office", "1")
NOW: Final = "2026-03-01T10:20:30Z"


@dataclass(frozen=True, slots=True)
class Held:
    """A copy that lies nowhere. Implements `audit.places.Place`."""

    copy: LogCopy

    @property
    def folder(self) -> DeviceId | None:
        """The device of the copy."""
        return self.copy.folder

    def read(self) -> LogCopy:
        """Return it."""
        return self.copy


def keep(address: str, *mounts: Path, importer: Importer = IMPORTER) -> Imported:
    """Import sticks into the store at an address."""
    return keep_places(address, find_copies(mounts), importer=importer)


def keep_places(address: str, places: Iterable[Place], *, importer: Importer = IMPORTER) -> Imported:
    """Import copies into the store at an address."""
    with opened_for_import(address_of(address, {})) as store:
        return import_logs(store, places, importer, lambda: NOW, lambda _: None)


def kept(address: str) -> list[LogCopy]:
    """Return the copies that a store gives to be verified."""
    with opened(address_of(address, {})) as store:
        return [place.read() for place in stored_places(store)]


def verdicts_of(address: str, devices: Devices) -> dict[str, Verdict]:
    """Return what becomes of the evidence in a store, by device."""
    with opened(address_of(address, {})) as store:
        return {verdict.device: verdict for verdict in verify(stored_places(store), devices)}


def contents_of(address: str) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table, sorted."""
    with opened(address_of(address, {})) as store, store.reading() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in METADATA.sorted_tables
        }
