from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from usbupdate.core.judgement import METADATA_CHECK, Judgement, check_of, judge, judgement_in
from usbupdate.core.receipt import Check, CheckResult, ClockQuality
from usbupdate.core.timefloor import ClockReading, format_time, trusted_now

MOMENTS = st.datetimes(timezones=st.just(UTC))
OTHERS = st.builds(
    Check, name=st.text(max_size=9) | st.just(METADATA_CHECK), result=st.sampled_from(CheckResult), detail=st.text()
)


@given(MOMENTS, MOMENTS, st.booleans(), st.none() | MOMENTS, st.lists(OTHERS, max_size=3))
def test_a_judgement_is_found_among_the_checks_that_state_it(
    floor: datetime, utc: datetime, trusted: bool, expires: datetime | None, others: list[Check]
) -> None:
    reading = ClockReading(utc, trusted)
    judgement = judge(floor, reading)
    assert (judgement.now, judgement.clock) == (
        format_time(trusted_now(floor, reading)[0]),
        trusted_now(floor, reading)[1],
    )
    if expires is not None:
        judgement = replace(judgement, expires=format_time(expires))
    check = check_of(judgement)
    assert check.result is (CheckResult.FAILED if expires is None else CheckResult.PASSED)
    assert judgement_in([*others, check]) == judgement


@given(st.text(max_size=200), st.sampled_from([*ClockQuality, "gps", ""]))
def test_what_states_no_judgement_gives_none(detail: str, reason: str) -> None:
    assert judgement_in([Check(METADATA_CHECK, CheckResult.PASSED, str(reason), detail)]) is None


@pytest.mark.parametrize("wrong", range(4))
def test_a_day_that_is_none_gives_none(wrong: int) -> None:
    now, system, floor, expires = ("2026-02-30T00:00:00Z" if each == wrong else "2026-01-01T00:00:00Z" for each in range(4))
    assert judgement_in([check_of(Judgement(now, ClockQuality.FLOOR, system, floor, expires))]) is None
