"""The keys of people: PEM files, or a token behind a URI, through the signers of securesystemslib.

A key reference is the path of a private key, the path of the public key of somebody who is not here, or a URI: that of a key
on a token, such as `pkcs11:token=alice;id=%02` or `hsm:2`, or `file2:/keys/alice.pem`. References are kept in the repository,
and a folder that travels has some too. So no other URI of securesystemslib is one: some start programs, with what lies there
for their configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key as generate_ec,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import Error as SslibError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer, SSlibKey

from usbupdate import durable, plainfile
from usbupdate.errors import (
    KeyExistsError,
    KeyLockedError,
    KeyUnusableError,
    TokenLibraryMissingError,
    UnusableFileError,
    UnusableValueError,
)
from usbupdate.packager.tokenuri import SCHEMES as TOKEN_SCHEMES, is_token_uri

if TYPE_CHECKING:
    from types import ModuleType

    from securesystemslib.signer import Key

    from usbupdate.core.identity import PublicKey
    from usbupdate.packager.tokenuri import Pins


@dataclass(frozen=True, slots=True)
class Secret:
    """What a person is asked for: the passphrase of the key file, or the PIN of the token, that is called `of`.

    A token locks itself for good after a few wrong PINs. So a PIN is never a passphrase that was meant for something else, and
    `by_hand` says that only a person at the terminal may answer, for a wrong one was tried already.
    """

    of: str
    is_pin: bool = False
    by_hand: bool = False


Passphrases = Callable[[Secret], str | None]
"""Asked for a secret; None means that nobody gives it."""

PUBLIC_SUFFIX: Final = ".pub"
_SCHEMES: Final = {"ed25519": "Ed25519", "ecdsa-sha2-nistp256": "ECDSA P-256", "ecdsa-sha2-nistp384": "ECDSA P-384"}
_FILE_SIZE_MAX: Final = 64 << 10
# Two letters at least: `C:\keys` is a path.
_URI: Final = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.DOTALL)

_Private = Ed25519PrivateKey | EllipticCurvePrivateKey


class Algorithm(StrEnum):
    """What kind of key is made."""

    ED25519 = "ed25519"
    P256 = "ecdsa-p256"
    P384 = "ecdsa-p384"


@dataclass(frozen=True, slots=True)
class ShownKey:
    """What may be said of a key to anybody: its id is the SHA-256 of its public half as TUF writes it.

    `public_key` are the raw bytes of an Ed25519 key in hexadecimal digits; of other kinds it is None.
    """

    id: str
    kind: str
    private: bool
    public_key: str | None


def no_passphrase(_: Secret) -> None:
    """Give no secret: keys that need one are not reached."""


def create(path: Path, *, algorithm: Algorithm = Algorithm.ED25519, passphrase: str | None = None) -> SSlibKey:
    """Make a private key at `path` that only its owner may read, and its public half beside it in `<path>.pub`.

    Raises:
        KeyExistsError: one of the two is there.
        UnusableFileError: the folder cannot be written to.
        UnusableValueError: the passphrase is empty.
    """
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    for each in (path, public_path):
        if each.exists() or each.is_symlink():
            raise KeyExistsError(path=str(each))
    private = _generate(algorithm)
    if passphrase == "":
        raise UnusableValueError(what="passphrase", value="", problem="it is empty")
    encryption: KeySerializationEncryption = (
        NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        durable.save(path, pem, mode=durable.PRIVATE)
        durable.save(public_path, public_pem)
    except OSError as error:
        raise UnusableFileError(path=str(path), problem=error.strerror or "it cannot be written") from error
    return SSlibKey.from_crypto(private.public_key())


def public_key(reference: str, ask: Passphrases) -> SSlibKey:
    """Return the public half of the key that a reference means.

    Raises:
        KeyUnusableError: it is no key, or none of a kind that we use.
        KeyLockedError: only the protected private key is there, and its passphrase is not.
    """
    if is_token_uri(reference):
        return _known(reference, _tokens(reference).public_key(reference, _pins(ask)))
    path = Path(_path_of_uri(reference) or reference)
    pem = _read(path)
    beside = path.with_name(path.name + PUBLIC_SUFFIX)
    # Nobody is asked for a passphrase where the public half lies open; whether the two belong together shows when it signs.
    if b"ENCRYPTED" in pem and beside.is_file():
        return _public_key_of_pem(str(beside), _read(beside), ask)
    return _public_key_of_pem(reference, pem, ask)


def open_signer(reference: str, key: Key, ask: Passphrases) -> Signer | None:
    """Return what signs with the private half of `key`, or None if it is not within reach.

    Not within reach: the reference means a public key, or a file that is not there.

    Raises:
        KeyLockedError: the key is protected, and its passphrase is missing or wrong.
        OfficeKeyError: the reference means another key, or a token that is not there or does not open.
    """
    if is_token_uri(reference):
        if not isinstance(key, SSlibKey):
            return None
        signer: Signer = _tokens(reference).open_signer(reference, key, _pins(ask))
        return signer
    path = Path(_path_of_uri(reference) or reference)
    try:
        pem = _read(path) if path.is_file() else b""
        private = _private_key_of_pem(reference, pem, ask)
        if private is None and pem and b"PUBLIC KEY" not in pem:
            raise KeyUnusableError(key=reference, problem="it is not a key in PEM form")
        if private is None or not isinstance(key, SSlibKey):
            return None
        return CryptoSigner(private, key)
    except (SslibError, ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError(key=reference, problem="it is not the key that the repository knows") from error
    except OSError:
        return None


def show(reference: str, ask: Passphrases) -> ShownKey:
    """Return what may be said of a key to anybody.

    Raises:
        OfficeKeyError: as `public_key`.
    """
    key = public_key(reference, ask)
    raw = str(key.keyval["public"]) if key.scheme == "ed25519" else None
    return ShownKey(id=key.keyid, kind=_SCHEMES[key.scheme], private=not is_public(reference), public_key=raw)


def id_of_ed25519(public_key: PublicKey) -> str:
    """Return the id of a raw Ed25519 key, as `show` returns it."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public_key)).keyid


def is_public(reference: str) -> bool:
    """Tell whether a reference leads to a public key only.

    Raises:
        KeyUnusableError: it leads nowhere.
    """
    return not is_uri(reference) and b"PRIVATE KEY" not in _read(Path(reference))


def is_uri(reference: str) -> bool:
    """Tell a URI that is known here from a path."""
    found = _URI.fullmatch(reference)
    return found is not None and (found[1] in SIGNER_FOR_URI_SCHEME or is_token_uri(reference))


def fingerprint(key: Key) -> str:
    """Return what tells one public key from another, whatever key id somebody wrote beside it."""
    value = str(key.keyval.get("public", ""))
    if "BEGIN" not in value:
        return f"{key.keytype} {value.lower()}"
    # One key has many PEM texts: line ends, blanks, headers.
    try:
        der = load_pem_public_key(value.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return value
    return der.hex()


def _generate(algorithm: Algorithm) -> _Private:
    match algorithm:
        case Algorithm.ED25519:
            return Ed25519PrivateKey.generate()
        case Algorithm.P256:
            return generate_ec(SECP256R1())
        case Algorithm.P384:
            return generate_ec(SECP384R1())


def _path_of_uri(reference: str) -> str | None:
    """Return the path that a URI names; None for what is no URI.

    Raises:
        KeyUnusableError: it is one of a scheme that is not used here.
    """
    found = _URI.fullmatch(reference)
    if found is None or found[1] not in SIGNER_FOR_URI_SCHEME:
        return None
    if found[1] != CryptoSigner.SCHEME:
        problem = f"only {', '.join((CryptoSigner.SCHEME, *TOKEN_SCHEMES))} can be asked for it"
        raise KeyUnusableError(key=reference, problem=problem)
    return found[2]


def _pins(ask: Passphrases) -> Pins:
    return lambda token, by_hand: ask(Secret(token, is_pin=True, by_hand=by_hand))


def _tokens(reference: str) -> ModuleType:
    try:
        from usbupdate.packager import tokens  # noqa: PLC0415 - what it imports is an extra, for people with tokens only
    except ImportError as error:
        raise TokenLibraryMissingError(key=reference) from error
    return tokens


def _public_key_of_pem(name: str, pem: bytes, ask: Passphrases) -> SSlibKey:
    private = _private_key_of_pem(name, pem, ask)
    try:
        return _known(name, SSlibKey.from_crypto(private.public_key() if private is not None else load_pem_public_key(pem)))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError(key=name, problem="it is not a key in PEM form") from error


def _private_key_of_pem(name: str, pem: bytes, ask: Passphrases) -> _Private | None:
    """Return the private key in a PEM file, or None if there is only a public one.

    Raises:
        KeyLockedError: its passphrase is missing or wrong, and it says which.
    """
    if b"PRIVATE KEY" not in pem:
        return None
    passphrase = ask(Secret(name)) if b"ENCRYPTED" in pem else None
    try:
        private = load_pem_private_key(pem, passphrase.encode() if passphrase is not None else None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in pem:
            raise KeyLockedError(
                key=name, problem=f"its passphrase is {'missing' if passphrase is None else 'wrong'}"
            ) from error
        raise KeyUnusableError(key=name, problem="it is not a key in PEM form") from error
    if not isinstance(private, _Private):
        raise KeyUnusableError(key=name, problem="it is of a kind that is not used here")
    return private


def _known(name: str, key: SSlibKey) -> SSlibKey:
    if key.scheme not in _SCHEMES:
        raise KeyUnusableError(key=name, problem="it is of a kind that is not used here")
    return key


def _read(path: Path) -> bytes:
    try:
        pem = plainfile.read(path, _FILE_SIZE_MAX + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "it cannot be read"
        raise KeyUnusableError(key=str(path), problem=problem) from error
    if len(pem) > _FILE_SIZE_MAX:
        raise KeyUnusableError(key=str(path), problem="it is too large for a key")
    return pem
