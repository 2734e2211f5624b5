"""What can be wrong with a key on a token: the library, the module, the token, the PIN, the key."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.key import OfficeKeyError


@dataclass(eq=False)
class TokenUriError(OfficeKeyError):
    """A URI names no key on a token, or more than a URI may name."""

    key: str
    problem: str
    says = "{key} does not name a key on a token: {problem}."
    hint = "Write it as pkcs11:token=LABEL;id=%02 or pkcs11:token=LABEL;object=NAME, or as hsm:2?label=LABEL."


@dataclass(eq=False)
class TokenLibraryMissingError(OfficeKeyError):
    """A key lies on a token, and the library that speaks to tokens is not installed."""

    key: str
    says = "The key {key} lies on a token, and the library that speaks to tokens is not installed."
    hint = "Install it with: pip install 'usbupdate[hsm]'."


@dataclass(eq=False)
class TokenModuleUnnamedError(OfficeKeyError):
    """A key lies on a token, and nobody has said which module speaks to it."""

    key: str
    says = "The key {key} lies on a token, and PYKCS11LIB does not say which PKCS#11 module speaks to it."
    hint = "Set PYKCS11LIB to the module's path, such as /usr/lib/x86_64-linux-gnu/libykcs11.so for a YubiKey."


@dataclass(eq=False)
class TokenModuleError(OfficeKeyError):
    """The file that was named as a PKCS#11 module is none, or does not start."""

    module: str
    problem: str
    says = "The PKCS#11 module {module} cannot be used: {problem}."
    hint = "Set PYKCS11LIB to the module of your token, with its whole path, and check that its package is installed."


@dataclass(eq=False)
class NoTokenError(OfficeKeyError):
    """The token that holds a key is not there."""

    key: str
    token: str
    present: str
    says = "The key {key} is out of reach: {token} is not there (tokens that are: {present})."
    hint = "Plug the token in, or name one that is there by its label."


@dataclass(eq=False)
class TokenAmbiguousError(OfficeKeyError):
    """Several tokens could be meant, and a PIN must not be tried on the wrong one."""

    key: str
    token: str
    present: str
    says = "The key {key} does not say which token is meant: {token} could be any of several ({present})."
    hint = "Name its label with token=LABEL; where two have the same one, unplug one of them or give it another label."


@dataclass(eq=False)
class NoKeyOnTokenError(OfficeKeyError):
    """The token is there, and the key is not on it."""

    key: str
    token: str
    says = "The token {token} holds no key that fits {key}."
    hint = "See its ids and names with 'pkcs11-tool --list-objects --login'; both halves of a key have one id and one name."


@dataclass(eq=False)
class TokenPinError(OfficeKeyError):
    """The token does not open, because its PIN is missing, wrong or locked."""

    token: str
    problem: str
    says = "The token {token} did not open: {problem}."
    hint = "Give its PIN at the prompt, in the file that USBUPDATE_PIN_FILE names, or in USBUPDATE_PIN."


@dataclass(eq=False)
class TokenSilentError(OfficeKeyError):
    """The token is there and answers with an error of its own."""

    token: str
    problem: str
    says = "The token {token} did not do what was asked: it answered {problem}."
    hint = "Plug it out and in and run the command again; if it stays so, look at it with the tool of its maker."
