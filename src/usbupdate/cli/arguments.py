"""What people type to the commands of the office, turned into values: pairs, passphrases, the time."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from usbupdate.core.words import SLOT_CLASS
from usbupdate.errors import UnconfirmedError, UnusableFileError, UnusableValueError
from usbupdate.packager.keys import Passphrases, Secret
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands

ENVIRONMENT: Final = "USBUPDATE_PASSPHRASE"
PIN: Final = "USBUPDATE_PIN"
PIN_FILE: Final = "USBUPDATE_PIN_FILE"
_PASSPHRASE_MAX: Final = 1023
"""In bytes: what OpenSSL takes."""

_DIGITS_MAX: Final = 9

# Whether a path can be read is found out by reading, here and below: typer's own check speaks another language.
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Repo = Annotated[Path, typer.Argument(metavar="REPO", readable=False, help="The folder of the repository.")]
RepoOption = Annotated[Path, typer.Option("--repo", metavar="REPO", readable=False, help="The folder of the repository.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", readable=False, help=f"The passphrase of protected keys; else {ENVIRONMENT}, else a prompt."),
]
KeyPairs = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="ROLE=KEY", help="A key of a role: private or public key file, or URI. Repeatable."),
]
ThresholdPairs = Annotated[
    list[str] | None, typer.Option("--threshold", metavar="ROLE=N", help="How many keys of a role must sign. Repeatable.")
]


def now() -> datetime:
    """Return the time it is; everything below is told and does not ask."""
    return datetime.now(UTC)


def passphrases(file: Path | None) -> Passphrases:
    """Return who is asked for passphrases and PINs: a file, else the environment, else the person at the terminal, once a key.

    A passphrase is never tried as a PIN: tokens lock themselves after a few wrong ones.
    """
    passphrase, pin = _passphrase(file), _pin()
    known: dict[str, str | None] = {}

    def ask(secret: Secret) -> str | None:
        # One file may be named in several ways.
        place = f"token {secret.of}" if secret.is_pin else str(Path(secret.of).absolute())
        given = pin if secret.is_pin else passphrase
        # What a person has said here counts for more than what was written down, and was wrong.
        if given and not secret.by_hand and place not in known:
            return given
        if not sys.stdin.isatty():
            return None
        if place not in known or secret.by_hand:
            text = f"{'PIN of the token' if secret.is_pin else 'Passphrase of'} {secret.of} (empty: leave it)"
            known[place] = typer.prompt(text, default="", show_default=False, hide_input=True, err=True) or None
        return known[place]

    return ask


def passphrases_at_hand(file: Path | None) -> Passphrases:
    """Return who is asked where somebody only looks: a file, else the environment; nobody is disturbed and no PIN is spent."""
    passphrase = _passphrase(file)
    return lambda secret: None if secret.is_pin else passphrase or None


def new_passphrase(file: Path | None) -> str | None:
    """Return the passphrase for a new key, or None for a key without one."""
    if (given := _passphrase(file)) is not None:
        return given or None
    if not sys.stdin.isatty():
        return None
    text = "Passphrase for the new key (empty: none)"
    return typer.prompt(text, default="", show_default=False, hide_input=True, confirmation_prompt=True, err=True) or None


def hands(keys: list[str] | None, thresholds: list[str] | None) -> Hands:
    """Return who answers for what, from `ROLE=KEY` and `ROLE=N`."""
    by_role: dict[Role, list[str]] = {}
    for role, reference in _pairs(keys, "--key"):
        by_role.setdefault(role, []).append(reference)
    return Hands(by_role, numbers(thresholds, "--threshold"))


def numbers(pairs: list[str] | None, option: str) -> dict[Role, int]:
    """Return numbers by role, from `ROLE=N`."""
    found = {}
    for role, text in _pairs(pairs, option):
        if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
            raise UnusableValueError(what=option, value=f"{role}={text}", problem="it is not of the form ROLE=NUMBER")
        found[role] = int(text)
    return found


def images(rootfs: Path, others: list[str] | None) -> dict[str, Path]:
    """Return images by slot class: IMAGE itself is that of `rootfs`, the others come as `CLASS=IMAGE`."""
    found = {"rootfs": rootfs}
    for pair in others or []:
        name, sign, path = pair.partition("=")
        if not sign or not path or name in found:
            raise UnusableValueError(what="--class", value=pair, problem="it is not CLASS=IMAGE with a class of its own")
        found[name] = Path(path)
    return found


def bases(given: list[str] | None) -> dict[str, tuple[Path, ...]]:
    """Return base images by slot class: those of `rootfs`, and of another class where they come as `CLASS=IMAGE`."""
    found: dict[str, tuple[Path, ...]] = {}
    for each in given or []:
        name, sign, path = each.partition("=")
        # A file's name may have the sign too.
        is_of_class = bool(sign) and SLOT_CLASS.fullmatch(name) is not None
        slot_class = name if is_of_class else "rootfs"
        found[slot_class] = (*found.get(slot_class, ()), Path(path if is_of_class else each))
    return found


def text_of(file: Path | None, given: str) -> str:
    """Return the text in a file if one is named, else the text that was given.

    Raises:
        InputError: both are there, or the file cannot be read.
    """
    if file is None:
        return given
    if given:
        raise UnusableValueError(
            what="--notes-file", value=str(file), problem="--notes is there too, and one of them is enough"
        )
    try:
        return file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableFileError(path=str(file), problem="it is not a readable text in UTF-8") from error


def confirm(question: str) -> bool:
    """Return a person's answer, no where nobody can be asked; Abort if the person stops the command."""
    return sys.stdin.isatty() and typer.confirm(question, err=True)


def require_yes(question: str, what: str, *, yes: bool) -> None:
    """Have something confirmed by a person at the terminal, or by `--yes`; Abort if the person says no.

    Raises:
        UnconfirmedError: there is neither.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UnconfirmedError(what=what)
    typer.confirm(question, err=True, abort=True)


def _pairs(pairs: list[str] | None, option: str) -> list[tuple[Role, str]]:
    found = []
    for pair in pairs or []:
        name, sign, value = pair.partition("=")
        if not sign or not value or name not in set(Role):
            problem = f"it is not of the form ROLE=VALUE with a role of {', '.join(Role)}"
            raise UnusableValueError(what=option, value=pair, problem=problem)
        found.append((Role(name), value))
    return found


def _passphrase(file: Path | None) -> str | None:
    return _from_file(file) if file is not None else _from_environment()


def _pin() -> str | None:
    file = os.environ.get(PIN_FILE)
    return _from_file(Path(file), "PIN") if file else _from_environment(PIN, "PIN")


def _from_environment(variable: str = ENVIRONMENT, what: str = "passphrase") -> str | None:
    text = os.environ.get(variable)
    if text is not None and len(text.encode(errors="surrogateescape")) > _PASSPHRASE_MAX:
        raise UnusableValueError(what=variable, value="", problem=f"a {what} has at most {_PASSPHRASE_MAX} bytes")
    return text


def _from_file(file: Path, what: str = "passphrase") -> str:
    try:
        with file.open("rb") as source:
            text = source.read(_PASSPHRASE_MAX + 3).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableFileError(path=str(file), problem=f"no {what} can be read from it") from error
    if not 1 <= len(text.encode()) <= _PASSPHRASE_MAX:
        raise UnusableFileError(path=str(file), problem=f"a {what} has 1 to {_PASSPHRASE_MAX} bytes")
    return text
