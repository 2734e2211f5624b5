"""The signed head of a device's receipts: a C2SP tlog-checkpoint in a C2SP signed note.

Its origin names device and key, so no checkpoint can pass for another device's or for the same device's under another key.

Source: c2sp.org/tlog-checkpoint, c2sp.org/signed-note; design, section 7.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.identity import has_signed
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from usbupdate.core.identity import Identity

CHECKPOINT_SIZE_MAX: Final = 4 << 10

_DOCUMENT: Final = "checkpoint"
_ED25519: Final = b"\x01"
KEY_ID_SIZE: Final = 4
SIGNATURE_SIZE: Final = 64
_TEXT: Final = re.compile(
    r"(?P<origin>usbupdate/[a-z0-9-]{1,63}/[0-9a-f]{16})\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
)
_NOTE: Final = re.compile(rf"(?P<text>{_TEXT.pattern})\n— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={{0,2}})\n")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How many receipts there are, and the RFC 6962 root over their lines; `origin` names device and key."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class _Note:
    checkpoint: Checkpoint
    text: bytes
    key_id: bytes
    signature: bytes


def origin_of(identity: Identity) -> str:
    """Return the origin line of a device's checkpoints, which is also the name of the key in the signature line."""
    return f"usbupdate/{identity.device}/{identity.fingerprint[:16]}"


def key_id(name: str, public_key: bytes, kind: bytes = _ED25519) -> bytes:
    """Return the bytes by which a signature line names a key, given what kind of signature it is used for.

    Source: c2sp.org/signed-note, "Signatures".
    """
    return hashlib.sha256(name.encode() + b"\n" + kind + public_key).digest()[:KEY_ID_SIZE]


def signature_line(name: str, raw: bytes) -> bytes:
    """Return the line of a note with a signature, given the key's name and what stands behind it: key id, signature."""
    return f"— {name} {base64.b64encode(raw).decode()}\n".encode()


def sign(identity: Identity, size: int, root: bytes, signer: Signer) -> bytes:
    """Return the signed note over the first `size` receipts."""
    text = _text(origin_of(identity), size, root)
    signature = bytes.fromhex(signer.sign(text).signature)
    return _encode(text, origin_of(identity), key_id(origin_of(identity), identity.public_key) + signature)


def open_note(raw: bytes, identity: Identity) -> Checkpoint:
    """Return the checkpoint in a note, proven to be signed by the device with this identity.

    Raises:
        MalformedError: it is not exactly what `sign` writes for some size and root.
        EvidenceSignatureError: it is not signed by this device's key.
    """
    note = _parse(raw)
    origin = origin_of(identity)
    is_this_devices = note.checkpoint.origin == origin and note.key_id == key_id(origin, identity.public_key)
    if not is_this_devices or not has_signed(identity, note.text, note.signature):
        raise EvidenceSignatureError(document=_DOCUMENT, fingerprint=identity.fingerprint)
    return note.checkpoint


def read_text(text: bytes) -> Checkpoint:
    """Return the checkpoint that the text of a note states: the part that is signed, to its last line feed.

    Raises:
        MalformedError: it is not exactly such a text.
    """
    match = _TEXT.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        raise _broken("not the text of a checkpoint")
    size, root = int(match["size"]), _decoded(match["root"])
    if size > SEQUENCE_MAX:
        raise _broken("a size beyond all bounds")
    # One value, one form: base64 has several spellings of the same bytes.
    if _text(match["origin"], size, root) != text:
        raise _broken("not in its one canonical form")
    return Checkpoint(match["origin"], size, root)


def peek_unproven(raw: bytes) -> Checkpoint:
    """Return what a note claims, its signature not looked at.

    Raises:
        MalformedError: it has not the form of a checkpoint of ours.
    """
    return _parse(raw).checkpoint


def _parse(raw: bytes) -> _Note:
    if len(raw) > CHECKPOINT_SIZE_MAX:
        raise _broken(f"larger than {CHECKPOINT_SIZE_MAX} bytes")
    try:
        match = _NOTE.fullmatch(raw.decode())
    except UnicodeDecodeError as error:
        raise _broken("not UTF-8") from error
    if match is None:
        raise _broken("not a checkpoint with exactly one signature")
    signature = _decoded(match["signature"])
    if len(signature) != KEY_ID_SIZE + SIGNATURE_SIZE:
        raise _broken("a signature of another length")
    text = match["text"].encode()
    checkpoint = read_text(text)
    if match["name"] != checkpoint.origin or _encode(text, match["name"], signature) != raw:
        raise _broken("not in its one canonical form")
    return _Note(
        checkpoint=checkpoint,
        text=text,
        key_id=signature[:KEY_ID_SIZE],
        signature=signature[KEY_ID_SIZE:],
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error as error:
        raise _broken("not base64") from error


def _broken(problem: str) -> MalformedError:
    return MalformedError(document=_DOCUMENT, field="whole", problem=problem)


def _text(origin: str, size: int, root: bytes) -> bytes:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def _encode(text: bytes, name: str, key_id_and_signature: bytes) -> bytes:
    return text + b"\n" + signature_line(name, key_id_and_signature)
