from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType
from tuf.ngclient.updater import Updater

from tests.attack.metadata_office import START, Office
from usbupdate.core import trust
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.timefloor import (
    BELIEVABLE,
    ClockReading,
    Remembered,
    decode,
    encode,
    format_time,
    parse_time,
    trusted_now,
)
from usbupdate.core.words import Digest
from usbupdate.errors import MalformedError, MetadataExpiredError, TrustLibraryError
from usbupdate.medium import DirectoryMedium
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from pathlib import Path

KEYS = Digest("ab" * 32)
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))


@given(MOMENTS)
def test_time_is_written_in_one_form_and_read_back(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


def test_time_is_written_in_utc_wherever_it_was_taken() -> None:
    assert format_time(datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:30:00Z"


@pytest.mark.parametrize(
    "text", [None, 5, "", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", " 2026-01-01T00:00:00Z", "\uff12026-01-01T00:00:00Z"]
)
def test_other_forms_of_time_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_time(text)


@given(MOMENTS, MOMENTS, st.booleans())
def test_trusted_now_never_lies_before_the_floor_or_far_after_it(floor: datetime, utc: datetime, trusted: bool) -> None:
    now, quality = trusted_now(floor, ClockReading(utc, trusted))
    assert now >= floor
    assert now - floor <= BELIEVABLE
    assert now == (utc if quality is ClockQuality.SYSTEM else floor)
    if not trusted:
        assert quality is ClockQuality.FLOOR


@pytest.mark.parametrize(
    ("offset", "quality"),
    [
        (timedelta(seconds=-1), ClockQuality.FLOOR),
        (timedelta(0), ClockQuality.SYSTEM),
        (BELIEVABLE, ClockQuality.SYSTEM),
        (BELIEVABLE + timedelta(seconds=1), ClockQuality.FLOOR),
    ],
)
def test_edges_of_what_is_believed(offset: timedelta, quality: ClockQuality) -> None:
    assert trusted_now(START, ClockReading(START + offset, trusted=True))[1] is quality


@given(MOMENTS)
def test_floor_is_saved_and_read_back(moment: datetime) -> None:
    assert decode(encode(Remembered(KEYS, moment))) == Remembered(KEYS, moment)


@given(st.binary(max_size=200))
def test_broken_floor_is_malformed_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(raw)


@pytest.mark.parametrize("time", ["2026-02-30T00:00:00Z", "today", "0000-01-01T00:00:00Z"])
def test_floor_with_an_impossible_time_is_malformed(time: str) -> None:
    with pytest.raises(MalformedError):
        decode(encode(Remembered(KEYS, START)).replace(b"2026-01-01T00:00:00Z", time.encode()))


def test_library_still_keeps_its_time_where_we_set_it(office_root: bytes) -> None:
    metadata_set = TrustedMetadataSet(office_root, EnvelopeType.METADATA)
    assert isinstance(metadata_set.reference_time, datetime), f"tuf {version('tuf')} keeps the time elsewhere"
    assert metadata_set.reference_time.tzinfo is not None


def test_library_judges_by_the_time_that_we_set(tmp_path: Path, mount: Path) -> None:
    # Long before and long after the real time: were the library to ask the system, one of the two would be wrong.
    for year, is_good in ((2001, True), (2003, False), (2091, True), (2093, False)):
        office = Office()
        office.now = datetime(year // 10 * 10 + 1, 1, 1, tzinfo=UTC)
        office.root.version = 0
        office.files.clear()
        office.publish_root()
        office.publish()
        office.write(mount)
        folder = tmp_path / str(year)
        folder.mkdir()
        clock = ClockReading(datetime(year, 6, 1, tzinfo=UTC), trusted=True)
        if is_good:
            assert trust.refresh(TrustFiles(folder), office.first_root, DirectoryMedium(mount), clock).now[:4] == str(year)
        else:
            with pytest.raises(MetadataExpiredError):
                trust.refresh(TrustFiles(folder), office.first_root, DirectoryMedium(mount), clock)


def test_library_that_keeps_its_time_elsewhere_stops_everything(
    tmp_path: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office()
    office.write(mount)
    real = Updater.__init__

    def without_time(self: Updater, *args: object, **kwargs: object) -> None:
        real(self, *args, **kwargs)  # type: ignore[arg-type]  # whatever the library takes
        del self._trusted_set.reference_time

    monkeypatch.setattr(Updater, "__init__", without_time)
    monkeypatch.setattr(Updater, "_load_timestamp", lambda _: None)
    monkeypatch.setattr(Updater, "_load_snapshot", lambda _: None)
    monkeypatch.setattr(Updater, "_load_targets", lambda *_: None)
    clock = ClockReading(START, trusted=True)
    with pytest.raises(TrustLibraryError, match="tuf"):
        trust.refresh(TrustFiles(tmp_path), office.first_root, DirectoryMedium(mount), clock)


@pytest.fixture
def office_root() -> bytes:
    return Office().first_root
