"""What one metadata document must be before the TUF library, or anybody here, believes anything about it.

The library reads JSON as Python does: it takes duplicate keys, floats and any depth. It knows nothing of signed times, and it
lets one public key under two key ids meet a threshold of two. All of that is settled here, on bytes whose signatures nobody has
checked yet; every rule is cheap and bounded.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from usbupdate.core import strictjson
from usbupdate.core.timefloor import format_time, parse_time
from usbupdate.core.words import DIGEST, SEQUENCE_MAX, Digest
from usbupdate.errors import MalformedError, MetadataMalformedError, RepeatedKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from securesystemslib.signer import Key, Signature

SIGNED_TIME: Final = "x-usbupdate-time"

SIZE_MAX: Final = {Root.type: 512_000, Timestamp.type: 16_384, Snapshot.type: 2_000_000, Targets.type: 5_000_000}
"""The largest metadata in bytes, by role; the library's own limits, written down so that they stay."""

_PEM_KEY_TYPES: Final = frozenset({"ecdsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa"})

_SIGNATURE: Final = re.compile("[0-9a-f]*")

TopLevel = Root | Timestamp | Snapshot | Targets


@dataclass(frozen=True, slots=True)
class Document:
    """One metadata file: its bytes, what they say, and who signed that; nothing about whom to believe."""

    raw: bytes
    signed: TopLevel
    signed_bytes: bytes
    signatures: Mapping[str, Signature]

    def says_the_same(self, other: Document) -> bool:
        """Tell whether what is signed is the same, however it is laid out and whoever else signed it.

        Layout and spare signatures are nobody's word: a stranger who changes them must not make a genuine stick look forked
        (ADR 0008).
        """
        return self.signed_bytes == other.signed_bytes

    @property
    def version(self) -> int:
        """The version that it says it is."""
        return self.signed.version


def read_document(role: str, raw: bytes) -> Document:
    """Return a role's metadata, which keeps every rule that needs no key.

    Raises:
        MetadataMalformedError: it breaks one.
        RepeatedKeyError: it is a root that counts one key twice.
    """
    try:
        strictjson.decode(raw, f"{role} metadata", limit=SIZE_MAX[role])
        parsed = Metadata[Root].from_bytes(raw)
        document = Document(raw, cast("TopLevel", parsed.signed), parsed.signed_bytes, parsed.signatures)
    except MalformedError as error:
        raise MetadataMalformedError(role=role, problem=f"{error.field}: {error.problem}") from error
    except RepositoryError as error:
        raise MetadataMalformedError(role=role, problem="not of the form that TUF prescribes") from error
    # The library reads hexadecimal in any case and with blanks; one signature in two forms would be one version in two.
    signatures: list[object] = [each.signature for each in document.signatures.values()]
    if not all(isinstance(each, str) and _SIGNATURE.fullmatch(each) for each in signatures):
        raise MetadataMalformedError(role=role, problem="a signature is not in lower-case hexadecimal")
    signed = document.signed
    if signed.type != role:
        raise MetadataMalformedError(role=role, problem="it belongs to another role")
    # The library compares versions and never asks whether they are integers; `true` would pass as 1.
    if type(signed.version) is not int:
        raise MetadataMalformedError(role=role, problem="its version is not a number")
    # Nothing could follow a version that no record can hold, nor the record be read that held it.
    if signed.version > SEQUENCE_MAX:
        raise MetadataMalformedError(role=role, problem="its version is too large")
    if isinstance(signed, Root | Timestamp):
        signed_time(signed)
    if isinstance(signed, Root):
        _require_sound_root(signed)
    return document


def read_root(raw: bytes) -> Document:
    """Return a root that keeps every rule and is signed by itself.

    Raises:
        MetadataMalformedError: it breaks a rule, or it is not signed by a threshold of its own keys.
        RepeatedKeyError: it counts one key twice.
    """
    document = read_document(Root.type, raw)
    if not is_signed(root_of(document), document):
        raise MetadataMalformedError(role=Root.type, problem="it is not signed by enough of its own keys")
    return document


def root_of(document: Document) -> Root:
    """Return what a root document says.

    Raises:
        MetadataMalformedError: it is no root.
    """
    if not isinstance(document.signed, Root):
        raise MetadataMalformedError(role=Root.type, problem="it belongs to another role")
    return document.signed


def signed_time(signed: Root | Timestamp) -> datetime:
    """Return when a root or a timestamp was signed, as it says.

    Raises:
        MetadataMalformedError: it says nothing, nothing readable, or a time after its own end.
    """
    value: object = signed.unrecognized_fields.get(SIGNED_TIME)
    try:
        moment = parse_time(value)
    except ValueError as error:
        raise MetadataMalformedError(role=signed.type, problem=f"{SIGNED_TIME}: {error}") from error
    if moment > signed.expires:
        raise MetadataMalformedError(role=signed.type, problem=f"{SIGNED_TIME}: later than its own end")
    return moment


def title(document: Document) -> str:
    """Return how to name a document to a person."""
    signed = document.signed
    when = f" of {format_time(signed_time(signed))}" if isinstance(signed, Root | Timestamp) else ""
    return f"{signed.type} version {signed.version}{when}"


def is_signed(root: Root, document: Document) -> bool:
    """Tell whether a threshold of the keys that `root` names for the document's role signed it."""
    try:
        root.verify_delegate(document.signed.type, document.signed_bytes, dict(document.signatures))
    except (UnsignedMetadataError, ValueError):
        return False
    return True


def signers(root: Root, document: Document) -> tuple[str, ...]:
    """Return the ids of the keys that validly signed the document for its role, sorted; only ids of 64 hexadecimal digits."""
    result = root.get_verification_result(document.signed.type, document.signed_bytes, dict(document.signatures))
    return tuple(sorted(key_id for key_id in result.signed if DIGEST.fullmatch(key_id)))


def timestamp_keys(root: Root) -> Digest:
    """Return what identifies the timestamp role's keys and threshold: equal exactly where the same signatures count."""
    role = root.roles[Timestamp.type]
    whole = hashlib.sha256(f"{role.threshold}".encode())
    for key_id in sorted(role.keyids):
        key = root.keys[key_id]
        for part in (key_id.encode(), key.scheme.encode(), _public_bytes(key)):
            whole.update(hashlib.sha256(part).digest())
    return Digest(whole.hexdigest())


def _require_sound_root(root: Root) -> None:
    if root.consistent_snapshot is not True:
        raise MetadataMalformedError(role=Root.type, problem="consistent_snapshot is not true")
    for name, role in root.roles.items():
        if type(role.threshold) is not int:
            raise MetadataMalformedError(role=Root.type, problem=f"roles.{name}: its threshold is not a number")
        seen: set[bytes] = set()
        for key_id in role.keyids:
            if key_id not in root.keys:
                raise MetadataMalformedError(role=Root.type, problem=f"roles.{name}: a key is missing")
            seen.add(_public_bytes(root.keys[key_id]))
        # One person with one key must not pass for two.
        if len(seen) != len(role.keyids):
            raise RepeatedKeyError(role=name)


def _public_bytes(key: Key) -> bytes:
    """Return the one form of a public key, however its text is written: case, line breaks and schemes make no other key."""
    try:
        public = _load(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MetadataMalformedError(role=Root.type, problem="a public key cannot be read") from error
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _load(key: Key) -> PublicKeyTypes:
    text: object = key.keyval.get("public")
    if key.keytype == "ed25519":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(text)))
    if key.keytype in _PEM_KEY_TYPES:
        return load_pem_public_key(str(text).encode("utf-8"))
    raise MetadataMalformedError(role=Root.type, problem="a key is of a kind that usbupdate does not use")
