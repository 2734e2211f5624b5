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

from usbupdate.core.identity import verification_key
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from usbupdate.core.identity import Identity

CHECKPOINT_SIZE_MAX: Final = 4 << 10

_DOCUMENT: Final = "checkpoint"
_ED25519: Final = b"\x01"
_KEY_HASH_SIZE: Final = 4
_SIGNATURE_SIZE: Final = 64
_NOTE: Final = re.compile(
    r"(?P<origin>usbupdate/[a-z0-9-]{1,63}/[0-9a-f]{16})\n(?P<size>0|[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"\n— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+={0,2})\n"
)


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
    key_hash: bytes
    signature: bytes


def origin_of(identity: Identity) -> str:
    """Return the origin line of a device's checkpoints, which is also the name of the key in the signature line."""
    return f"usbupdate/{identity.device}/{identity.fingerprint[:16]}"


def key_hash(name: str, public_key: bytes) -> bytes:
    """Return the four bytes by which a signature line names an Ed25519 key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:_KEY_HASH_SIZE]


def sign(identity: Identity, size: int, root: bytes, signer: Signer) -> bytes:
    """Return the signed note over the first `size` receipts."""
    text = _text(origin_of(identity), size, root)
    signature = bytes.fromhex(signer.sign(text).signature)
    return _encode(text, origin_of(identity), key_hash(origin_of(identity), identity.public_key) + signature)


def open_note(raw: bytes, identity: Identity) -> Checkpoint:
    """Return the checkpoint in a note, proven to be signed by the device with this identity.

    Raises:
        MalformedError: it is not exactly what `sign` writes for some size and root.
        EvidenceSignatureError: it is not signed by this device's key.
    """
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError  # noqa: PLC0415 - the boot path needs none
    from securesystemslib.signer import Signature  # noqa: PLC0415 - the same

    note = _parse(raw)
    refusal = EvidenceSignatureError(document=_DOCUMENT, fingerprint=identity.fingerprint)
    origin = origin_of(identity)
    if note.checkpoint.origin != origin or note.key_hash != key_hash(origin, identity.public_key):
        raise refusal
    try:
        verification_key(identity).verify_signature(Signature(identity.fingerprint, note.signature.hex()), note.text)
    except (UnverifiedSignatureError, VerificationError) as error:
        raise refusal from error
    return note.checkpoint


def peek_unproven(raw: bytes) -> Checkpoint:
    """Return what a note claims, its signature not looked at.

    Raises:
        MalformedError: it has not the form of a checkpoint of ours.
    """
    return _parse(raw).checkpoint


def _parse(raw: bytes) -> _Note:
    def broken(problem: str) -> MalformedError:
        return MalformedError(document=_DOCUMENT, field="whole", problem=problem)

    if len(raw) > CHECKPOINT_SIZE_MAX:
        raise broken(f"larger than {CHECKPOINT_SIZE_MAX} bytes")
    try:
        match = _NOTE.fullmatch(raw.decode())
    except UnicodeDecodeError as error:
        raise broken("not UTF-8") from error
    if match is None:
        raise broken("not a checkpoint with exactly one signature")
    try:
        root = base64.b64decode(match["root"])
        signature = base64.b64decode(match["signature"])
    except binascii.Error as error:
        raise broken("not base64") from error
    if len(signature) != _KEY_HASH_SIZE + _SIGNATURE_SIZE:
        raise broken("a signature of another length")
    size = int(match["size"])
    if size > SEQUENCE_MAX:
        raise broken("a size beyond all bounds")
    # One value, one form: base64 has several spellings of the same bytes.
    text = _text(match["origin"], size, root)
    if match["name"] != match["origin"] or _encode(text, match["name"], signature) != raw:
        raise broken("not in its one canonical form")
    return _Note(
        checkpoint=Checkpoint(match["origin"], size, root),
        text=text,
        key_hash=signature[:_KEY_HASH_SIZE],
        signature=signature[_KEY_HASH_SIZE:],
    )


def _text(origin: str, size: int, root: bytes) -> bytes:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()


def _encode(text: bytes, name: str, key_hash_and_signature: bytes) -> bytes:
    return text + f"\n— {name} {base64.b64encode(key_hash_and_signature).decode()}\n".encode()
