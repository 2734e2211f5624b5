"""Time as Linux knows it. Implements `ports.Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.core.receipt import Moment
from usbupdate.core.timefloor import format_time
from usbupdate.core.words import BOOT_ID, BootId
from usbupdate.errors import BootIdError

if TYPE_CHECKING:
    from usbupdate.core.receipt import ClockQuality
    from usbupdate.device.ports import Clock

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class LinuxClock:
    """The machine's own clocks; `boot_id_file` is another file only in tests."""

    def __init__(self, boot_id_file: Path = _BOOT_ID) -> None:
        self._boot_id_file = boot_id_file

    def boot_id(self) -> BootId:
        """Return the kernel's random id of this boot; see `ports.Clock`."""
        try:
            text = self._boot_id_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise BootIdError(path=str(self._boot_id_file)) from error
        if not BOOT_ID.fullmatch(text):
            raise BootIdError(path=str(self._boot_id_file))
        return BootId(text)

    def monotonic_ms(self) -> int:
        """Return the milliseconds since the start of this boot, time asleep included; see `ports.Clock`."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def utc(self) -> datetime:
        """Return what the system clock says; see `ports.Clock`."""
        return datetime.now(UTC)


def moment_of(clock: Clock, quality: ClockQuality, wall: datetime | None = None) -> Moment:
    """Return this moment as a receipt states it.

    Args:
        clock: the device's clock.
        quality: where the wall time comes from, as `core.trust` decided.
        wall: trusted now, which is what a receipt says when the system clock is not believed; the system clock if None.
    """
    told = format_time(clock.utc() if wall is None else wall)
    return Moment(boot_id=clock.boot_id(), monotonic_ms=clock.monotonic_ms(), wall=told, clock=quality)
