from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.property import corruption
from usbupdate.core import statement, statementform, strictjson
from usbupdate.core.receipt import (
    DETAIL_MAX,
    HINT_MAX,
    NO_PREVIOUS,
    RECEIPT_SIZE_MAX,
    BundleRef,
    Check,
    CheckResult,
    ClockQuality,
    Draft,
    Event,
    MediumFacts,
    Moment,
    Problem,
    Receipt,
    Release,
    Traffic,
    TrustFacts,
)
from usbupdate.core.words import (
    BOOT_ID,
    BUNDLE_NAME,
    DEVICE_ID,
    SEQUENCE_MAX,
    SLOT_CLASS,
    VERSION,
    BootId,
    BundleName,
    DeviceId,
    Digest,
    ReceiptId,
    SlotClass,
)
from usbupdate.errors import MalformedError

if TYPE_CHECKING:
    from tests.property.corruption import Place
    from usbupdate.core.strictjson import Json

FULL = Receipt(
    device=DeviceId("gw-0001"),
    number=12,
    previous=Digest("9" * 64),
    draft=Draft(
        id=ReceiptId("0123456789abcdef" * 2),
        event=Event.COMMITTED,
        moment=Moment(BootId("b-1"), 12_345, "2026-01-31T12:00:00Z", ClockQuality.SYSTEM),
        before=Release("1.0", 6, {SlotClass("rootfs"): Digest("1" * 64)}),
        after=Release("1.1", 7, {SlotClass("app"): Digest("2" * 64), SlotClass("rootfs"): Digest("3" * 64)}),
        bundle=BundleRef(BundleName("gateway"), Digest("4" * 64)),
        trust=TrustFacts(2, 17, (("5" * 64), ("6" * 64))),
        checks=(Check("10-network", CheckResult.PASSED, "", ""), Check("20-app", CheckResult.FAILED, "exit-3", "last\nlines")),
        medium=MediumFacts("0781:5567", "4C53", "1234-ABCD", "UPDATES"),
        operator="unattended",
        duration_ms=60_000,
        traffic=Traffic(1, 2, 3, 4, 5, 6, 7),
        resumed=True,
        count=1,
        problem=Problem("check-failed", "The check 20-app failed."),
    ),
)
VALID: Json = json.loads(statement.encode(FULL))
PREDICATE: Place = ("predicate",)
NULLABLE: set[Place] = {(*PREDICATE, name) for name in ("from", "to", "bundle", "trust", "medium", "traffic", "problem")}

NUMBERS = st.integers(0, SEQUENCE_MAX)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"), max_size=30)
REASONS = st.from_regex(r"[a-z0-9-]{0,64}", fullmatch=True)
RELEASES = st.builds(
    Release,
    version=st.just("") | st.from_regex(VERSION, fullmatch=True),
    sequence=NUMBERS,
    images=st.dictionaries(st.from_regex(SLOT_CLASS, fullmatch=True).map(SlotClass), DIGESTS, max_size=3),
)
DRAFTS = st.builds(
    Draft,
    id=st.binary(min_size=16, max_size=16).map(lambda raw: ReceiptId(raw.hex())),
    event=st.sampled_from(Event),
    moment=st.builds(
        Moment,
        boot_id=st.from_regex(BOOT_ID, fullmatch=True).map(BootId),
        monotonic_ms=NUMBERS,
        wall=st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"),
        clock=st.sampled_from(ClockQuality),
    ),
    before=st.none() | RELEASES,
    after=st.none() | RELEASES,
    bundle=st.none()
    | st.builds(BundleRef, name=st.from_regex(BUNDLE_NAME, fullmatch=True).map(BundleName), manifest_sha256=DIGESTS),
    trust=st.none()
    | st.builds(
        TrustFacts,
        root_version=st.integers(1, SEQUENCE_MAX),
        timestamp_version=NUMBERS,
        signers=st.lists(DIGESTS, max_size=3, unique=True).map(tuple),
    ),
    checks=st.lists(
        st.builds(Check, name=TEXTS, result=st.sampled_from(CheckResult), reason=REASONS, detail=TEXTS), max_size=3
    ).map(tuple),
    medium=st.none() | st.builds(MediumFacts, usb_id=TEXTS, serial=TEXTS, filesystem_uuid=TEXTS, label=TEXTS),
    operator=TEXTS,
    duration_ms=NUMBERS,
    traffic=st.none() | st.builds(Traffic, *[NUMBERS] * 7),
    resumed=st.booleans(),
    count=st.integers(1, SEQUENCE_MAX),
    problem=st.none() | st.builds(Problem, reason=REASONS, text=TEXTS),
)
RECEIPTS = st.builds(
    Receipt,
    device=st.from_regex(DEVICE_ID, fullmatch=True).map(DeviceId),
    number=st.integers(1, SEQUENCE_MAX),
    previous=DIGESTS | st.just(NO_PREVIOUS),
    draft=DRAFTS,
)


def _canonical(document: Json) -> bytes:
    assert isinstance(document, dict)
    return strictjson.encode(document)


def _rejects(raw: bytes) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        statement.decode(raw)
    return caught.value


@given(RECEIPTS)
def test_round_trip(receipt: Receipt) -> None:
    raw = statement.encode(receipt)
    assert statement.decode(raw) == receipt
    assert b"\n" not in raw, "a receipt is one line"
    assert raw.isascii()


@given(RECEIPTS)
def test_what_is_recognised_at_once_is_what_is_read_field_by_field(receipt: Receipt) -> None:
    raw = statement.encode(receipt)
    assert statementform.recognised(raw) in (None, statement.decode_by_field(raw))


@pytest.mark.parametrize("text", ["", "plain", 'quoted "so" and \\so', "two\nlines\tand a tab"])
def test_an_ordinary_receipt_is_recognised_at_once(text: str) -> None:
    statementform._pattern.cache_clear()  # else nothing that it is made of is looked at here
    receipt = replace(FULL, draft=replace(FULL.draft, problem=Problem("check-failed", text)))
    assert statementform.recognised(statement.encode(receipt)) == receipt


def test_a_text_of_the_largest_size_is_recognised_at_once_and_a_larger_one_never() -> None:
    for size, is_taken in ((HINT_MAX, True), (HINT_MAX + 1, False)):
        raw = statement.encode(replace(FULL, draft=replace(FULL.draft, operator="o" * size)))
        assert (statementform.recognised(raw) is not None) == is_taken


def test_a_text_beyond_ascii_is_left_to_whoever_reads_field_by_field() -> None:
    receipt = replace(FULL, draft=replace(FULL.draft, operator="Jürgen"))
    assert statementform.recognised(statement.encode(receipt)) is None
    assert statement.decode(statement.encode(receipt)) == receipt


@given(DRAFTS)
def test_a_draft_waits_in_the_state_file_unchanged(draft: Draft) -> None:
    raw = strictjson.encode(statement.draft_table(draft))
    assert statement.draft_from(strictjson.decode(raw, "state", limit=1 << 20)) == draft


def test_the_valid_document_of_these_tests_is_valid_and_has_every_field() -> None:
    assert statement.decode(_canonical(VALID)) == FULL
    predicate = corruption.at(VALID, PREDICATE)
    assert isinstance(predicate, dict)
    assert None not in predicate.values()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed(raw: bytes) -> None:
    _rejects(raw)


@given(st.data())
def test_one_flipped_bit_gives_another_receipt_or_malformed(data: st.DataObject) -> None:
    raw = bytearray(_canonical(VALID))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MalformedError):
        # One value has one form: other bytes that are taken are another receipt, or a signature could be moved between them.
        assert statement.decode(bytes(raw)) != FULL


@pytest.mark.parametrize("place", corruption.fields(VALID), ids=corruption.shown)
def test_a_missing_field_is_malformed(place: Place) -> None:
    raw = _canonical(corruption.without(VALID, place))
    if place[-1] in {"rootfs", "app"}:
        # `images` is a map: one key less is another release.
        assert statement.decode(raw) != FULL
    else:
        _rejects(raw)


@pytest.mark.parametrize("place", corruption.objects(VALID), ids=corruption.shown)
def test_an_unknown_field_is_malformed(place: Place) -> None:
    _rejects(_canonical(corruption.replaced(VALID, (*place, "extra"), None)))


@pytest.mark.parametrize("wrong", corruption.WRONG_TYPES)
@pytest.mark.parametrize("place", corruption.fields(VALID), ids=corruption.shown)
def test_a_field_of_a_wrong_type_is_malformed(place: Place, wrong: str) -> None:
    value = corruption.WRONG_TYPES[wrong]
    right = corruption.at(VALID, place)
    raw = _canonical(corruption.replaced(VALID, place, value))
    if isinstance(value, bool | int) and type(value) is type(right):
        assert statement.decode(raw).device == FULL.device
    elif value is None and place in NULLABLE - {(*PREDICATE, "bundle")}:
        assert statement.decode(raw) != FULL
    else:
        # A bundle that is null no longer matches the subject: rejected as well.
        _rejects(raw)


OUT_OF_RANGE: list[tuple[Place, Json]] = [
    (("_type",), "https://in-toto.io/Statement/v0.1"),
    (("predicateType",), "urn:usbupdate:receipt:2"),
    (("subject",), []),
    (("subject", 0, "name"), "another"),
    (("subject", 0, "digest", "sha256"), "0" * 64),
    ((*PREDICATE, "device"), "GW"),
    ((*PREDICATE, "device"), "../gw"),
    ((*PREDICATE, "number"), 0),
    ((*PREDICATE, "number"), SEQUENCE_MAX + 1),
    ((*PREDICATE, "previous"), "F" * 64),
    ((*PREDICATE, "id"), "0" * 31),
    ((*PREDICATE, "event"), "exploded"),
    ((*PREDICATE, "event"), "COMMITTED"),
    ((*PREDICATE, "boot_id"), ""),
    ((*PREDICATE, "boot_id"), "/etc"),
    ((*PREDICATE, "monotonic_ms"), -1),
    ((*PREDICATE, "wall"), "2026-02-30T12:00:00Z"),
    ((*PREDICATE, "wall"), "yesterday"),
    ((*PREDICATE, "clock"), "gps"),
    ((*PREDICATE, "from", "version"), "one two"),
    ((*PREDICATE, "from", "sequence"), -1),
    ((*PREDICATE, "to", "images"), {"../rootfs": "3" * 64}),
    ((*PREDICATE, "bundle", "name"), "../gateway"),
    ((*PREDICATE, "trust", "root_version"), 0),
    ((*PREDICATE, "trust", "signers"), ["5" * 64, "5" * 64]),
    ((*PREDICATE, "checks", 0, "name"), "x" * 201),
    ((*PREDICATE, "checks", 0, "name"), "\x1b[31m"),
    ((*PREDICATE, "checks", 0, "result"), "ok"),
    ((*PREDICATE, "checks", 0, "reason"), "Not kebab"),
    ((*PREDICATE, "checks", 0, "detail"), "x" * 2001),
    ((*PREDICATE, "checks"), [{"name": "", "result": "passed", "reason": "", "detail": ""}] * 65),
    ((*PREDICATE, "medium", "label"), "a\rb"),
    ((*PREDICATE, "operator"), "x" * 201),
    ((*PREDICATE, "duration_ms"), -1),
    ((*PREDICATE, "traffic", "read"), -1),
    ((*PREDICATE, "count"), 0),
    ((*PREDICATE, "problem", "text"), "x" * 2001),
]


@pytest.mark.parametrize(
    ("place", "value"), OUT_OF_RANGE, ids=[f"{corruption.shown(p)}-{n}" for n, (p, _) in enumerate(OUT_OF_RANGE)]
)
def test_a_value_out_of_range_is_malformed(place: Place, value: Json) -> None:
    _rejects(_canonical(corruption.replaced(VALID, place, value)))


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(VALID).encode(),
        json.dumps(VALID, indent=1).encode(),
        json.dumps(VALID, separators=(",", ":")).encode() + b"\n",
        b" " + _canonical(VALID),
        _canonical(VALID).replace(b"gateway", b"g\\u0061teway"),
        _canonical(VALID).replace(b'"count":1', b'"count":-0'),
        _canonical(VALID).replace(b'"resumed":true', b'"resumed": true'),
        json.dumps(VALID, separators=(",", ":"), sort_keys=False).encode().replace(b'{"_type"', b'{ "_type"'),
        json.dumps(dict(reversed(list(json.loads(_canonical(VALID)).items()))), separators=(",", ":")).encode(),
    ],
    ids=["blanks", "indent", "line-feed", "leading-blank", "escape", "minus-zero", "one-blank", "blank-in-brace", "order"],
)
def test_the_same_receipt_in_another_form_is_malformed(raw: bytes) -> None:
    _rejects(raw)


def test_text_beyond_ascii_has_one_form_too() -> None:
    named = replace(FULL, draft=replace(FULL.draft, operator="Jörg \N{GRINNING FACE}"))
    raw = statement.encode(named)
    assert statement.decode(raw) == named
    _rejects(raw.replace(rb"J\u00f6rg", "Jörg".encode()))
    _rejects(raw.replace(rb"\ud83d\ude00", rb"\uD83D\uDE00"))


def test_an_oversized_receipt_is_malformed() -> None:
    raw = _canonical(VALID)
    _rejects(raw[:-1] + b" " * RECEIPT_SIZE_MAX + b"}")


def test_a_receipt_of_another_form_is_named_as_a_whole() -> None:
    for raw in (_canonical(VALID) + b" ", _canonical(corruption.replaced(VALID, ("subject", 0, "name"), "another"))):
        error = _rejects(raw)
        assert (error.document, error.field, error.problem) == ("receipt", "whole", "not in its one canonical form")


def test_numbers_texts_and_lists_may_reach_to_both_ends() -> None:
    least = replace(
        FULL,
        number=1,
        draft=replace(
            FULL.draft,
            moment=Moment(BootId("b"), 0, "2026-01-31T12:00:00Z", ClockQuality.FLOOR),
            before=Release("", 0, {}),
            trust=TrustFacts(1, 0, ()),
            checks=(Check("", CheckResult.PASSED, "", ""),),
            medium=MediumFacts(),
            operator="",
            duration_ms=0,
            traffic=Traffic(),
            count=1,
            problem=Problem("", ""),
        ),
    )
    most = replace(
        FULL,
        number=SEQUENCE_MAX,
        draft=replace(
            FULL.draft,
            moment=Moment(BootId("b"), SEQUENCE_MAX, "2026-01-31T12:00:00Z", ClockQuality.SYSTEM),
            before=Release("1", SEQUENCE_MAX, {}),
            trust=TrustFacts(SEQUENCE_MAX, SEQUENCE_MAX, tuple(Digest(f"{number:064x}") for number in range(64))),
            checks=(
                Check("n" * 200, CheckResult.TIMED_OUT, "r" * 64, "d" * DETAIL_MAX),
                *[Check("n", CheckResult.FAILED)] * 63,
            ),
            medium=MediumFacts("u" * 200, "s" * 200, "f" * 200, "l" * 200),
            operator="o" * 200,
            duration_ms=SEQUENCE_MAX,
            traffic=Traffic(*[SEQUENCE_MAX] * 7),
            count=SEQUENCE_MAX,
            problem=Problem("r" * 64, "t" * DETAIL_MAX),
        ),
    )
    for receipt in (least, most):
        for decode in (statement.decode, statement.decode_by_field):
            assert decode(statement.encode(receipt)) == receipt


def test_a_receipt_is_about_one_thing() -> None:
    subjects = json.loads(_canonical(VALID))["subject"]
    error = _rejects(_canonical(corruption.replaced(VALID, ("subject",), [*subjects, *subjects])))
    assert (error.field, error.problem) == ("subject", "more than 1 entries")


@pytest.mark.parametrize("field", ["usb_id", "serial", "filesystem_uuid", "label"])
def test_what_a_stick_says_of_itself_is_bounded(field: str) -> None:
    error = _rejects(_canonical(corruption.replaced(VALID, (*PREDICATE, "medium", field), "x" * 201)))
    assert (error.field, error.problem) == (f"predicate.medium.{field}", "longer than 200 characters")


def test_an_image_of_no_slot_class_is_named() -> None:
    error = _rejects(_canonical(corruption.replaced(VALID, (*PREDICATE, "to", "images"), {"ROOT FS": "3" * 64})))
    assert (error.field, error.problem) == ("predicate.to.images.ROOT FS", "not a slot class")


@pytest.mark.parametrize(
    "place",
    [
        ("monotonic_ms",), ("duration_ms",), ("count",), ("from", "sequence"), ("trust", "root_version"),
        ("trust", "timestamp_version"), ("traffic", "read"), ("traffic", "full"),
    ],
)  # fmt: skip
def test_no_number_of_a_receipt_is_beyond_what_json_readers_keep(place: Place) -> None:
    error = _rejects(_canonical(corruption.replaced(VALID, (*PREDICATE, *place), SEQUENCE_MAX + 1)))
    assert error.field == ".".join(("predicate", *map(str, place)))
