"""How much a record weighs for a collector of events, and its time as such programs count it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from usbupdate.audit.export.records import NO_LOG, RECEIPT
from usbupdate.audit.findings import Severity
from usbupdate.audit.verdict import Standing
from usbupdate.core.receipt import OUTCOMES, Event

if TYPE_CHECKING:
    from usbupdate.audit.export.records import Record
    from usbupdate.core.strictjson import Json

INFORMATIONAL: Final = 1
LOW: Final = 2
MEDIUM: Final = 3
HIGH: Final = 4

_HIGH: Final = frozenset({Event.FORK_SUSPECTED, Event.STUCK, Event.STATE_LOST})
_MEDIUM: Final = frozenset({Event.REJECTED, Event.FELL_BACK, *OUTCOMES} - {Event.COMMITTED, Event.WITHDRAWN, Event.INTERRUPTED})
_LOW: Final = frozenset({Event.REFUSED, Event.POSTPONED, Event.WITHDRAWN, Event.INTERRUPTED, Event.LOG_EXPORT_CHANGED})


SUCCESSES: Final = frozenset({Event.COMMITTED, Event.PROVISIONED})
"""The events that a collector counts as a success; any other one says that something was not done, or should not have been."""


def weight_of(record: Record) -> int:
    """Return 1 (for information) to 4 (somebody should act at once)."""
    if record["kind"] == RECEIPT:
        event = Event(str(record["event"]))
        if event in _HIGH:
            return HIGH
        if event in _MEDIUM:
            return MEDIUM
        return LOW if event in _LOW else INFORMATIONAL
    if record["kind"] == NO_LOG:
        return LOW
    if record["severity"] == Severity.NOTICE:
        return INFORMATIONAL
    # An incomplete log is what a pulled stick leaves; anything else speaks of a hand that meddled.
    return MEDIUM if record["standing"] == Standing.INCOMPLETE else HIGH


def milliseconds(time: Json) -> int:
    """Return a receipt's time in milliseconds since 1970, UTC."""
    return int(datetime.fromisoformat(str(time)).timestamp()) * 1000
