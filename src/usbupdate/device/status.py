"""How a device stands, as `status` shows it: measured where it can be, and always given, whatever is broken.

Source: design, section 11.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from usbupdate.core.record import Activating, DeviceRecord, Idle, Installed, Leaving, Recording
from usbupdate.core.recordform import state_name
from usbupdate.device.machine import open_ledger
from usbupdate.device.statestore import StateStore
from usbupdate.device.unit import load_unit
from usbupdate.errors import LedgerError, NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from usbupdate.core.receipt import Draft
    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import Slot, SlotClass
    from usbupdate.device.bootloaders.simulated import SlotStatus
    from usbupdate.device.configuration import Configuration
    from usbupdate.device.ports import Ledger

_Image = TypeVar("_Image")
_PIECE: Final = 1 << 20
_MAIN_CLASS: Final = "rootfs"


def measured_status(
    configuration: Configuration,
    booted: Slot | None,
    boots: Mapping[Slot, SlotStatus] | None,
    shown: Callable[[Path], str] = str,
) -> dict[str, Json]:
    """Return how a device stands, as `status --json` prints it; always works and changes nothing.

    Args:
        configuration: the device's.
        booted: the running slot, if that is known.
        boots: what the boot loader says of each slot, if it can be asked.
        shown: how the path of a slot is shown.
    """
    record, device = None, ""
    with suppress(NotReadyError):
        record = StateStore(configuration.state_dir).load()
    with suppress(NotReadyError):
        device = load_unit(configuration.state_dir).id
    reports = {}
    for slot, configured in configuration.slots.items():
        place = main_image(configured.devices)
        if place is not None:
            reports[slot] = SlotReport(shown(place), place, None if boots is None else boots[slot], held_by(record, slot))
    return status_table(device, record, booted, open_ledger(configuration), reports)


def status_table(
    device: str,
    record: DeviceRecord | None,
    booted: Slot | None,
    ledger: Ledger,
    slots: Mapping[Slot, SlotReport],
) -> dict[str, Json]:
    """Return the document that `status --json` prints; what cannot be known is null.

    Args:
        device: its id, empty if unknown.
        record: its state, or None if that cannot be read.
        booted: the running slot, if that is known.
        ledger: its receipts.
        slots: what was found out about each slot.
    """
    newest: Draft | None = None
    acknowledged = ledger.acknowledged()
    with suppress(LedgerError):
        newest = ledger.newest()
    return {
        "device": device,
        "state": "unknown" if record is None else state_name(record.state),
        "booted": None if booted is None else str(booted),
        "reboot_pending": record is not None and isinstance(record.state, Activating | Leaving),
        "sequence": None if record is None else record.committed.sequence,
        "slots": {str(slot): report.table() for slot, report in slots.items()},
        "receipts": ledger.count(),
        "acknowledged_receipts": 0 if acknowledged is None else acknowledged.checkpoint.size,
        "trimmed_receipts": ledger.first() - 1,
        "last_event": None if newest is None else str(newest.event),
    }


class SlotReport:
    """What is found out about one slot: by its boot loader, by the record, and from its bytes.

    Args:
        shown: its path as a person reads it.
        device: where its bytes are read; None where they are not.
        boot: what the boot loader says, if it can be asked.
        held: what the record says it holds, if anything.
    """

    def __init__(self, shown: str, device: Path | None, boot: SlotStatus | None, held: Installed | None) -> None:
        self._shown = shown
        self._device = device
        self._boot = boot
        self._held = held

    def table(self) -> dict[str, Json]:
        """Return the slot's part of the document; the digest is measured now, over the image's size of bytes."""
        image = None if self._held is None else main_image(self._held.images)
        return {
            "path": self._shown,
            "good": None if self._boot is None else self._boot.good,
            "tries": None if self._boot is None else self._boot.tries,
            "version": None if self._held is None else self._held.version or None,
            "image_sha256": None if self._device is None else _measured(self._device, None if image is None else image.size),
        }


def held_by(record: DeviceRecord | None, slot: Slot) -> Installed | None:
    """Return what a slot holds or is being made to hold, as far as the record knows."""
    if record is None:
        return None
    match record.state:
        case Idle() | Recording() | Leaving():
            return record.whole.get(slot)
        case state:
            return state.attempt.target if state.attempt.slot is slot else record.whole.get(slot)


def main_image(images: Mapping[SlotClass, _Image]) -> _Image | None:
    """Return the image that stands for a slot with several classes: the root file system's, else the first."""
    for name in sorted(images, key=lambda name: (name != _MAIN_CLASS, name)):
        return images[name]
    return None


def _measured(device: Path, size: int | None) -> str | None:
    """Return the digest of a slot's first `size` bytes, or of all of them where no image is known."""
    digest = hashlib.sha256()
    try:
        with device.open("rb") as file:
            left = size
            while piece := file.read(_PIECE if left is None else min(_PIECE, left)):
                digest.update(piece)
                left = None if left is None else left - len(piece)
    except OSError:
        return None
    return digest.hexdigest()
