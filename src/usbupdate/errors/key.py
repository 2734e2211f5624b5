"""What can be wrong with the keys of people who sign."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


class OfficeKeyError(UsbupdateError):
    """A key of the office could not be read, used or made."""

    exit_code = ExitCode.KEY


@dataclass(eq=False)
class KeyUnusableError(OfficeKeyError):
    """What was named as a key is none, or none that we use."""

    key: str
    problem: str
    says = "The key {key} cannot be used: {problem}."
    hint = "Name a PEM file with an Ed25519 or ECDSA P-256 or P-384 key, or a key URI such as pkcs11:token=LABEL;id=%02."


@dataclass(eq=False)
class KeyExistsError(OfficeKeyError):
    """A key would be written over another one."""

    path: str
    says = "{path} exists already, and a key is never written over."
    hint = "Give another name, or move the old key away first."


@dataclass(eq=False)
class KeyLockedError(OfficeKeyError):
    """A key file is protected, and its passphrase is missing or wrong."""

    key: str
    problem: str = "its passphrase is missing or wrong"
    says = "The key {key} did not open: {problem}."
    hint = "Give the passphrase with --passphrase-file, in USBUPDATE_PASSPHRASE, or at the prompt."


@dataclass(eq=False)
class SameKeyTwiceError(OfficeKeyError):
    """One public key would count as two people towards a threshold."""

    key: str
    says = "The key {key} stands twice: it would count as two people."
    hint = "Give each person a key of their own with 'usbupdate key create'."


@dataclass(eq=False)
class ThresholdError(OfficeKeyError):
    """A threshold that the keys of a role can never meet, or that anybody meets."""

    role: str
    threshold: int
    keys: int
    says = "{role} cannot need {threshold} signature(s): it has {keys} key(s)."
    hint = "Give the role as many keys with --key ROLE=FILE, or a threshold from 1 to the number of its keys."


@dataclass(eq=False)
class UselessKeyError(OfficeKeyError):
    """A key was given to sign with, and no role of the repository knows it."""

    key: str
    says = "The key {key} belongs to no role of this repository."
    hint = "Run 'usbupdate repo check' to see which keys are asked for."


@dataclass(eq=False)
class KeySignedNothingError(OfficeKeyError):
    """A key was given to sign with, and nothing that waits asks for its signature."""

    key: str
    waiting: str
    says = "The key {key} signed nothing: what waits ({waiting}) does not ask for it."
    hint = "Run 'usbupdate repo check' to see which keys each role asks for. Other keys that were given have signed."


@dataclass(eq=False)
class NotAcknowledgerError(OfficeKeyError):
    """A key was given to acknowledge receipts with, and devices would not believe it."""

    key: str
    says = "The published list of bundles does not name the key {key} for acknowledging receipts."
    hint = "Name it with 'usbupdate repo name-acknowledger', and let everybody sign who has to."
