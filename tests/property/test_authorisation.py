"""The downgrade authorisation: what is signed is read back equal, and nothing else is taken."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.matrix import By, On, attack
from tests.property import corruption
from tests.property.test_statement import DIGESTS
from usbupdate.core import authorisation as authorisations
from usbupdate.core.authorisation import (
    AUTHORISATION_SIZE_MAX,
    FORMAT,
    NUMBER_MAX,
    REASON,
    TICKET,
    Authorisation,
    Used,
    check_of,
    used_in,
)
from usbupdate.core.receipt import Check, CheckResult
from usbupdate.core.words import DEVICE_ID, SEQUENCE_MAX, DeviceId
from usbupdate.errors import MalformedError, NewerFormatError

if TYPE_CHECKING:
    from tests.property.corruption import Place
    from usbupdate.core.strictjson import Json

VALID: Json = {
    "format": 1,
    "device": "gw-0001",
    "fingerprint": "a" * 64,
    "number": 3,
    "manifest_sha256": "b" * 64,
    "floor": 7,
    "ticket": "CHG-4711: pump 2 loses its link",
    "expires": "2026-12-31T00:00:00Z",
}
AUTHORISATIONS = st.builds(
    Authorisation,
    device=st.from_regex(DEVICE_ID, fullmatch=True).map(DeviceId),
    fingerprint=DIGESTS,
    number=st.integers(1, SEQUENCE_MAX),
    manifest_sha256=DIGESTS,
    floor=st.integers(1, SEQUENCE_MAX),
    ticket=st.from_regex(TICKET, fullmatch=True),
    expires=st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"),
)


def _rejects(document: Json) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        authorisations.decode(corruption.raw(document))
    assert caught.value.document == "downgrade authorisation"
    return caught.value


@given(AUTHORISATIONS)
def test_round_trip(authorisation: Authorisation) -> None:
    raw = authorisations.encode(authorisation)
    assert len(raw) <= AUTHORISATION_SIZE_MAX
    assert authorisations.decode(raw) == authorisation
    assert authorisations.encode(authorisations.decode(raw)) == raw


@given(AUTHORISATIONS)
def test_its_name_says_whose_it_is_and_its_number(authorisation: Authorisation) -> None:
    assert authorisations.parse_name(authorisation.name) == (authorisation.device, authorisation.number)


@given(AUTHORISATIONS)
def test_a_receipt_names_it_among_its_checks(authorisation: Authorisation) -> None:
    used = used_in([Check("10-network", CheckResult.PASSED), check_of(authorisation)])
    assert used == Used(authorisation.device, authorisation.number, authorisation.ticket)


def test_other_checks_are_no_authorisation() -> None:
    name = "allow-gw-1-3.json"
    for check in (
        Check(name, CheckResult.PASSED),
        Check(name, CheckResult.FAILED, REASON),
        Check("10-network", CheckResult.PASSED, REASON),
    ):
        assert used_in([check]) is None


@pytest.mark.parametrize(
    "name",
    [
        "gateway-1.json",
        "allow-3.json",
        "allow--3.json",
        "allow-gw-0.json",
        "allow-gw-03.json",
        "allow-gw-9999999999999999.json",
        "allow-gw-3.json.json",
        "allow-GW-3.json",
        "allow-a.b-3.json",
        f"allow-{'x' * 64}-3.json",
        "allow-gw-3.json\n",
        "allow-../x-3.json",
    ],
)
def test_other_names_are_those_of_no_authorisation(name: str) -> None:
    assert authorisations.parse_name(name) is None


def test_a_device_whose_id_ends_in_a_number_is_told_from_another() -> None:
    assert authorisations.parse_name("allow-gw-1-2.json") == ("gw-1", 2)
    assert authorisations.parse_name("allow-gw-12.json") == ("gw", 12)


def test_the_highest_number_has_a_name_and_the_one_after_has_none() -> None:
    assert authorisations.parse_name(f"allow-gw-{NUMBER_MAX}.json") == ("gw", NUMBER_MAX)
    assert authorisations.parse_name(f"allow-gw-{NUMBER_MAX + 1}.json") is None


def test_the_valid_document_of_these_tests_is_valid() -> None:
    authorisations.decode(corruption.raw(VALID))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        authorisations.decode(raw)


@given(st.data())
def test_one_flipped_bit_gives_an_authorisation_or_malformed(data: st.DataObject) -> None:
    raw = bytearray(corruption.raw(VALID))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MalformedError, NewerFormatError):
        authorisations.decode(bytes(raw))


@given(st.integers(0, len(corruption.raw(VALID)) - 1))
def test_a_truncated_authorisation_is_malformed(size: int) -> None:
    with pytest.raises(MalformedError):
        authorisations.decode(corruption.raw(VALID)[:size])


@pytest.mark.parametrize("place", corruption.fields(VALID), ids=corruption.shown)
def test_a_missing_field_is_malformed(place: Place) -> None:
    assert _rejects(corruption.without(VALID, place)).problem == "missing"


def test_an_unknown_field_is_malformed() -> None:
    assert _rejects(corruption.replaced(VALID, ("extra",), None)).problem == "unknown field"


def test_a_key_that_stands_twice_is_malformed() -> None:
    raw = corruption.raw(VALID)
    with pytest.raises(MalformedError, match="twice"):
        authorisations.decode(raw[:-1] + b',"number":9}')


@pytest.mark.parametrize("wrong", corruption.WRONG_TYPES)
@pytest.mark.parametrize("place", corruption.fields(VALID), ids=corruption.shown)
def test_a_field_of_a_wrong_type_is_malformed(place: Place, wrong: str) -> None:
    value = corruption.WRONG_TYPES[wrong]
    if type(value) is type(corruption.at(VALID, place)) and wrong == "number":
        return
    _rejects(corruption.replaced(VALID, place, value))


OUT_OF_RANGE: list[tuple[Place, Json]] = [
    (("format",), 0),
    (("device",), "GW"),
    (("device",), "x" * 64),
    (("device",), "../gw"),
    (("fingerprint",), "A" * 64),
    (("number",), 0),
    (("number",), SEQUENCE_MAX + 1),
    (("manifest_sha256",), "b" * 63),
    (("floor",), 0),
    (("floor",), SEQUENCE_MAX + 1),
    (("ticket",), ""),
    (("ticket",), "x" * 201),
    (("ticket",), "two\nlines"),
    (("ticket",), "\x1b[2J"),
    (("expires",), "2026-02-31T12:00:00Z"),
    (("expires",), "2026-12-31"),
]


@pytest.mark.parametrize(("place", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_malformed(place: Place, value: Json) -> None:
    _rejects(corruption.replaced(VALID, place, value))


@attack(By.SIGNER, On.SLOT, "an authorisation to go back in a later format", "the format number is read first")
@pytest.mark.parametrize("table", [{"format": FORMAT + 1}, {"format": FORMAT + 1, "number": "5", "new": {"deep": [1]}}])
def test_a_later_format_is_refused_before_anything_else_is_judged(table: Json) -> None:
    with pytest.raises(NewerFormatError) as caught:
        authorisations.decode(corruption.raw(table))
    assert caught.value.known == FORMAT


def test_an_oversized_authorisation_is_malformed() -> None:
    raw = corruption.raw(VALID)
    authorisations.decode(raw.ljust(AUTHORISATION_SIZE_MAX))
    with pytest.raises(MalformedError):
        authorisations.decode(raw.ljust(AUTHORISATION_SIZE_MAX + 1))
