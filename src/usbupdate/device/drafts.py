"""How receipts begin on this device: an id of their own, and the moment as well as this device can tell it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from usbupdate.core.receipt import Draft, Event, Moment
from usbupdate.core.timefloor import ClockReading, trusted_now
from usbupdate.core.words import ReceiptId
from usbupdate.device.clock import moment_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from usbupdate.device.ports import Clock


class DeviceDrafts:
    """Makes drafts. Implements `device.ports.Drafts`.

    Args:
        clock: the device's clock.
        is_clock_trusted: False where the configuration says so.
        floor: returns the time floor of the device's trust.
        operator: who acts: a person's name, or "unattended".
    """

    def __init__(self, clock: Clock, *, is_clock_trusted: bool, floor: Callable[[], datetime], operator: str) -> None:
        self._clock = clock
        self._is_clock_trusted = is_clock_trusted
        self._floor = floor
        self._operator = operator

    def blank(self) -> Draft:
        """Return a draft with an id of its own, at this moment; see `device.ports.Drafts`."""
        return Draft(ReceiptId(secrets.token_hex(16)), Event.REFUSED, self.moment(), operator=self._operator)

    def moment(self) -> Moment:
        """Return this moment as this device tells time; see `device.ports.Drafts`."""
        now, quality = trusted_now(self._floor(), self.reading())
        return moment_of(self._clock, quality, now)

    def reading(self) -> ClockReading:
        """Return what the system clock says, and whether it may be believed."""
        return ClockReading(self._clock.utc(), self._is_clock_trusted)
