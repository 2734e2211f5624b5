from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.receipt import ClockQuality
from usbupdate.core.words import BOOT_ID, TIME
from usbupdate.device.clock import LinuxClock, moment_of
from usbupdate.errors import BootIdError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_moment_has_the_form_that_receipts_prescribe() -> None:
    clock = LinuxClock()
    moment = moment_of(clock, ClockQuality.SYSTEM)
    assert BOOT_ID.fullmatch(moment.boot_id)
    assert TIME.fullmatch(moment.wall)
    assert 0 < moment.monotonic_ms <= clock.monotonic_ms()


@pytest.mark.parametrize(
    ("wall", "told"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (datetime(2030, 5, 6, 7, 8, 9, 999_999, tzinfo=timezone(timedelta(hours=2))), "2030-05-06T05:08:09Z"),
    ],
)
def test_a_trusted_time_is_told_in_utc_to_the_second(wall: datetime, told: str) -> None:
    assert moment_of(LinuxClock(), ClockQuality.FLOOR, wall).wall == told


def test_a_machine_without_a_boot_id_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for name in ("none", "empty"):
        with pytest.raises(BootIdError):
            LinuxClock(tmp_path / name).boot_id()
