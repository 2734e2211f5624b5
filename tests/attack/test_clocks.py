"""Clocks that are dead, wrong, or jump, on a device with the real agent: what it takes, and what its receipts say of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from tests.matrix import By, On, attack
from usbupdate.core.judgement import Judgement, judgement_in
from usbupdate.core.receipt import ClockQuality, Event
from usbupdate.core.timefloor import format_time
from usbupdate.errors import MetadataExpiredError, MetadataSignatureError, OlderStickError
from usbupdate.simulate.bench import Bench, Mishaps
from usbupdate.simulate.hardware import HardwareClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuf.api.metadata import Root, Timestamp

    from tests.field import Field, Rig

DEAD: Final = (datetime(1970, 1, 1, 0, 0, 9, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC))
"""What clocks without a battery say."""

JUMPS: Final = (timedelta(days=-20_000), timedelta(days=-1), timedelta(days=400), timedelta(days=25_000))
"""How far a clock jumps; the metadata of a good stick have ended after the third."""


@dataclass(slots=True)
class Wall:
    """The system clock of the devices in a test."""

    now: datetime


@dataclass(slots=True)
class Jump:
    """Sets a clock as soon as something is written. Implements `device.installer.Advance`."""

    wall: Wall
    to: datetime
    writes: bool = False

    def began(self, what: str) -> None:
        self.writes = "install" in what.lower() or self.writes

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        if self.writes:
            self.wall.now = self.to


@pytest.fixture
def wall(field: Field, monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall(field.now + timedelta(days=2))
    monkeypatch.setattr(HardwareClock, "utc", lambda _: wall.now)
    return wall


def judged(rig: Rig) -> Judgement:
    """Return by what time the last receipt says that metadata were judged."""
    judgement = judgement_in(rig.last().checks)
    assert judgement is not None
    return judgement


def signed_at(moment: datetime) -> Callable[[Timestamp], None]:
    """Return what makes a timestamp one that was signed at a moment, for a year."""

    def change(timestamp: Timestamp) -> None:
        timestamp.expires = moment + timedelta(days=365)
        timestamp.unrecognized_fields["x-usbupdate-time"] = format_time(moment)

    return change


@attack(
    By.CHANCE, On.SERVICE, "a clock that stands in 1970 or in 2099", "outside of what the signed times allow it is not asked"
)
@pytest.mark.parametrize("clock", DEAD, ids=lambda each: str(each.year))
@pytest.mark.parametrize("setting", ["system", "untrusted"])
def test_a_dead_clock_stops_no_update_and_the_receipt_says_what_it_said(
    field: Field, wall: Wall, clock: datetime, setting: str
) -> None:
    rig = field.rig
    wall.now = clock
    rig.configure('clock = "system"', f'clock = "{setting}"')
    rig.update(field.good)
    floor = format_time(field.now)
    assert rig.last().event is Event.COMMITTED
    end = format_time(field.now + timedelta(days=365))
    assert judged(rig) == Judgement(floor, ClockQuality.FLOOR, system=format_time(clock), floor=floor, expires=end)
    assert (rig.last().moment.wall, rig.last().moment.clock) == (floor, ClockQuality.FLOOR)


@attack(By.OLD_STICK, On.TRUST, "the clock is set back to before a stick ended", "signed times that were seen are a floor")
@pytest.mark.parametrize("clock", [*DEAD, None], ids=lambda each: str(each and each.year))
def test_no_clock_opens_a_stick_whose_end_the_device_has_seen(field: Field, wall: Wall, clock: datetime | None) -> None:
    rig = field.rig
    far = field.now + timedelta(days=800)
    later = field.copy(field.folder.with_name("later"))
    later.press.publish(later.good, step=5, end=signed_at(far))
    wall.now = clock or field.now + timedelta(days=1)
    assert isinstance(rig.error_of(later.good), MetadataExpiredError)
    assert (judged(rig).now, judged(rig).clock) == (format_time(far), ClockQuality.FLOOR)
    assert isinstance(rig.error_of(field.good), OlderStickError)
    assert judged(rig).now == format_time(far)
    assert rig.last().moment.wall == format_time(far), "what a bad stick proved of the time counts for every receipt"


@attack(
    By.CHANCE,
    On.SERVICE,
    "a clock that jumps while an update is under way",
    "what was decided stays decided, and all waiting is by the time since the start",
)
@pytest.mark.parametrize("by", JUMPS, ids=lambda each: str(each.days))
@pytest.mark.parametrize("when", ["while it is written", "before the trial"])
def test_a_clock_that_jumps_changes_nothing_about_an_update(field: Field, wall: Wall, by: timedelta, when: str) -> None:
    rig, began = field.rig, wall.now
    jump = Jump(wall, began + by if when == "while it is written" else began)
    bench = Bench(rig.folder, lambda line: rig.lines.append(line), jump)  # noqa: PLW0108 - its argument has a name
    bench.insert(field.good)
    assert jump.writes
    wall.now = began + by
    rig.remove()
    bench.boot(Mishaps())
    assert rig.last().event is Event.COMMITTED
    assert rig.last().duration_ms < 1_000_000
    assert (judged(rig).system, judged(rig).clock) == (format_time(began), ClockQuality.SYSTEM)
    is_believed = field.now <= wall.now <= field.now + timedelta(days=3653)
    assert rig.last().moment.clock is (ClockQuality.SYSTEM if is_believed else ClockQuality.FLOOR)


def test_a_clock_that_runs_ahead_is_told_and_counted_and_cured_by_setting_it(field: Field, wall: Wall) -> None:
    rig, right = field.rig, wall.now
    wall.now = right + timedelta(days=5 * 365)
    for _ in range(4):
        error = rig.error_of(field.good)
        assert isinstance(error, MetadataExpiredError)
        assert "clock" in error.hint
        wall.now += timedelta(minutes=1)
    assert rig.events() == ["provisioned", "rejected"], "the same stick again is counted, whatever time it is by then"
    assert judged(rig).clock is ClockQuality.SYSTEM
    assert rig.last().trust is None
    wall.now = right
    rig.update(field.good)
    assert [receipt.draft.count for receipt in rig.receipts()] == [1, 1, 3, 1]
    assert [judgement_in(receipt.draft.checks) is None for receipt in rig.receipts()] == [True, False, True, False]
    assert rig.events()[-1] == "committed"


def test_an_untrusted_clock_is_told_although_it_is_right(field: Field, wall: Wall) -> None:
    rig = field.rig
    rig.configure('clock = "system"', 'clock = "untrusted"')
    rig.update(field.good)
    assert (judged(rig).clock, judged(rig).system) == (ClockQuality.FLOOR, format_time(wall.now))


@pytest.mark.parametrize("setting", ["system", "untrusted"])
def test_a_far_future_of_a_thief_is_in_the_receipts_until_his_key_is_rotated(field: Field, wall: Wall, setting: str) -> None:
    rig = field.rig
    rig.configure('clock = "system"', f'clock = "{setting}"')
    thief = field.copy(field.folder.with_name("thief"))
    far = field.now + timedelta(days=20 * 365)
    thief.press.publish(thief.good, step=3, end=signed_at(far))
    assert isinstance(rig.error_of(thief.good), MetadataExpiredError)
    assert judged(rig) == Judgement(format_time(far), ClockQuality.FLOOR, format_time(wall.now), format_time(far))
    assert isinstance(rig.error_of(field.good), MetadataExpiredError)

    def rotate(root: Root) -> None:
        key = field.press.signer("new-timestamp").public_key
        del root.keys[root.roles["timestamp"].keyids.pop()]
        root.add_key(key, "timestamp")

    # The rotation is on a stick whose other metadata are still signed by the old key, as a hurried office may write it.
    field.press.root(field.good, rotate)
    assert isinstance(rig.error_of(field.good), MetadataSignatureError)
    assert rig.record().root.version == 2, "a revocation that a bad stick proved is remembered in the state too"
    root_time = format_time(field.now)
    assert rig.record().time_floor == root_time
    assert judged(rig).floor == root_time


def test_each_receipt_of_a_stick_that_was_looked_at_says_by_what_time(field: Field, wall: Wall, mount: Path) -> None:
    rig = field.rig
    rig.error_of(mount)
    assert rig.last().checks == (), "of a foreign stick no metadata were looked at"
    (field.good / "usbupdate/metadata/timestamp.json").write_bytes(b"{}")
    rig.error_of(field.good)
    assert judged(rig).system == format_time(wall.now)
