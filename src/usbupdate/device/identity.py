"""The device's own key: made once at provisioning, readable by its owner only, never replaced.

Reading who the device is needs no cryptographic library; signing does, and loads it only then.

Source: design, sections 7 and 9.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import identity as form
from usbupdate.core.identity import IDENTITY_SIZE_MAX, Identity, PublicKey
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import (
    AlreadyProvisionedError,
    IdentityMissingError,
    IdentityUnreadableError,
    KeyExposedError,
    MalformedError,
    UnusableValueError,
)
from usbupdate.plainfile import release

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import Signer

FOLDER: Final = "identity"
KEY_FILE: Final = "key.pem"
IDENTITY_FILE: Final = "identity.json"

_OTHERS: Final = 0o077
_DIGITS_OF_ID: Final = 12


def create(state_dir: Path, device: DeviceId | None) -> Identity:
    """Make the device's key and write down who it is, durably; without an id it is named after its key.

    The file that says who it is comes last, so provisioning that was cut can be done again, with the key that was made.

    Raises:
        AlreadyProvisionedError: this device has an identity, which must not be replaced.
        UnusableValueError: the id is not of its grammar.
        KeyExposedError, IdentityUnreadableError: an interrupted provisioning left a key that cannot be used.
        OSError: nothing says who the device is yet.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - the boot path reads without
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415 - the same

    if device is not None and not DEVICE_ID.fullmatch(device):
        raise UnusableValueError(what="The device id", value=device, problem="not lower-case letters, digits and hyphens")
    folder = state_dir / FOLDER
    if (folder / IDENTITY_FILE).exists():
        raise AlreadyProvisionedError(path=str(folder / IDENTITY_FILE))
    durable.make_directory(folder, mode=durable.PRIVATE_FOLDER)
    if not (folder / KEY_FILE).exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        durable.save(folder / KEY_FILE, pem, mode=durable.PRIVATE)
    # The key as it lies there: what cannot be read back must not become anybody's identity.
    public = PublicKey(_private_key(folder / KEY_FILE).public_key().public_bytes_raw())
    fingerprint = Identity(DeviceId("unnamed"), public).fingerprint
    identity = Identity(device or DeviceId(f"device-{fingerprint[:_DIGITS_OF_ID]}"), public)
    durable.save(folder / IDENTITY_FILE, form.encode(identity), mode=durable.PRIVATE)
    return identity


def load(state_dir: Path) -> Identity:
    """Return who this device is.

    Raises:
        IdentityMissingError: it was never provisioned, or its state is gone.
        IdentityUnreadableError: the file is there and is not what `create` wrote.
    """
    path = state_dir / FOLDER / IDENTITY_FILE
    try:
        return form.decode(_read(path))
    except MalformedError as error:
        raise IdentityUnreadableError(path=str(path), problem=f"{error.field}: {error.problem}") from error


def load_signer(state_dir: Path) -> Signer:
    """Return what signs this device's receipts and checkpoints.

    Raises:
        IdentityMissingError: key or identity is missing.
        IdentityUnreadableError: key or identity cannot be used, or they do not belong together.
        KeyExposedError: others may read the key.
    """
    from securesystemslib.signer import CryptoSigner, SSlibKey  # noqa: PLC0415 - the boot path signs nothing

    identity = load(state_dir)
    path = state_dir / FOLDER / KEY_FILE
    key = _private_key(path)
    if key.public_key().public_bytes_raw() != identity.public_key:
        raise IdentityUnreadableError(path=str(path), problem=f"it is not the key that {IDENTITY_FILE} names")
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key(), keyid=identity.fingerprint))


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - the boot path signs nothing
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - the same
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - the same

    pem = _read(path, forbidden=_OTHERS)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IdentityUnreadableError(path=str(path), problem="not a private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityUnreadableError(path=str(path), problem="not an Ed25519 key")
    return key


def _read(path: Path, *, forbidden: int = 0) -> bytes:
    """Return the contents of a small file of which nobody has the `forbidden` permissions."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise IdentityMissingError(path=str(path)) from error
    except OSError as error:
        raise IdentityUnreadableError(path=str(path), problem=error.strerror or type(error).__name__) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise IdentityUnreadableError(path=str(path), problem="not an ordinary file")
        if found.st_mode & forbidden:
            raise KeyExposedError(path=str(path))
        return os.read(descriptor, IDENTITY_SIZE_MAX + 1)
    except OSError as error:
        raise IdentityUnreadableError(path=str(path), problem=error.strerror or type(error).__name__) from error
    finally:
        release(descriptor)
