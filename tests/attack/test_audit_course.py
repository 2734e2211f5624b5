"""What an auditor is told of a device whose releases do not only rise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tests.matrix import By, On, attack
from tests.receipts import draft
from usbupdate.audit.course import unexplained
from usbupdate.core.authorisation import Authorisation, check_of
from usbupdate.core.receipt import NO_PREVIOUS, Event, Receipt
from usbupdate.core.words import DeviceId, Digest

if TYPE_CHECKING:
    from usbupdate.core.receipt import Check

DEVICE: Final = DeviceId("gw-0001")


def by(number: int, device: str = DEVICE) -> tuple[Check, ...]:
    nothing = Digest("0" * 64)
    return (check_of(Authorisation(DeviceId(device), nothing, number, nothing, 9, "CHG-1", "2099-01-01T00:00:00Z")),)


def step(
    before: int, after: int, event: Event = Event.COMMITTED, checks: tuple[Check, ...] = ()
) -> tuple[Event, int, int, tuple[Check, ...]]:
    return event, before, after, checks


def found(*steps: tuple[Event, int, int, tuple[Check, ...]], first: int = 1, without: int = 0) -> list[int]:
    """Return the numbers of the receipts that are told, out of those with these steps; `without` is missing."""
    receipts = []
    for number, (event, before, after, checks) in enumerate(steps, first):
        whole = draft(number, event)
        assert whole.before is not None
        assert whole.after is not None
        changed = replace(
            whole, before=replace(whole.before, sequence=before), after=replace(whole.after, sequence=after), checks=checks
        )
        if number != without:
            receipts.append(Receipt(DEVICE, number, NO_PREVIOUS, changed))
    return [number for number, _ in unexplained(receipts, DEVICE)]


START: Final = step(0, 1, Event.PROVISIONED)


@attack(
    By.OWNER,
    On.RECORD,
    "a device goes back to an older release without leave",
    "an auditor compares each release with those before",
)
def test_going_back_without_an_authorisation_is_told() -> None:
    assert found(START, step(1, 5), step(5, 3)) == [3]
    assert found(step(5, 3), first=7) == [7], "also where the beginning is missing"


def test_going_back_by_an_authorisation_is_in_order() -> None:
    assert found(START, step(1, 5), step(5, 3, checks=by(1)), step(3, 4), step(4, 5), step(5, 3, checks=by(2))) == []


@attack(By.OWNER, On.RECORD, "one authorisation in two receipts", "its number rises from one way back to the next")
@pytest.mark.parametrize("number", [2, 1])
def test_going_back_twice_by_one_authorisation_is_told(number: int) -> None:
    assert found(START, step(1, 5), step(5, 3, checks=by(2)), step(3, 5), step(5, 3, checks=by(number))) == [5]


def test_going_back_by_another_devices_authorisation_is_told() -> None:
    assert found(START, step(1, 5), step(5, 3, checks=by(1, "gw-0002"))) == [3]


def test_falling_back_is_no_way_back_and_keeps_the_floor() -> None:
    fell = step(5, 3, Event.FELL_BACK)
    assert found(START, step(1, 3), step(3, 5), fell, step(3, 5)) == []
    assert found(START, step(1, 3), step(3, 5), fell, step(3, 4)) == [5]


def test_an_attempt_that_failed_is_no_way_back() -> None:
    for event in (Event.ROLLED_BACK, Event.CHECK_FAILED, Event.INTERRUPTED, Event.REFUSED):
        assert found(START, step(1, 5), step(5, 3, event, by(1)), step(5, 3, checks=by(1))) == []


def test_what_is_missing_may_explain_it() -> None:
    assert found(START, step(1, 5), step(5, 3, checks=by(1)), step(3, 4), without=3) == []
