"""The time floor's edges: the end of the calendar, other time zones, and the file in which it lies."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.property import corruption
from usbupdate.core import timefloor
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.timefloor import ClockReading, format_time, parse_time, trusted_now
from usbupdate.errors import MalformedError

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Json

FILE: dict[str, Json] = {"format": 1, "timestamp_keys": "a" * 64, "time": "2026-01-01T00:00:00Z"}


def test_a_clock_is_believed_up_to_the_end_of_the_calendar() -> None:
    floor = datetime(9995, 1, 1, tzinfo=UTC)
    for utc in (floor, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)):
        assert trusted_now(floor, ClockReading(utc, trusted=True)) == (utc, ClockQuality.SYSTEM)


def test_time_is_written_in_utc_wherever_the_device_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-9")
    time.tzset()
    try:
        assert format_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", [None, "", "today"])
def test_what_is_no_time_is_told_the_form_of_one(text: object) -> None:
    with pytest.raises(ValueError, match=r"^not of the form YYYY-MM-DDTHH:MM:SSZ$"):
        parse_time(text)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("format", 0, "not between 1 and 1"),
        ("format", 2, "not between 1 and 1"),
        ("timestamp_keys", "A" * 64, "not of the prescribed form"),
        ("time", "today", "not of the prescribed form"),
        ("time", "2026-02-30T00:00:00Z", "no such time"),
        ("extra", 1, "unknown field"),
    ],
)
def test_a_broken_floor_file_says_what_is_wrong_with_it(field: str, value: Json, problem: str) -> None:
    assert timefloor.decode(corruption.raw(FILE)).time == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(MalformedError) as caught:
        timefloor.decode(corruption.raw({**FILE, field: value}))
    assert (caught.value.document, caught.value.field, caught.value.problem) == ("time floor", field, problem)
