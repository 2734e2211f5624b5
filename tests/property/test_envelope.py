from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, strategies as st

from tests.receipts import chain, device, draft
from usbupdate.core import checkpoint, envelope, identity, statement
from usbupdate.core.receipt import NO_PREVIOUS, RECEIPT_SIZE_MAX, Event, Receipt
from usbupdate.core.words import DeviceId
from usbupdate.errors import EvidenceError, EvidenceSignatureError, MalformedError

IDENTITY, SIGNER = device("gw-0001")
LINE = chain(1)[0]
NOTE = checkpoint.sign(IDENTITY, 7, bytes(range(32)), SIGNER)


def test_a_signed_receipt_opens_to_the_same_receipt() -> None:
    receipt = Receipt(DeviceId("gw-0001"), 1, NO_PREVIOUS, draft(1))
    assert envelope.open_line(LINE, IDENTITY) == receipt
    assert envelope.peek_unproven(LINE) == receipt


def test_a_line_is_one_line() -> None:
    assert b"\n" not in chain(1, text="two\nlines")[0]


def test_the_line_is_a_dsse_envelope_that_anybody_can_check() -> None:
    # By hand, after the DSSE specification: what standard tools would do.
    table = json.loads(LINE)
    payload = base64.b64decode(table["payload"])
    kind = table["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key = Ed25519PublicKey.from_public_bytes(IDENTITY.public_key)
    key.verify(base64.b64decode(table["signatures"][0]["sig"]), signed)
    assert json.loads(payload)["_type"] == "https://in-toto.io/Statement/v1"


def test_another_key_is_not_this_device() -> None:
    with pytest.raises(EvidenceSignatureError):
        envelope.open_line(LINE, device("gw-0001", "another key")[0])


def test_a_device_cannot_state_receipts_of_another() -> None:
    line = envelope.sign(Receipt(DeviceId("gw-0002"), 1, NO_PREVIOUS, draft(1)), SIGNER)
    with pytest.raises(MalformedError):
        envelope.open_line(line, IDENTITY)


def test_what_no_reader_would_accept_is_never_signed() -> None:
    with pytest.raises(MalformedError):
        envelope.sign(Receipt(DeviceId("gw-0001"), 1, NO_PREVIOUS, draft(1, Event.FAILED, problem="\x1b[2J")), SIGNER)


def test_the_largest_receipt_fits_into_a_line() -> None:
    small = statement.encode(Receipt(DeviceId("gw-0001"), 1, NO_PREVIOUS, draft(1)))
    overhead = len(LINE) - len(base64.b64encode(small))
    assert overhead + 4 * (-(-RECEIPT_SIZE_MAX // 3)) <= envelope.LINE_SIZE_MAX


def _changed(change: str) -> bytes:
    table = json.loads(LINE)
    signature = table["signatures"][0]
    match change:
        case "added field":
            table["added"] = 1
        case "added field in the signature":
            signature["added"] = 1
        case "extra signature":
            table["signatures"].append({"keyid": "00" * 32, "sig": signature["sig"]})
        case "no signature":
            table["signatures"] = []
        case "another payload type":
            table["payloadType"] = "application/json"
        case "payload in URL base64":
            table["payload"] = base64.urlsafe_b64encode(base64.b64decode(table["payload"]) + b"\xfb\xff").decode()
        case "payload without padding":
            table["payload"] = table["payload"].rstrip("=") + "A"
        case "short signature":
            signature["sig"] = base64.b64encode(bytes(63)).decode()
        case "blanks":
            return json.dumps(table).encode()
        case "key order":
            return json.dumps(dict(reversed(table.items())), separators=(",", ":")).encode()
        case _:
            return LINE + b"\n"
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode()


CHANGES = [
    "added field", "added field in the signature", "extra signature", "no signature", "another payload type",
    "payload in URL base64", "payload without padding", "short signature", "blanks", "key order", "line feed",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_one_receipt_has_one_form(change: str) -> None:
    with pytest.raises(MalformedError):
        envelope.open_line(_changed(change), IDENTITY)


def test_base64_with_stray_bits_is_another_spelling_and_rejected() -> None:
    # 64 bytes end in two padding characters, so the last letter has four bits that decode to nothing.
    position = LINE.rindex(b'=="')
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelt = letters[letters.index(LINE[position - 1]) | 1]
    line = LINE[: position - 1] + bytes([respelt]) + LINE[position:]
    assert line != LINE
    with pytest.raises(MalformedError):
        envelope.open_line(line, IDENTITY)


@given(st.integers(0, len(LINE) - 1), st.integers(0, 7))
def test_every_bit_of_a_line_counts(position: int, bit: int) -> None:
    line = bytearray(LINE)
    line[position] ^= 1 << bit
    with pytest.raises((MalformedError, EvidenceError)):
        envelope.open_line(bytes(line), IDENTITY)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_receipt_or_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        envelope.open_line(raw, IDENTITY)
    with pytest.raises(MalformedError):
        identity.decode(raw)
    with pytest.raises(MalformedError):
        checkpoint.open_note(raw, IDENTITY)


def test_a_signed_checkpoint_opens_to_the_same_checkpoint() -> None:
    assert checkpoint.open_note(NOTE, IDENTITY) == checkpoint.Checkpoint(checkpoint.origin_of(IDENTITY), 7, bytes(range(32)))


def test_a_checkpoint_has_the_lines_of_a_signed_note() -> None:
    origin, size, root, empty, signature, end = NOTE.decode().split("\n")
    assert origin == f"usbupdate/gw-0001/{IDENTITY.fingerprint[:16]}"
    assert (size, root, empty, end) == ("7", base64.b64encode(bytes(range(32))).decode(), "", "")
    assert signature.startswith(f"— {origin} ")


def test_key_id_is_the_one_that_standard_tools_compute() -> None:
    # The example of the signed note package of Go.
    key = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
    assert checkpoint.key_id("PeterNeumann", key).hex() == "c74f20a3"


@given(st.integers(0, len(NOTE) - 1), st.integers(0, 7))
def test_every_bit_of_a_checkpoint_counts(position: int, bit: int) -> None:
    note = bytearray(NOTE)
    note[position] ^= 1 << bit
    with pytest.raises((MalformedError, EvidenceSignatureError)):
        checkpoint.open_note(bytes(note), IDENTITY)


@pytest.mark.parametrize("other", [("gw-0002", ""), ("gw-0001", "another key")])
def test_a_checkpoint_of_another_device_or_key_is_not_this_ones(other: tuple[str, str]) -> None:
    with pytest.raises(EvidenceSignatureError):
        checkpoint.open_note(NOTE, device(*other)[0])


@pytest.mark.parametrize(
    "note",
    [
        NOTE + NOTE.splitlines(keepends=True)[-1],
        NOTE.replace(b"\n7\n", b"\n07\n"),
        NOTE.replace(b"\n7\n", b"\n7\nextension\n"),
        NOTE.replace(b"\n", b"\r\n"),
        NOTE[:-1],
        NOTE + b"\n",
        b"\xff" + NOTE,
        NOTE * 20,
    ],
)
def test_one_checkpoint_has_one_form(note: bytes) -> None:
    with pytest.raises(MalformedError):
        checkpoint.open_note(note, IDENTITY)


def test_identity_is_read_back_as_it_was_written() -> None:
    assert identity.decode(identity.encode(IDENTITY)) == IDENTITY


def test_identity_holds_the_key_as_standard_tools_read_it() -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - only here

    key = load_pem_public_key(identity.public_key_pem(IDENTITY.public_key).encode())
    assert isinstance(key, Ed25519PublicKey)
    assert key.public_bytes_raw() == IDENTITY.public_key


@given(st.integers(0, len(identity.encode(IDENTITY)) - 1), st.integers(0, 7))
def test_a_changed_identity_is_malformed_or_another_device(position: int, bit: int) -> None:
    raw = bytearray(identity.encode(IDENTITY))
    raw[position] ^= 1 << bit
    with contextlib.suppress(MalformedError):
        assert identity.decode(bytes(raw)).device != IDENTITY.device


def test_looking_at_lines_needs_no_cryptography() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('cryptography', 'securesystemslib', 'tuf')))\n"
        "from usbupdate.core import checkpoint, envelope, identity, merkle\n"
        f"envelope.peek_unproven({LINE!r}); checkpoint.peek_unproven({NOTE!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
