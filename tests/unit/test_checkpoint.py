"""What a checkpoint of a device must be, to the letter."""

from __future__ import annotations

import base64

import pytest

from tests.receipts import device
from usbupdate.core import checkpoint
from usbupdate.core.checkpoint import CHECKPOINT_SIZE_MAX, Checkpoint
from usbupdate.core.identity import Identity
from usbupdate.core.words import SEQUENCE_MAX, DeviceId
from usbupdate.errors import EvidenceSignatureError, MalformedError

IDENTITY, SIGNER = device("gw-0001")
ROOT = bytes(range(32))
NOTE = checkpoint.sign(IDENTITY, 7, ROOT, SIGNER)
ORIGIN = checkpoint.origin_of(IDENTITY)


def with_signature(raw: bytes) -> bytes:
    """Return the note with other bytes as its signature, in one spelling of theirs."""
    return NOTE[: NOTE.rindex(b" ") + 1] + base64.b64encode(raw) + b"\n"


def signature() -> bytes:
    return base64.b64decode(NOTE[NOTE.rindex(b" ") + 1 :])


def test_what_is_no_text_at_all_is_said_to_be_no_text_of_a_checkpoint() -> None:
    for text in (b"", b"\xff", NOTE):
        with pytest.raises(MalformedError, match="not the text of a checkpoint"):
            checkpoint.read_text(text)


def test_a_checkpoint_is_the_note_that_the_specification_describes() -> None:
    # By hand, after c2sp.org/signed-note and c2sp.org/tlog-checkpoint.
    text = f"usbupdate/gw-0001/{IDENTITY.fingerprint[:16]}\n7\n{base64.b64encode(ROOT).decode()}\n".encode()
    signed = bytes.fromhex(SIGNER.sign(text).signature)
    line = base64.b64encode(checkpoint.key_id(ORIGIN, IDENTITY.public_key) + signed).decode()
    assert text + f"\n— {ORIGIN} {line}\n".encode() == NOTE


@pytest.mark.parametrize("size", [0, 1, 10, SEQUENCE_MAX])
def test_a_checkpoint_over_any_number_of_receipts_is_read_back(size: int) -> None:
    note = checkpoint.sign(IDENTITY, size, ROOT, SIGNER)
    assert checkpoint.open_note(note, IDENTITY) == Checkpoint(ORIGIN, size, ROOT)
    assert checkpoint.peek_unproven(note) == Checkpoint(ORIGIN, size, ROOT)


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (NOTE[:-1] + bytes(CHECKPOINT_SIZE_MAX + 1 - len(NOTE)) + b"\n", f"larger than {CHECKPOINT_SIZE_MAX} bytes"),
        (NOTE[:-1] + bytes(CHECKPOINT_SIZE_MAX - len(NOTE)) + b"\n", "not a checkpoint with exactly one signature"),
        (b"\xff" + NOTE, "not UTF-8"),
        (NOTE[:-2], "not a checkpoint with exactly one signature"),
        (NOTE[: NOTE.rindex(b" ") + 1] + b"A\n", "not base64"),
        (with_signature(signature()[:-1]), "a signature of another length"),
        (with_signature(signature() + b"\0"), "a signature of another length"),
        (with_signature(signature()[:4]), "a signature of another length"),
        (checkpoint.sign(IDENTITY, SEQUENCE_MAX + 1, ROOT, SIGNER), "a size beyond all bounds"),
        (NOTE.replace("— usbupdate/gw-0001".encode(), "— usbupdate/gw-0002".encode()), "not in its one canonical form"),
        # 32 bytes in base64 end in two bits that decode to nothing.
        (NOTE.replace(b"Hh8=", b"Hh9="), "not in its one canonical form"),
    ],
    ids=[
        "too-large", "largest", "not-utf-8", "cut", "not-base64", "short", "long", "no-signature", "beyond", "other-name",
        "respelt",
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_form_says_what_is_wrong_with_it(note: bytes, problem: str) -> None:
    for read in (checkpoint.peek_unproven, lambda raw: checkpoint.open_note(raw, IDENTITY)):
        with pytest.raises(MalformedError) as caught:
            read(note)
        assert (caught.value.document, caught.value.field, caught.value.problem) == ("checkpoint", "whole", problem)


def test_a_checkpoint_whose_key_id_or_signature_is_another_is_not_this_devices() -> None:
    for changed in (bytes(4) + signature()[4:], signature()[:4] + bytes(64)):
        assert checkpoint.peek_unproven(with_signature(changed)) == Checkpoint(ORIGIN, 7, ROOT)
        with pytest.raises(EvidenceSignatureError) as caught:
            checkpoint.open_note(with_signature(changed), IDENTITY)
        assert (caught.value.document, caught.value.fingerprint) == ("checkpoint", IDENTITY.fingerprint)


def test_a_checkpoint_of_another_device_under_the_same_key_is_not_this_devices() -> None:
    twin = checkpoint.sign(Identity(DeviceId("gw-0002"), IDENTITY.public_key), 7, ROOT, SIGNER)
    with pytest.raises(EvidenceSignatureError):
        checkpoint.open_note(twin, IDENTITY)
