"""What a person gave us: command line, files and folders of their own."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


class InputError(UsbupdateError):
    """Something given on the command line or in a file of the person's own cannot be used."""

    exit_code = ExitCode.INPUT


@dataclass(eq=False)
class UnusableFileError(InputError):
    """A file or folder that a person named cannot be read or written."""

    path: str
    problem: str
    says = "{path} cannot be used: {problem}."
    hint = "Check the path and its permissions, then run the command again."


@dataclass(eq=False)
class OtherOfficeError(InputError):
    """What a person named as an office's is not signed under the root that counts."""

    path: str
    says = "{path} holds no list of bundles that is signed under the office's root."
    hint = "Give the root of that office, its metadata/1.root.json, or the repository or stick of the office that you mean."


@dataclass(eq=False)
class UnusableValueError(InputError):
    """A value that a person gave is outside what the command takes."""

    what: str
    value: str
    problem: str
    says = "{what} '{value}' cannot be used: {problem}."
    hint = "Give a value of the documented form."


@dataclass(eq=False)
class AlreadyProvisionedError(InputError):
    """A device is provisioned once; its key and its receipts must not be replaced by accident."""

    path: str
    says = "This device is provisioned already: {path} exists."
    hint = "To start anew, move the whole state folder away first; its receipts end there."


@dataclass(eq=False)
class NoEvidenceError(InputError):
    """A place that was given to the auditor's commands holds no device's log."""

    path: str
    says = "{path} holds no device's log."
    hint = "Name a mounted stick, or a copy of its folder usbupdate, of the folder logs in it, or of one device's folder."


@dataclass(eq=False)
class DeviceNotThereError(InputError):
    """The log of the device that was asked for is not in the place that was given."""

    device: str
    path: str
    says = "{path} holds no log of the device {device}."
    hint = "Check the device id; 'usbupdate audit verify' lists which devices are there."


@dataclass(eq=False)
class EnrolmentUnreadableError(InputError):
    """The auditor's own record of a device cannot be used."""

    path: str
    problem: str
    says = "The record {path} cannot be used: {problem}."
    hint = "Restore it from your backup. Enrolling the device anew forgets what you have seen of it."


@dataclass(eq=False)
class ReportLibraryMissingError(InputError):
    """A report was asked for where the libraries that draw and write it are not installed."""

    library: str
    says = "Making the report needs {library}, which is not installed."
    hint = "Install it with: pip install 'usbupdate[audit]'. Or use 'usbupdate audit show', which needs nothing more."


@dataclass(eq=False)
class DemoClaimError(UsbupdateError):
    """Something that the demonstration was about to show is not true."""

    claim: str
    found: str
    expected: str
    exit_code = ExitCode.DEMO
    says = "The demonstration wanted to show this: {claim}. It found {found} instead of {expected}."
    hint = "This is a defect; please report it with all that was printed."


@dataclass(eq=False)
class ProgramMissingError(InputError):
    """A program that the command needs is not installed, or failed."""

    program: str
    says = "The program {program} is needed and did not work."
    hint = "Install it (on Debian: e2fsprogs, dosfstools, mtools or exfatprogs hold it), then run the command again."
