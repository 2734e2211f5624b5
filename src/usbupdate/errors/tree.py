"""Everything that can go wrong, as one tree.

A leaf says in `says` what is wrong (a template over its own fields) and in `hint` what to do; its exit code is documented in
docs/exit-codes.md, which is made from this tree. Its `reason`, made from the name of the class, is what a receipt carries.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


class ExitCode(IntEnum):
    """What a command tells the shell; each has one meaning for all commands."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    INPUT = 3
    REJECTED = 10
    REFUSED = 11
    FAILED = 12
    ROLLED_BACK = 13
    MEDIUM = 14
    NOTHING_ON_TRIAL = 15
    BUSY = 16
    NOT_READY = 17
    BOOT_LOADER = 18
    UNSIGNED = 20
    STICK_FULL = 21
    STICK_WRITE = 22
    KEY = 23
    OFFICE = 24
    EXPIRES_SOON = 25
    EVIDENCE_BROKEN = 30
    NOT_ENROLLED = 31
    STORE = 32
    DEMO = 40
    STOPPED = 130


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "Done, or there was nothing to do.",
    ExitCode.INTERNAL: "A defect of usbupdate itself; please report it.",
    ExitCode.USAGE: "The command line does not fit the command.",
    ExitCode.INPUT: "A file, folder or value that was given cannot be used.",
    ExitCode.REJECTED: "Rejected: verification said no. Nothing unverified was written.",
    ExitCode.REFUSED: "Refused: genuine, but policy said no. Nothing was changed.",
    ExitCode.FAILED: "The installation failed on the device's side. The running system is untouched.",
    ExitCode.ROLLED_BACK: "The new release did not pass its trial; the device is back on the old one.",
    ExitCode.MEDIUM: "The stick could not be read or was removed.",
    ExitCode.NOTHING_ON_TRIAL: "The command speaks of a trial, and nothing is on trial.",
    ExitCode.BUSY: "Another update is under way or on trial.",
    ExitCode.NOT_READY: "The device may not install: key, root, configuration, marker or state is missing or unreadable.",
    ExitCode.BOOT_LOADER: "The boot loader's environment could not be read or written.",
    ExitCode.UNSIGNED: "Something is not signed by enough people yet.",
    ExitCode.STICK_FULL: "The stick is too small.",
    ExitCode.STICK_WRITE: "The stick did not keep what was written to it.",
    ExitCode.KEY: "A key could not be read, used or made.",
    ExitCode.OFFICE: "The repository is not in a state that allows this.",
    ExitCode.EXPIRES_SOON: "Signed metadata ends within the margin.",
    ExitCode.EVIDENCE_BROKEN: "The evidence contradicts itself, is incomplete or was changed.",
    ExitCode.NOT_ENROLLED: "The evidence is consistent, but a device's key is not enrolled.",
    ExitCode.STORE: "The store of evidence cannot be used, or is of another version.",
    ExitCode.DEMO: "The demonstration found one of its own claims untrue.",
    ExitCode.STOPPED: "Stopped by a person (Ctrl-C).",
}


class UsbupdateError(Exception):
    """The root of the tree; only leaves are raised."""

    exit_code: ClassVar[ExitCode]
    says: ClassVar[str]
    hint: ClassVar[str]

    def __str__(self) -> str:
        return self.says.format_map({name: _printable(value) for name, value in vars(self).items()})

    def __reduce__(self) -> tuple[Callable[..., UsbupdateError], tuple[()]]:
        # An error may come out of another process of ours; by itself Python would forget the names of the values.
        return partial(type(self), **vars(self)), ()

    @property
    def reason(self) -> str:
        """The reason code for receipts: the class's name in kebab case, without `Error`."""
        return reason_of(type(self))


def reason_of(leaf: type[UsbupdateError]) -> str:
    """Return the reason code of a class of the tree, such as `stick-full` for `StickFullError`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", leaf.__name__.removesuffix("Error")).lower()


def leaves(branch: type[UsbupdateError] = UsbupdateError) -> list[type[UsbupdateError]]:
    """Return every class under `branch` that can be raised, in the order of their definition."""
    children = branch.__subclasses__()
    if not children:
        return [branch]
    return [leaf for child in children for leaf in leaves(child)]


def _printable(value: object) -> str:
    """Values may come from a stick: no control characters, no line breaks, no more than 300 characters."""
    text = str(value)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:300])
