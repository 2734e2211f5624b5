"""Cosignatures: what somebody other than the device says of a checkpoint, on lines of their own below it.

One is C2SP's `cosignature/v1`: Ed25519, with the time at which it was made. Whoever cosigns says that this is the largest state
of the log that they have seen, and that it goes on from what they had seen before. Lines of other keys, the device's own among
them, are of no account here. The time is for people: nobody is to be believed because of it.

Source: c2sp.org/tlog-cosignature, "Ed25519 signed message"; c2sp.org/signed-note.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core import checkpoint
from usbupdate.core.checkpoint import KEY_ID_SIZE, SIGNATURE_SIZE
from usbupdate.core.identity import PublicKey, is_signed_with
from usbupdate.errors import AcknowledgementError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Signer

    from usbupdate.core.checkpoint import Checkpoint

NOTE_SIZE_MAX: Final = 6 << 10
SIGNATURES_MAX: Final = 24
"""More than the sixteen that every reader of notes must take, and with names as they are used they fit into a note."""
TIME_MAX: Final = 2**63 - 1

_DOCUMENT: Final = "acknowledgement"
_HEADER: Final = "cosignature/v1"
_KIND: Final = b"\x04"
_TIME_SIZE: Final = 8
_NOTE: Final = re.compile(
    r"(?P<text>[^\n]+\n[^\n]+\n[^\n]+\n)\n"
    rf"(?P<lines>(?:— [^\s+\x00-\x1f\x7f-\x9f]+ [A-Za-z0-9+/]+={{0,2}}\n){{1,{SIGNATURES_MAX}}})"
)


@dataclass(frozen=True, slots=True)
class Cosigner:
    """Somebody whose cosignatures count: the name in the line, and the raw Ed25519 key."""

    name: str
    public_key: PublicKey

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a line names this key for this use."""
        return checkpoint.key_id(self.name, self.public_key, _KIND)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint and who has validly cosigned it; `since` is the earliest time that one of them states, in Unix seconds."""

    checkpoint: Checkpoint
    by: tuple[Cosigner, ...]
    since: int


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    raw: bytes

    @property
    def key_id(self) -> bytes:
        return self.raw[:KEY_ID_SIZE]

    def encode(self) -> bytes:
        return checkpoint.signature_line(self.name, self.raw)


def message(text: bytes, time_s: int) -> bytes:
    """Return what a cosigner signs: over the text of a note, at a time in Unix seconds."""
    return f"{_HEADER}\ntime {time_s}\n".encode() + text


def cosign(note: bytes, cosigner: Cosigner, time_s: int, signer: Signer) -> bytes:
    """Return a note with the cosignature of one more key, in place of one that this key may have given before.

    Raises:
        MalformedError: it is no note over a checkpoint of ours, or has no room for one more line.
    """
    text, lines = _parse(note)
    signature = bytes.fromhex(signer.sign(message(text, time_s)).signature)
    own = _Line(cosigner.name, cosigner.key_id + time_s.to_bytes(_TIME_SIZE, "big") + signature)
    made = _encode(text, [*(line for line in lines if not _is_of(line, cosigner)), own])
    _parse(made)
    return made


def without_others(note: bytes, cosigners: Sequence[Cosigner]) -> bytes:
    """Return a note with no other lines than the log's own and those that bear the name and key id of one of these keys.

    Raises:
        MalformedError: it is no note over a checkpoint of ours, or nothing is left.
    """
    text, lines = _parse(note)
    origin = checkpoint.read_text(text).origin
    kept = [line for line in lines if line.name == origin or any(_is_of(line, each) for each in cosigners)]
    made = _encode(text, kept)
    _parse(made)
    return made


def open_note(raw: bytes, cosigners: Sequence[Cosigner]) -> Cosigned:
    """Return the checkpoint of a note that at least one of these keys has cosigned.

    Raises:
        MalformedError: it is no note over a checkpoint of ours.
        AcknowledgementError: none of the keys cosigned it, or what bears the name and id of one was not made by it.
    """
    text, lines = _parse(raw)
    found: dict[Cosigner, int] = {}
    for line in lines:
        for cosigner in cosigners:
            if _is_of(line, cosigner):
                # Whoever claims a key that is known and does not have it makes the whole note worthless (signed-note).
                found[cosigner] = _verified(line, text, cosigner)
    if not found:
        raise AcknowledgementError(problem="nobody cosigned it whom the signed list of bundles names for that")
    return Cosigned(checkpoint.read_text(text), tuple(found), min(found.values()))


def peek_unproven(raw: bytes) -> Checkpoint:
    """Return what a note claims, with whatever signatures, none of them looked at.

    Raises:
        MalformedError: it is no note over a checkpoint of ours.
    """
    return checkpoint.read_text(_parse(raw)[0])


def verify(text: bytes, cosigner: Cosigner, time_s: int, signature: bytes) -> bool:
    """Tell whether this key signed this text of a note at this time, or says so."""
    return is_signed_with(cosigner.public_key, message(text, time_s), signature)


def _verified(line: _Line, text: bytes, cosigner: Cosigner) -> int:
    """Return the time of a cosignature by a key that is known.

    Raises:
        AcknowledgementError: it is none.
    """
    stated = line.raw[KEY_ID_SIZE:]
    time_s, signature = int.from_bytes(stated[:_TIME_SIZE], "big"), stated[_TIME_SIZE:]
    if len(signature) != SIGNATURE_SIZE or time_s > TIME_MAX or not verify(text, cosigner, time_s, signature):
        raise AcknowledgementError(problem=f"what stands there for {cosigner.name} was not signed with that key")
    return time_s


def _is_of(line: _Line, cosigner: Cosigner) -> bool:
    return line.name == cosigner.name and line.key_id == cosigner.key_id


def _encode(text: bytes, lines: Sequence[_Line]) -> bytes:
    return text + b"\n" + b"".join(line.encode() for line in lines)


def _parse(raw: bytes) -> tuple[bytes, list[_Line]]:
    """Return the text of a note and its signature lines."""

    def broken(problem: str) -> MalformedError:
        return MalformedError(document=_DOCUMENT, field="whole", problem=problem)

    if len(raw) > NOTE_SIZE_MAX:
        raise broken(f"larger than {NOTE_SIZE_MAX} bytes")
    try:
        match = _NOTE.fullmatch(raw.decode())
    except UnicodeDecodeError as error:
        raise broken("not UTF-8") from error
    if match is None:
        raise broken(f"not a checkpoint with 1 to {SIGNATURES_MAX} signatures")
    lines = []
    for row in match["lines"].split("\n")[:-1]:
        _, name, encoded = row.split(" ")
        try:
            lines.append(_Line(name, base64.b64decode(encoded, validate=True)))
        except binascii.Error as error:
            raise broken("not base64") from error
        if len(lines[-1].raw) <= KEY_ID_SIZE:
            raise broken("a signature without one")
    text = match["text"].encode()
    checkpoint.read_text(text)
    # One value, one form: base64 has several spellings of the same bytes.
    if _encode(text, lines) != raw:
        raise broken("not in its one canonical form")
    return text, lines
