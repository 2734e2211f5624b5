"""Who a device is to an auditor: its id and the public half of its own Ed25519 key.

`identity.json` says it; it proves nothing by itself, the fingerprint shown at provisioning does. The key's one PEM form is
fixed by RFC 8410, so that reading it needs no cryptographic library.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NewType

from usbupdate.core import strictjson
from usbupdate.core.words import DEVICE_ID, DIGEST, DeviceId, Digest
from usbupdate.errors import UnusableValueError

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

FORMAT: Final = 1
IDENTITY_SIZE_MAX: Final = 4 << 10
PUBLIC_KEY_SIZE: Final = 32

PublicKey = NewType("PublicKey", bytes)
"""A raw Ed25519 public key."""

_PEM_BEGIN: Final = "-----BEGIN PUBLIC KEY-----\n"
_PEM_END: Final = "\n-----END PUBLIC KEY-----\n"
_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
_PEM_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """A device's id and public key."""

    device: DeviceId
    public_key: PublicKey

    @property
    def fingerprint(self) -> Digest:
        """The SHA-256 of the raw public key: what is shown at provisioning, and the key id in every receipt."""
        return Digest(hashlib.sha256(self.public_key).hexdigest())


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


def decode(raw: bytes) -> Identity:
    """Return the identity that `raw` states.

    Raises:
        MalformedError: it is not exactly what `encode` writes for some identity.
    """
    fields = strictjson.decode(raw, "identity", limit=IDENTITY_SIZE_MAX)
    fields.integer("format", FORMAT, FORMAT)
    device = DeviceId(fields.text("device", DEVICE_ID))
    pem = fields.free_text("public_key", limit=_PEM_MAX)
    fields.digest("fingerprint")
    fields.done()
    try:
        der = base64.b64decode(pem.removeprefix(_PEM_BEGIN).removesuffix(_PEM_END), validate=True)
    except (binascii.Error, ValueError):
        fields.fail("public_key", "not a public key in PEM")
    identity = Identity(device, PublicKey(der[-PUBLIC_KEY_SIZE:]))
    # One value, one form: covers the PEM frame, the algorithm and a fingerprint that is not this key's.
    if encode(identity) != raw:
        fields.fail("whole", "not in its one canonical form, or its fingerprint is not that of its Ed25519 key")
    return identity


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


def verification_key(identity: Identity) -> SSlibKey:
    """Return the key that checks this device's signatures, under its fingerprint as key id."""
    return verification_key_of(identity.public_key)


def verification_key_of(key: PublicKey) -> SSlibKey:
    """Return the key that checks signatures by the private half of `key`, under its fingerprint as key id."""
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415 - the boot path reads identities without it

    return SSlibKey(hashlib.sha256(key).hexdigest(), "ed25519", "ed25519", {"public": key.hex()})
