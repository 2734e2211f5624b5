"""What a simulated device has besides files: the boot that is going on, and the stick that is plugged in.

Source: design, section 11.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import strictjson
from usbupdate.core.words import BOOT_ID, SEQUENCE_MAX, BootId, Slot
from usbupdate.errors import MalformedError, UnusableFileError

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Json

HARDWARE_FILE: Final = "hardware.json"
_SIZE_MAX: Final = 16 << 10
_PATH_MAX: Final = 8000


@dataclass(frozen=True, slots=True)
class Hardware:
    """The present boot: where, under which id, since when on the host's clock; the stick; whether a restart was asked for."""

    booted: Slot
    boot_id: BootId
    started_ms: int
    stick: Path | None = None
    reboot_requested: bool = False

    def rebooted(self, slot: Slot) -> Hardware:
        """Return the hardware after a power cycle into a slot; the stick stays in."""
        return Hardware(slot, BootId(str(uuid.uuid4())), _now_ms(), self.stick)


def fresh(slot: Slot) -> Hardware:
    """Return the hardware of a device that has just been switched on."""
    return Hardware(slot, BootId(str(uuid.uuid4())), _now_ms())


def load(folder: Path) -> Hardware:
    """Return the hardware of the device in a folder.

    Raises:
        UnusableFileError: the folder holds no simulated device.
    """
    path = folder / HARDWARE_FILE
    try:
        fields = strictjson.decode(path.read_bytes(), "hardware", limit=_SIZE_MAX)
        hardware = Hardware(
            booted=fields.choice("booted", Slot),
            boot_id=BootId(fields.text("boot_id", BOOT_ID)),
            started_ms=fields.integer("started_ms", 0, SEQUENCE_MAX),
            stick=Path(fields.free_text("stick", limit=_PATH_MAX)) if fields.has("stick") else None,
            reboot_requested=fields.flag("reboot_requested"),
        )
        fields.done()
    except FileNotFoundError as error:
        raise UnusableFileError(path=str(folder), problem="there is no simulated device in it") from error
    except (OSError, MalformedError) as error:
        raise UnusableFileError(path=str(path), problem=str(error).rstrip(".")) from error
    return hardware


def save(folder: Path, hardware: Hardware) -> None:
    """Save the hardware of the device in a folder."""
    table: dict[str, Json] = {
        "booted": str(hardware.booted),
        "boot_id": hardware.boot_id,
        "started_ms": hardware.started_ms,
        "stick": None if hardware.stick is None else str(hardware.stick),
        "reboot_requested": hardware.reboot_requested,
    }
    durable.save(folder / HARDWARE_FILE, strictjson.encode(table) + b"\n")


class HardwareClock:
    """The clock of one simulated boot, driven by the host's. Implements `device.ports.Clock`."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def boot_id(self) -> BootId:
        """Return this boot's id; see `device.ports.Clock`."""
        return self._hardware.boot_id

    def monotonic_ms(self) -> int:
        """Return the milliseconds since the power cycle; see `device.ports.Clock`."""
        # The host may have been restarted since.
        return max(0, _now_ms() - self._hardware.started_ms)

    def utc(self) -> datetime:
        """Return the host's time; see `device.ports.Clock`."""
        return datetime.now(UTC)


class HardwareRebooter:
    """Remembers that a restart was asked for; `simulate boot` takes it. Implements `device.ports.Rebooter`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reboot(self) -> None:
        """Ask for a restart; see `device.ports.Rebooter`."""
        save(self._folder, replace(load(self._folder), reboot_requested=True))


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
