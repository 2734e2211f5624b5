"""The file by which a device says who it is, and the forms in which its key is written."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.property import corruption
from tests.receipts import device
from usbupdate.core import identity as identities
from usbupdate.core.identity import IDENTITY_SIZE_MAX, Identity, PublicKey, read_fingerprint
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import MalformedError, UnusableValueError

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Json

IDENTITY, SIGNER = device("gw-0001")
TABLE: dict[str, Json] = json.loads(identities.encode(IDENTITY))
IDENTITIES = st.builds(
    Identity,
    st.from_regex(DEVICE_ID, fullmatch=True).map(DeviceId),
    st.binary(min_size=32, max_size=32).map(PublicKey),
)


def pem(der: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"


@given(IDENTITIES)
def test_round_trip(identity: Identity) -> None:
    raw = identities.encode(identity)
    assert identities.decode(raw) == identity
    assert identity.fingerprint == hashlib.sha256(identity.public_key).hexdigest()


def test_the_file_is_one_line_of_json_that_says_device_key_and_fingerprint() -> None:
    # Object identifier 1.3.101.112 is Ed25519; RFC 8410.
    key = pem(bytes.fromhex("302a300506032b6570032100") + IDENTITY.public_key)
    raw = identities.encode(IDENTITY)
    assert raw.endswith(b"}\n")
    assert json.loads(raw) == {"format": 1, "device": "gw-0001", "public_key": key, "fingerprint": IDENTITY.fingerprint}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 0),
        ("format", 2),
        ("device", "GW-1"),
        ("public_key", "x" * 201),
        ("fingerprint", "A" * 64),
        ("extra", "anything"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(field: str, value: Json) -> None:
    with pytest.raises(MalformedError) as caught:
        identities.decode(corruption.raw({**TABLE, field: value}) + b"\n")
    assert (caught.value.document, caught.value.field) == ("identity", field)


@pytest.mark.parametrize("field", sorted(TABLE))
def test_a_field_that_is_missing_is_named(field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        identities.decode(corruption.raw({name: value for name, value in TABLE.items() if name != field}) + b"\n")
    assert (caught.value.field, caught.value.problem) == (field, "missing")


@pytest.mark.parametrize("stray", ["?", "\N{SNOWMAN}"])
def test_a_key_that_is_not_base64_is_no_key(stray: str) -> None:
    key = str(TABLE["public_key"]).replace("MCow", f"MC{stray}ow")
    with pytest.raises(MalformedError) as caught:
        identities.decode(corruption.raw({**TABLE, "public_key": key}) + b"\n")
    assert (caught.value.field, caught.value.problem) == ("public_key", "not a public key in PEM")


@pytest.mark.parametrize(
    "table",
    [
        {**TABLE, "fingerprint": "0" * 64},
        {**TABLE, "public_key": pem(IDENTITY.public_key)},
        {**TABLE, "public_key": pem(bytes.fromhex("302a300506032b656e032100") + IDENTITY.public_key)},
        {**TABLE, "public_key": str(TABLE["public_key"]).removeprefix("-----BEGIN PUBLIC KEY-----\n")},
    ],
    ids=["fingerprint", "bare-key", "x25519", "no-frame"],
)
def test_an_identity_has_one_form(table: dict[str, Json]) -> None:
    with pytest.raises(MalformedError) as caught:
        identities.decode(corruption.raw(table) + b"\n")
    assert caught.value.field == "whole"


def test_what_looks_like_the_one_form_is_looked_at_closely() -> None:
    raw = identities.encode(IDENTITY)
    key = raw[: raw.index(b"=\\n-----END")]
    # Its last letter has two bits that mean nothing.
    stray = key[:-1] + bytes([key[-1] + 1])
    no_name = identities.encode(Identity(DeviceId("-1"), IDENTITY.public_key))
    for other in (raw.replace(IDENTITY.fingerprint.encode(), b"0" * 64), raw.replace(key, stray), no_name):
        assert len(other) in {len(raw), len(no_name)}
        assert other != raw
        with pytest.raises(MalformedError):
            identities.decode(other)


def test_an_identity_ends_with_one_line_feed() -> None:
    raw = identities.encode(IDENTITY)
    for other in (raw[:-1], raw + b"\n"):
        with pytest.raises(MalformedError):
            identities.decode(other)


def test_an_identity_that_is_too_large_is_not_looked_at() -> None:
    raw = identities.encode(IDENTITY)
    with pytest.raises(MalformedError, match="not in its one canonical form"):
        identities.decode(raw.ljust(IDENTITY_SIZE_MAX))
    with pytest.raises(MalformedError, match=f"{IDENTITY_SIZE_MAX} bytes"):
        identities.decode(raw.ljust(IDENTITY_SIZE_MAX + 1))


def test_a_fingerprint_is_read_as_people_type_it() -> None:
    digits = "0123456789abcdef" * 4
    pairs = [digits[place : place + 2] for place in range(0, 64, 2)]
    for typed in (digits, digits.upper(), ":".join(pairs), " ".join(pairs) + "\n"):
        assert read_fingerprint(typed) == digits


@pytest.mark.parametrize("typed", ["", "0" * 63, "0" * 65, "g" * 64, "0" * 32 + "-" + "0" * 32])
def test_what_is_no_fingerprint_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(UnusableValueError) as caught:
        read_fingerprint(typed)
    assert (caught.value.what, caught.value.value) == ("The fingerprint", typed)
    assert caught.value.problem == "not 64 hexadecimal digits"


def test_the_key_checks_what_the_device_signed_and_nothing_else() -> None:
    signature = bytes.fromhex(SIGNER.sign(b"anything").signature)
    assert identities.has_signed(IDENTITY, b"anything", signature)
    assert not identities.has_signed(IDENTITY, b"anything else", signature)
    assert not identities.has_signed(IDENTITY, b"anything", bytes(64))
    assert not identities.has_signed(IDENTITY, b"anything", b"short")
