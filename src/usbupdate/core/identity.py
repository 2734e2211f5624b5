"""Who a device is to an auditor: its id and the public half of its own Ed25519 key.

`identity.json` says it; it proves nothing by itself, the fingerprint shown at provisioning does. The key's one PEM form is
fixed by RFC 8410, so that reading it needs no cryptographic library.

Source: design, section 7; docs/format.md, section 7; RFC 8410.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType, NoReturn

from usbupdate.core import strictjson
from usbupdate.core.words import DEVICE_ID, DIGEST, DeviceId, Digest
from usbupdate.errors import UnusableValueError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT: Final = 1
IDENTITY_SIZE_MAX: Final = 4 << 10
PUBLIC_KEY_SIZE: Final = 32

PublicKey = NewType("PublicKey", bytes)
"""A raw Ed25519 public key."""

_PEM_BEGIN: Final = "-----BEGIN PUBLIC KEY-----\n"
_PEM_END: Final = "\n-----END PUBLIC KEY-----\n"
_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
_PEM_MAX: Final = 200
_FORM: Final = re.compile(
    rb'\{"device":"(?P<device>[a-z0-9-]{1,63})","fingerprint":"(?P<fingerprint>[0-9a-f]{64})","format":1,'
    rb'"public_key":"-----BEGIN PUBLIC KEY-----\\n(?P<der>[A-Za-z0-9+/]{59}=)\\n-----END PUBLIC KEY-----\\n"\}\n'
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A device's id and public key."""

    device: DeviceId
    public_key: PublicKey

    @property
    def fingerprint(self) -> Digest:
        """The SHA-256 of the raw public key: what is shown at provisioning, and the key id in every receipt."""
        return _fingerprint(self.public_key)


@lru_cache(maxsize=64)
def _fingerprint(key: PublicKey) -> Digest:
    return Digest(hashlib.sha256(key).hexdigest())


def encode(identity: Identity) -> bytes:
    """Return `identity.json`; `decode` gives back an equal value."""
    return (
        strictjson.encode(
            {
                "format": FORMAT,
                "device": identity.device,
                "public_key": public_key_pem(identity.public_key),
                "fingerprint": identity.fingerprint,
            }
        )
        + b"\n"
    )


# An auditor reads each one twice: in the log, and in what is remembered of the device.
@lru_cache(maxsize=8)
def decode(raw: bytes) -> Identity:
    """Return the identity that `raw` states.

    Raises:
        MalformedError: it is not exactly what `encode` writes for some identity.
    """
    identity = _recognised(raw)
    if identity is None:
        _refuse(raw)
    return identity


def _recognised(raw: bytes) -> Identity | None:
    found = _FORM.fullmatch(raw)
    if found is None:
        return None
    der = base64.b64decode(found["der"])
    identity = Identity(DeviceId(found["device"].decode()), PublicKey(der[-PUBLIC_KEY_SIZE:]))
    # One value, one form: base64 has several spellings of the same bytes, and the pattern admits names that are none.
    is_canonical = base64.b64encode(_SPKI_PREFIX + identity.public_key) == found["der"]
    is_its_own = identity.fingerprint.encode() == found["fingerprint"] and DEVICE_ID.fullmatch(identity.device) is not None
    return identity if is_canonical and is_its_own else None


def _refuse(raw: bytes) -> NoReturn:
    """Say what is wrong with an identity that is not of the one form."""
    fields = strictjson.decode(raw, "identity", limit=IDENTITY_SIZE_MAX)
    fields.integer("format", FORMAT, FORMAT)
    fields.text("device", DEVICE_ID)
    pem = fields.free_text("public_key", limit=_PEM_MAX)
    fields.digest("fingerprint")
    fields.done()
    try:
        base64.b64decode(pem.removeprefix(_PEM_BEGIN).removesuffix(_PEM_END), validate=True)
    except (binascii.Error, ValueError):
        fields.fail("public_key", "not a public key in PEM")
    fields.fail("whole", "not in its one canonical form, or its fingerprint is not that of its Ed25519 key")


def read_fingerprint(given: str) -> Digest:
    """Return a fingerprint that a person typed: upper or lower case, with or without blanks and colons.

    Raises:
        UnusableValueError: it is none.
    """
    digits = re.sub(r"[\s:]", "", given).lower()
    if not DIGEST.fullmatch(digits):
        raise UnusableValueError(what="The fingerprint", value=given, problem="not 64 hexadecimal digits")
    return Digest(digits)


def public_key_pem(key: PublicKey) -> str:
    """Return a public key as SubjectPublicKeyInfo in PEM."""
    return _PEM_BEGIN + base64.b64encode(_SPKI_PREFIX + key).decode("ascii") + _PEM_END


def has_signed(identity: Identity, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature over a message is by a device's key."""
    return is_signed_with(identity.public_key, message, signature)


def is_signed_with(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature over a message is by the private half of a key.

    Source: RFC 8032; ADR 0021 says why by `cryptography` itself.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - the boot path reads identities without it

    try:
        _verifier(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=8)
def _verifier(key: PublicKey) -> Ed25519PublicKey:
    # A log has thousands of lines under one key.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - the same

    return Ed25519PublicKey.from_public_bytes(key)
