"""Keys on tokens: HSMs, YubiKeys and SoftHSM, through PKCS#11 and the signer of securesystemslib.

Here is found out, before anything is signed and before a PIN is spent, what securesystemslib would say late or not at all:
that there is no module, no token, the wrong token, or another key than the repository knows. A wrong PIN is tried once.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, ObjectClass, TokenFlag
from pkcs11.util.ec import encode_ec_public_key
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, SSlibKey

from usbupdate.errors import (
    KeyUnusableError,
    NoKeyOnTokenError,
    NoTokenError,
    TokenAmbiguousError,
    TokenLibraryMissingError,
    TokenModuleError,
    TokenModuleUnnamedError,
    TokenPinError,
    TokenSilentError,
)
from usbupdate.packager.tokenuri import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pkcs11 import Key, Session, Token

    from usbupdate.packager.tokenuri import Pins, TokenKey

MODULE: Final = "PYKCS11LIB"
"""The environment variable in which securesystemslib finds the path of the PKCS#11 module."""

_KINDS: Final = "it is of a kind that is not used on tokens, where ECDSA P-256 and P-384 are"
_LOCKED: Final = "it is locked after too many wrong PINs, and only its PUK or SO PIN unlocks it"


def public_key(reference: str, ask: Pins) -> SSlibKey:
    """Return the public half of the key on a token; a PIN is asked for only if the token hides public keys without it.

    Raises:
        OfficeKeyError: module, token, PIN or key is not there, not right, or of no use.
    """
    wanted = parse(reference)
    token = _find_token(reference, wanted)
    found = _read_public_key(reference, token, wanted, pin=None)
    if found is None:
        found = _read_public_key(reference, token, wanted, pin=_ask_pin(token, ask))
    if found is None:
        raise NoKeyOnTokenError(key=reference, token=token.label)
    return found


def open_signer(reference: str, key: SSlibKey, ask: Pins) -> HSMSigner:
    """Return what signs with a key on a token, after the PIN has opened it.

    Raises:
        OfficeKeyError: module, token, PIN or key is not there or not right. No PIN is asked for where the token shows
            without it that it holds another key than `key`.
    """
    wanted = parse(reference)
    token = _find_token(reference, wanted)
    _require_same(reference, key, _read_public_key(reference, token, wanted, pin=None))
    pin = _ask_pin(token, ask)
    _require_same(reference, key, _read_public_key(reference, token, wanted, pin=pin))
    number = _number_of_private_key(reference, token, wanted, pin)
    try:
        return HSMSigner(number, key, lambda _: pin, token.label or None)
    except UnsupportedLibraryError as error:
        raise TokenLibraryMissingError(key=reference) from error
    except ValueError as error:
        raise KeyUnusableError(key=reference, problem=_KINDS) from error


def _find_token(reference: str, wanted: TokenKey) -> Token:
    module = os.environ.get(MODULE)
    if not module:
        raise TokenModuleUnnamedError(key=reference)
    try:
        present = list(pkcs11.lib(module).get_tokens(token_flags=TokenFlag.TOKEN_INITIALIZED))
    except pkcs11.PKCS11Error as error:
        problem = str(error).rpartition(f"{module}: ")[2] or type(error).__name__
        raise TokenModuleError(module=module, problem=problem.removesuffix(".")) from error
    labels = ", ".join(sorted(each.label for each in present)) or "none"
    label = wanted.token.get("token")
    named = f"the token {label}" if label else "a token"
    # securesystemslib tells tokens apart by their labels alone.
    fitting = [each for each in present if label is None or each.label == label]
    if len(fitting) > 1:
        raise TokenAmbiguousError(key=reference, token=named, present=labels)
    if not fitting or any(_attributes(fitting[0])[name] != value for name, value in wanted.token.items()):
        raise NoTokenError(key=reference, token=named, present=labels)
    return fitting[0]


def _attributes(token: Token) -> dict[str, str]:
    return {
        "token": token.label,
        "serial": token.serial.decode(errors="replace").strip(),
        "manufacturer": token.manufacturer_id,
        "model": token.model,
    }


def _ask_pin(token: Token, ask: Pins) -> str:
    if TokenFlag.USER_PIN_LOCKED in token.flags:
        raise TokenPinError(token=token.label, problem=_LOCKED)
    # A PIN that is written down wrong is tried once: night after night it would lock the token.
    was_wrong = bool(token.flags & (TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY))
    pin = ask(token.label, was_wrong)
    if pin is None:
        after = ", and since a wrong one was tried only a person at the prompt may give it" if was_wrong else ""
        raise TokenPinError(token=token.label, problem=f"its PIN is missing{after}")
    return pin


@contextmanager
def _open(token: Token, pin: str | None) -> Iterator[Session]:
    try:
        with token.open(user_pin=pin) as session:
            yield session
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
        raise TokenPinError(token=token.label, problem="its PIN is wrong, and too many wrong ones lock it") from error
    except pkcs11.PinLocked as error:
        raise TokenPinError(token=token.label, problem=_LOCKED) from error
    except pkcs11.PKCS11Error as error:
        raise TokenSilentError(token=token.label, problem=type(error).__name__) from error


def _read_public_key(reference: str, token: Token, wanted: TokenKey, pin: str | None) -> SSlibKey | None:
    with _open(token, pin) as session:
        found = _search(session, ObjectClass.PUBLIC_KEY, wanted)
        if not found:
            return None
        curves = [each for each in found if each.key_type is KeyType.EC and isinstance(each, pkcs11.PublicKey)]
        ders = {encode_ec_public_key(each) for each in curves}
    if len(ders) > 1:
        raise _ambiguous(reference)
    try:
        return SSlibKey.from_crypto(load_der_public_key(ders.pop()))
    except (KeyError, ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError(key=reference, problem=_KINDS) from error


def _number_of_private_key(reference: str, token: Token, wanted: TokenKey, pin: str) -> int:
    """Return the number under which securesystemslib finds the private key, which is its id on the token."""
    with _open(token, pin) as session:
        ids = {bytes(each.id) for each in _search(session, ObjectClass.PRIVATE_KEY, wanted) if each.key_type is KeyType.EC}
    if not ids:
        raise NoKeyOnTokenError(key=reference, token=token.label)
    if len(ids) > 1:
        raise _ambiguous(reference)
    raw = ids.pop()
    if not raw or raw[0] == 0:
        problem = "its id on the token is empty or begins with a zero byte, and such a key is not found when it has to sign"
        raise KeyUnusableError(key=reference, problem=problem)
    return int.from_bytes(raw)


def _search(session: Session, kind: ObjectClass, wanted: TokenKey) -> list[Key]:
    template: dict[Attribute, object] = {Attribute.CLASS: kind}
    if wanted.id is not None:
        template[Attribute.ID] = wanted.id
    if wanted.name is not None:
        template[Attribute.LABEL] = wanted.name
    return [each for each in session.get_objects(template) if isinstance(each, pkcs11.Key)]


def _require_same(reference: str, key: SSlibKey, found: SSlibKey | None) -> None:
    if found is not None and found.keyid != key.keyid:
        raise KeyUnusableError(key=reference, problem="it is not the key that the repository knows")


def _ambiguous(reference: str) -> KeyUnusableError:
    return KeyUnusableError(
        key=reference, problem="several keys on the token are called so, and the URI has to say which by id"
    )
