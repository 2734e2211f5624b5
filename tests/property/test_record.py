"""The state file: what is saved is read back equal, and nothing else is taken."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.property import corruption
from tests.property.test_statement import DIGESTS, DRAFTS, NUMBERS
from usbupdate.core import recordform
from usbupdate.core.manifest import IMAGE_SIZE_MAX, Blob
from usbupdate.core.receipt import BundleRef, ClockQuality, Draft, Event, Moment
from usbupdate.core.record import (
    FORMAT,
    FORMAT_BEFORE_DOWNGRADES,
    Activating,
    Attempt,
    BundleOutcome,
    Committing,
    Condemning,
    DeviceRecord,
    Idle,
    Installed,
    Installing,
    KnownRoot,
    Leaving,
    Ready,
    Recording,
    Repeat,
    State,
    Trial,
)
from usbupdate.core.words import SEQUENCE_MAX, BootId, BundleName, Digest, ReceiptId, Slot, SlotClass
from usbupdate.errors import MalformedError, NewerFormatError

if TYPE_CHECKING:
    from tests.property.corruption import Place
    from usbupdate.core.strictjson import Json

COUNTS = st.integers(0, 1 << 31)
TRIES = st.integers(1, 1 << 31)
BOOT_IDS = st.from_regex(r"[0-9a-f-]{1,64}", fullmatch=True).map(BootId)
IMAGES = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True).map(SlotClass),
    st.builds(Blob, DIGESTS, st.integers(1, IMAGE_SIZE_MAX)),
    max_size=3,
)
INSTALLED = st.builds(
    Installed, st.sampled_from(Slot), st.from_regex(r"([A-Za-z0-9][A-Za-z0-9.+~_-]{0,63})?", fullmatch=True), NUMBERS, IMAGES
)


def _with_bundle(draft: Draft) -> Draft:
    return replace(draft, bundle=draft.bundle or BundleRef(BundleName("gw"), Digest("0" * 64)))


ATTEMPTS = st.builds(Attempt, INSTALLED, DRAFTS.map(_with_bundle), COUNTS)
STATES = st.one_of(
    st.builds(Idle, st.booleans()),
    st.builds(Installing, ATTEMPTS),
    st.builds(Ready, ATTEMPTS),
    st.builds(Activating, ATTEMPTS, BOOT_IDS, TRIES),
    st.builds(Trial, ATTEMPTS, BOOT_IDS),
    st.builds(Committing, ATTEMPTS),
    st.builds(Condemning, ATTEMPTS, COUNTS),
    st.builds(Recording, DRAFTS),
    st.builds(Leaving, BOOT_IDS, TRIES),
)
RECORDS = st.builds(
    DeviceRecord,
    committed=INSTALLED,
    whole=st.lists(INSTALLED, max_size=2, unique_by=lambda each: each.slot).map(lambda each: {one.slot: one for one in each}),
    floor=NUMBERS,
    root=st.builds(KnownRoot, st.integers(1, 1000), DIGESTS),
    state=STATES,
    pending=st.lists(DRAFTS, max_size=2).map(tuple),
    outcomes=st.dictionaries(
        DIGESTS, st.builds(BundleOutcome, st.sampled_from(Event), TRIES, st.booleans(), COUNTS), max_size=3
    ),
    repeat=st.none() | st.builds(Repeat, DRAFTS, TRIES),
    exports_logs=st.booleans(),
    time_floor=st.just("2026-11-01T10:00:00Z"),
    downgrade_number=st.just(0) | st.integers(1, SEQUENCE_MAX),
)


@given(RECORDS)
def test_round_trip(record: DeviceRecord) -> None:
    raw = recordform.encode(record)
    again = recordform.decode(raw)
    assert again == record
    assert recordform.encode(again) == raw
    assert list(again.outcomes) == list(record.outcomes), "the oldest outcome is forgotten first"


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        recordform.decode(raw)


@given(RECORDS, st.data())
def test_a_field_that_is_missing_is_never_made_up(record: DeviceRecord, data: st.DataObject) -> None:
    document = json.loads(recordform.encode(record))
    place: Place = data.draw(st.sampled_from(corruption.fields(document)))
    with contextlib.suppress(MalformedError):
        # A key less in a map of images is another record; everything else is refused.
        assert recordform.decode(corruption.raw(corruption.without(document, place))) != record
        assert "images" in place


@given(RECORDS)
def test_a_later_format_stops_the_agent_and_is_no_corruption(record: DeviceRecord) -> None:
    document = {**json.loads(recordform.encode(record)), "format": FORMAT + 1, "later": "unknown"}
    with pytest.raises(NewerFormatError):
        recordform.decode(corruption.raw(document))


@given(RECORDS)
def test_only_a_device_that_went_back_writes_the_later_format(record: DeviceRecord) -> None:
    document = json.loads(recordform.encode(record))
    has_gone_back = record.downgrade_number > 0
    assert document["format"] == (FORMAT if has_gone_back else FORMAT_BEFORE_DOWNGRADES)
    assert ("downgrade_number" in document) is has_gone_back


@pytest.mark.parametrize(("number", "more"), [(1, {"downgrade_number": 1}), (2, {"downgrade_number": 0}), (2, {})])
def test_a_number_that_does_not_fit_the_format_is_malformed(number: int, more: dict[str, int]) -> None:
    record = DeviceRecord(Installed(Slot.A, "1", 1, {}), {}, 1, KnownRoot(1, Digest("0" * 64)))
    document = {**json.loads(recordform.encode(record)), "format": number, **more}
    with pytest.raises(MalformedError):
        recordform.decode(corruption.raw(document))


IMAGE = {"rootfs": {"sha256": "0" * 64, "size": 10}}
ATTEMPT = Attempt(
    Installed(Slot.B, "2", 2, {SlotClass("rootfs"): Blob(Digest("0" * 64), 10)}),
    Draft(
        ReceiptId("a" * 32),
        Event.INTERRUPTED,
        Moment(BootId("b"), 1, "2026-01-01T00:00:00Z", ClockQuality.FLOOR),
        bundle=BundleRef(BundleName("gw"), Digest("0" * 64)),
    ),
)
EVERY_STATE = [
    (Idle(stuck=True), "idle"),
    (Installing(ATTEMPT), "installing"),
    (Ready(ATTEMPT), "ready"),
    (Activating(ATTEMPT, BootId("b"), 1), "activating"),
    (Trial(ATTEMPT, BootId("b")), "trial"),
    (Committing(ATTEMPT), "committing"),
    (Condemning(ATTEMPT, 2), "condemning"),
    (Recording(ATTEMPT.draft), "recording"),
    (Leaving(BootId("b"), 1), "leaving"),
]


def _with_state(state: State) -> DeviceRecord:
    return DeviceRecord(Installed(Slot.A, "1", 1, {}), {}, 1, KnownRoot(1, Digest("0" * 64)), state)


@pytest.mark.parametrize(("state", "name"), EVERY_STATE, ids=[name for _, name in EVERY_STATE])
def test_every_state_is_read_back_by_its_name(state: State, name: str) -> None:
    raw = recordform.encode(_with_state(state))
    assert json.loads(raw)["state"]["name"] == recordform.state_name(state) == name
    assert recordform.decode(raw).state == state


def _refuses(document: Json) -> tuple[str, str]:
    with pytest.raises(MalformedError) as caught:
        recordform.decode(corruption.raw(document))
    assert caught.value.document == "state"
    return caught.value.field, caught.value.problem


@pytest.mark.parametrize(
    ("place", "value", "field", "problem"),
    [
        (("state", "name"), "asleep", "state.name", "not the name of a state"),
        (("state", "attempt", "draft", "bundle"), None, "state.attempt.draft", "an attempt without a bundle"),
        (("committed", "images"), {"ROOT FS": IMAGE["rootfs"]}, "committed.images.ROOT FS", "not a slot class"),
        (
            ("whole",),
            [{"slot": "a", "version": version, "sequence": 1, "images": IMAGE} for version in ("1", "2")],
            "whole",
            "a slot stands twice",
        ),
    ],
)
def test_a_state_file_that_contradicts_itself_is_refused(place: Place, value: Json, field: str, problem: str) -> None:
    document = json.loads(recordform.encode(_with_state(Ready(ATTEMPT))))
    assert _refuses(corruption.replaced(document, place, value)) == (field, problem)


def test_a_state_file_says_whether_a_refusal_is_being_counted() -> None:
    document = json.loads(recordform.encode(_with_state(Idle())))
    assert document["repeat"] is None
    assert _refuses(corruption.without(document, ("repeat",))) == ("repeat", "missing")
