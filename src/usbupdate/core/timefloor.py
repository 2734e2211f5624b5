"""What time it is for trust, on a device that may have no clock.

Root and timestamp carry the time at which they were signed. The newest of those that still count is the floor: it was at least
that late once. The system clock counts only where it cannot be far wrong.

Source: design, section 3, "Time".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from usbupdate.core import strictjson
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.words import DIGEST, TIME, Digest
from usbupdate.errors import MalformedError

BELIEVABLE: Final = timedelta(days=3653)
"""A system clock more than ten years past the floor is taken for broken."""
_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"
_FLOOR_SIZE_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the system clock says.

    `utc` is aware; `trusted` is False where the configuration says `clock = "untrusted"`.
    """

    utc: datetime
    trusted: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """The newest time among the timestamps accepted under one set of timestamp keys.

    `keys` identifies that set, its threshold included: whoever rotates the keys of a thief also takes back the thief's times.
    """

    keys: Digest
    time: datetime


def parse_time(text: object) -> datetime:
    """Return the aware time that a `x-usbupdate-time` names.

    Raises:
        ValueError: it is no time of the one prescribed form.
    """
    if not isinstance(text, str) or not TIME.fullmatch(text):
        raise ValueError("not of the form YYYY-MM-DDTHH:MM:SSZ")
    return datetime.strptime(text, _FORM).replace(tzinfo=UTC)


def format_time(moment: datetime) -> str:
    """Return an aware time in the one form that signed data and receipts use; fractions of a second are dropped."""
    utc = moment.astimezone(UTC)
    # strftime's %Y does not pad years before 1000 on every system.
    return f"{utc.year:04d}-{utc:%m-%dT%H:%M:%SZ}"


def trusted_now(floor: datetime, clock: ClockReading) -> tuple[datetime, ClockQuality]:
    """Return the time by which expiry is judged, and where it comes from."""
    if clock.trusted and is_believable(floor, clock.utc):
        return clock.utc, ClockQuality.SYSTEM
    return floor, ClockQuality.FLOOR


def is_believable(floor: datetime, utc: datetime) -> bool:
    """Tell whether a system clock that says `utc` could be right, as far as the floor tells."""
    return floor <= utc <= _latest_believable(floor)


def _latest_believable(floor: datetime) -> datetime:
    try:
        return floor + BELIEVABLE
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def encode(remembered: Remembered) -> bytes:
    """Return the contents of the floor file; `decode` gives back an equal value."""
    return strictjson.encode({"format": 1, "timestamp_keys": remembered.keys, "time": format_time(remembered.time)})


def decode(raw: bytes) -> Remembered:
    """Return what a floor file says.

    Raises:
        MalformedError: it is not one that this program saved.
    """
    fields = strictjson.decode(raw, "time floor", limit=_FLOOR_SIZE_MAX)
    fields.integer("format", 1, 1)
    keys = Digest(fields.text("timestamp_keys", DIGEST))
    text = fields.text("time", TIME)
    fields.done()
    try:
        return Remembered(keys, parse_time(text))
    except ValueError as error:
        raise MalformedError(document="time floor", field="time", problem="no such time") from error
