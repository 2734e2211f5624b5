"""The stick as a thing: it could not be read or written, which proves nothing about its contents."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


class MediumError(UsbupdateError):
    """The stick could not be read, which proves nothing about its contents."""

    exit_code = ExitCode.MEDIUM


@dataclass(eq=False)
class MediumUnreadableError(MediumError):
    """Reading from the stick failed."""

    name: str
    problem: str
    says = "{name} could not be read from the stick: {problem}."
    hint = "Put the stick in again; if it happens twice, use another stick."


@dataclass(eq=False)
class MediumGoneError(MediumError):
    """The stick was pulled, or its contact failed, while it was needed."""

    says = "The stick was removed, or answers no more."
    hint = "Put the stick in again and leave it in until the device lets it go; if it happens twice, use another stick."


@dataclass(eq=False)
class MediumStalledError(MediumError):
    """The stick gives out what is on it too slowly, or not at all, without being gone."""

    minutes: int
    says = "The stick was waited for {minutes} minutes, and gave out next to nothing."
    hint = "Pull it out and use another stick; this one is worn out, or made to keep the device waiting."


@dataclass(eq=False)
class MountFailedError(MediumError):
    """The kernel would not mount the stick."""

    device: str
    problem: str
    says = "{device} could not be mounted: {problem}."
    hint = "Put the stick in again; if it happens twice, use another stick."


@dataclass(eq=False)
class StickReadOnlyError(MediumError):
    """The stick cannot be written to; what was meant for it stays on the device."""

    name: str
    problem: str
    says = "{name} cannot be written to: {problem}."
    hint = "The receipts are safe on the device and go out with the next stick; slide the write protection off."


@dataclass(eq=False)
class NoPlaceForLogsError(MediumError):
    """The stick has no folder of ours, so nothing is ever written to it."""

    name: str
    says = "The stick has no folder {name}, so no receipts are written to it."
    hint = "Use a stick that the release office wrote; 'usbupdate stick write --log-only' makes one for receipts."


@dataclass(eq=False)
class LogStickFullError(MediumError):
    """The receipts do not fit onto the stick."""

    name: str
    exit_code = ExitCode.STICK_FULL
    says = "{name} does not fit onto the stick."
    hint = "The receipts are safe on the device. Put in a stick with free space."


@dataclass(eq=False)
class LogStickError(MediumError):
    """The stick failed while receipts were written to it."""

    name: str
    problem: str
    says = "{name} could not be written to the stick: {problem}."
    hint = "The receipts are safe on the device. Put the stick in again; if it happens twice, use another stick."


@dataclass(eq=False)
class LogNotKeptError(MediumError):
    """The stick gives back other receipts than were written to it."""

    name: str
    exit_code = ExitCode.STICK_WRITE
    says = "The stick did not keep {name} as it was written."
    hint = "The receipts are safe on the device. Use another stick."


@dataclass(eq=False)
class LogFolderHostileError(MediumError):
    """Where the receipts belong there lies a link, a FIFO or something else that is not ours."""

    name: str
    says = "{name} on the stick is not an ordinary file or folder; no receipts were written."
    hint = "The receipts are safe on the device. Bring this stick to the release office; somebody may have tampered with it."


@dataclass(eq=False)
class LogConflictError(MediumError):
    """The stick holds receipts under this device's name that this device did not write before its own."""

    name: str
    says = "{name} on the stick is not an earlier state of this device's receipts; it was left as it is."
    hint = "Bring this stick to the auditor: the log was changed, or two devices bear one name. Use another stick meanwhile."


@dataclass(eq=False)
class BaseChangedError(MediumError):
    """The stick holds only what differs from another release, and this device does not run that release byte for byte."""

    chunk: int
    says = "The stick holds only what differs from the running release, and that is no longer what it was (chunk {chunk})."
    hint = "Use a stick with the whole release: one that was written without --only-delta."
