"""Cosignatures to the letter of their specification, and what becomes of a note that holds them."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.receipts import COSIGNED_AT, acknowledgement, acknowledger, chain, device
from usbupdate.core import checkpoint, cosignature
from usbupdate.core.cosignature import NOTE_SIZE_MAX, SIGNATURES_MAX, TIME_MAX, Cosigner
from usbupdate.core.identity import PublicKey
from usbupdate.errors import AcknowledgementError, MalformedError

IDENTITY, SIGNER = device("gw-0001")
OFFICE, OFFICE_SIGNER = acknowledger()
SECOND, SECOND_SIGNER = acknowledger("second.example/keys")
NOTE = acknowledgement(chain(3))

# A checkpoint of a public log of certificates (arche2025h1.staging.ct.transparency.dev, May 2026), the cosignature of one of
# its witnesses, and that witness's key as it is published in the form of c2sp.org/signed-note, "Verifier keys".
VECTOR_TEXT = b"arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n"
VECTOR_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
VECTOR_LINE = "2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw=="


def vector() -> tuple[Cosigner, int, bytes]:
    name, key_id, encoded = VECTOR_KEY.split("+")
    raw = base64.b64decode(VECTOR_LINE)
    assert base64.b64decode(encoded)[:1] == b"\x04"
    assert raw[:4].hex() == key_id
    return Cosigner(name, PublicKey(base64.b64decode(encoded)[1:])), int.from_bytes(raw[4:12], "big"), raw[12:]


def test_a_cosignature_of_a_public_witness_verifies_and_its_key_has_the_id_that_it_publishes() -> None:
    witness, time_s, signature = vector()
    assert witness.key_id.hex() == "da77ade7"
    assert cosignature.verify(VECTOR_TEXT, witness, time_s, signature)
    assert not cosignature.verify(VECTOR_TEXT, witness, time_s + 1, signature)
    assert not cosignature.verify(VECTOR_TEXT.replace(b"532", b"533"), witness, time_s, signature)


def test_what_is_signed_is_what_the_specification_shows() -> None:
    # c2sp.org/tlog-cosignature, "Ed25519 signed message".
    text = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosignature.message(text, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_a_cosignature_is_one_line_below_the_devices_own() -> None:
    own = checkpoint.sign(IDENTITY, 3, cosignature.peek_unproven(NOTE).root, SIGNER)
    signature = bytes.fromhex(OFFICE_SIGNER.sign(cosignature.message(own[: own.index(b"\n\n") + 1], COSIGNED_AT)).signature)
    key_id = hashlib.sha256(b"office\n\x04" + OFFICE.public_key).digest()[:4]
    line = base64.b64encode(key_id + COSIGNED_AT.to_bytes(8, "big") + signature).decode()
    assert own + f"— office {line}\n".encode() == NOTE


def test_one_good_cosignature_by_a_named_key_suffices_and_lines_of_others_are_of_no_account() -> None:
    both = cosignature.cosign(NOTE, SECOND, COSIGNED_AT - 5, SECOND_SIGNER)
    assert cosignature.open_note(both, [OFFICE]).by == (OFFICE,)
    found = cosignature.open_note(both, [SECOND, OFFICE])
    assert (set(found.by), found.since) == ({OFFICE, SECOND}, COSIGNED_AT - 5)
    assert found.checkpoint == cosignature.peek_unproven(NOTE)


def test_a_name_or_a_key_id_alone_makes_no_known_key() -> None:
    other = Cosigner("office", SECOND.public_key)
    for named in ([], [other], [Cosigner("second.example/keys", OFFICE.public_key)]):
        with pytest.raises(AcknowledgementError, match="nobody cosigned it"):
            cosignature.open_note(NOTE, named)


def test_the_devices_own_key_cosigns_nothing_by_its_signature() -> None:
    origin = checkpoint.origin_of(IDENTITY)
    with pytest.raises(AcknowledgementError):
        cosignature.open_note(NOTE, [Cosigner(origin, IDENTITY.public_key)])


def test_a_line_that_claims_a_known_key_falsely_makes_the_whole_note_worthless() -> None:
    forged = cosignature.cosign(NOTE, SECOND, COSIGNED_AT, OFFICE_SIGNER)
    assert cosignature.open_note(forged, [OFFICE]).by == (OFFICE,)
    with pytest.raises(AcknowledgementError, match=r"second\.example/keys was not signed with that key"):
        cosignature.open_note(forged, [OFFICE, SECOND])


def test_a_key_cosigns_once_and_anew_in_its_own_place() -> None:
    again = cosignature.cosign(NOTE, OFFICE, COSIGNED_AT + 9, OFFICE_SIGNER)
    assert again.count(b"\n") == NOTE.count(b"\n")
    assert cosignature.open_note(again, [OFFICE]).since == COSIGNED_AT + 9


def test_lines_of_keys_that_are_named_no_more_can_be_left_out() -> None:
    both = cosignature.cosign(NOTE, SECOND, COSIGNED_AT, SECOND_SIGNER)
    assert cosignature.without_others(both, [OFFICE]) == NOTE


@pytest.mark.parametrize("number", [16, SIGNATURES_MAX])
def test_at_least_as_many_signatures_are_taken_as_the_specification_asks_for(number: int) -> None:
    lines = NOTE[NOTE.index(b"\n\n") + 2 :].splitlines(keepends=True)
    note = NOTE[: NOTE.index(b"\n\n") + 2] + lines[1] * (number - 1) + lines[0]
    assert cosignature.open_note(note, [OFFICE]).by == (OFFICE,)
    with pytest.raises(MalformedError, match="signatures"):
        cosignature.peek_unproven(note + lines[1] * (SIGNATURES_MAX + 1 - number))


def line(raw: bytes, name: str = "office") -> bytes:
    return f"— {name} {base64.b64encode(raw).decode()}\n".encode()


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (NOTE + b"\0" * NOTE_SIZE_MAX, f"larger than {NOTE_SIZE_MAX} bytes"),
        (b"\xff" + NOTE, "not UTF-8"),
        (NOTE[:-1], "signatures"),
        (NOTE[: NOTE.index(b"\n\n") + 2], "signatures"),
        (NOTE + "— two words AAAAAAAA\n".encode(), "signatures"),
        (NOTE + "— a+b AAAAAAAA\n".encode(), "signatures"),
        (NOTE + "— \x1b[2J AAAAAAAA\n".encode(), "signatures"),
        (NOTE + "— name A\n".encode(), "not base64"),
        (NOTE + line(b"abcd"), "a signature without one"),
        (NOTE + "— name AAAAAAB=\n".encode(), "not in its one canonical form"),
        (NOTE.replace(b"usbupdate/", b"somebody/", 1), "not the text of a checkpoint"),
        (NOTE.replace(b"\n3\n", b"\n03\n", 1), "not the text of a checkpoint"),
    ],
)
def test_a_note_of_another_form_says_what_is_wrong_with_it(note: bytes, problem: str) -> None:
    with pytest.raises(MalformedError, match=problem):
        cosignature.peek_unproven(note)
    with pytest.raises(MalformedError, match=problem):
        cosignature.open_note(note, [OFFICE])


@pytest.mark.parametrize("rest", [b"", b"\0" * 7, b"\0" * 71, b"\0" * 73, b"\x80" + b"\0" * 71])
def test_a_cosignature_of_another_length_or_beyond_all_times_is_none(rest: bytes) -> None:
    note = NOTE[: NOTE.index(b"\n\n") + 2] + line(OFFICE.key_id + rest + (b"" if rest else b"\1"))
    with pytest.raises(AcknowledgementError, match="not signed with that key"):
        cosignature.open_note(note, [OFFICE])


def test_the_last_time_that_a_cosignature_may_state_is_the_largest_that_its_readers_keep() -> None:
    latest = cosignature.cosign(NOTE, OFFICE, TIME_MAX, OFFICE_SIGNER)
    assert cosignature.open_note(latest, [OFFICE]).since == TIME_MAX
    with pytest.raises(AcknowledgementError, match="not signed with that key"):
        cosignature.open_note(cosignature.cosign(NOTE, OFFICE, TIME_MAX + 1, OFFICE_SIGNER), [OFFICE])


def test_a_note_may_be_as_large_as_the_limit_and_no_larger() -> None:
    padding = line(b"\1" * 100, "x" * (NOTE_SIZE_MAX - len(NOTE) - len(line(b"\1" * 100, ""))))
    assert cosignature.peek_unproven(NOTE + padding) == cosignature.peek_unproven(NOTE)
    with pytest.raises(MalformedError) as caught:
        cosignature.peek_unproven(NOTE + padding.replace(b"x", b"xx", 1))
    assert (caught.value.document, caught.value.field) == ("acknowledgement", "whole")
