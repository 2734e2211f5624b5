"""What keeps the auditor's store from being used."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.given import InputError
from usbupdate.errors.tree import ExitCode, UsbupdateError


class EvidenceStoreError(UsbupdateError):
    """The store of evidence cannot be used as it is."""

    exit_code = ExitCode.STORE


@dataclass(eq=False)
class EvidenceStoreMissingError(EvidenceStoreError):
    """A command that only reads was given a store that was never made."""

    store: str
    says = "There is no store of evidence at {store}."
    hint = "'usbupdate audit import MOUNT' makes it; or name another with --store."


@dataclass(eq=False)
class EvidenceStoreFailedError(EvidenceStoreError):
    """The database did not do what it was asked for: unreachable, busy, full, damaged, or none of ours."""

    store: str
    problem: str
    says = "The store of evidence {store} cannot be used: {problem}."
    hint = "Mend what is named and run the command again; what an import had finished is kept, and the rest is taken up again."


@dataclass(eq=False)
class EvidenceStoreOlderError(EvidenceStoreError):
    """An earlier version of the program made the store, and a command that only reads changes nothing in it."""

    store: str
    says = "The store of evidence {store} is of an earlier version of usbupdate."
    hint = "Back it up, then run 'usbupdate audit store upgrade', or any 'usbupdate audit import'."


@dataclass(eq=False)
class EvidenceStoreNewerError(EvidenceStoreError):
    """A later version of the program made the store; what its tables mean is not known here."""

    store: str
    says = "The store of evidence {store} is of a later version of usbupdate."
    hint = "Install that version here too; the sticks themselves can be verified with this one."


@dataclass(eq=False)
class StoreLibraryMissingError(InputError):
    """A store was asked for where the libraries that keep it are not installed."""

    library: str
    says = "A store of evidence of this kind needs {library}, which is not installed."
    hint = (
        "Install it with: pip install 'usbupdate[audit]', or 'usbupdate[postgresql]' for PostgreSQL. "
        "Sticks can be verified without a store."
    )


class PasswordExposedError(InputError):
    """An address with a password was given where everybody on the machine can read it."""

    says = "The address of the store holds a password, and other users of this machine can read command lines."
    hint = "Change that password. Put it into ~/.pgpass, or the whole address into the environment variable USBUPDATE_STORE."


@dataclass(eq=False)
class UnreadFilesError(UsbupdateError):
    """Files of some logs could not be read while they were imported."""

    sources: str
    exit_code = ExitCode.MEDIUM
    says = "What could be read is in the store, but not every file could be, in: {sources}."
    hint = "Keep the stick. Copy its folder usbupdate with care and import the copy."
