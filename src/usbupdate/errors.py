"""Everything that can go wrong, as one tree.

A leaf says in `says` what is wrong (a template over its own fields) and in `hint` what to do; its exit code is documented in
docs/exit-codes.md, which is made from this tree. Its `reason`, made from the name of the class, is what a receipt carries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


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


# --- What a person gave us -------------------------------------------------------------------------------------------


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
class UnusableValueError(InputError):
    """A value that a person gave is outside what the command takes."""

    what: str
    value: str
    problem: str
    says = "{what} '{value}' cannot be used: {problem}."
    hint = "Give a value of the documented form."


# --- Verification said no --------------------------------------------------------------------------------------------


class RejectedError(UsbupdateError):
    """What lies on the stick is not what somebody signed."""

    exit_code = ExitCode.REJECTED
    hint = "Do not use this stick again. Ask the release office for a newly written one."


@dataclass(eq=False)
class MalformedError(RejectedError):
    """A document does not have the form that its format prescribes."""

    document: str
    field: str
    problem: str
    says = "The {document} is malformed: {field}: {problem}."


@dataclass(eq=False)
class MediumFileMissingError(RejectedError):
    """A file that signed data promise is not on the stick."""

    name: str
    says = "The stick lacks the file {name}."


@dataclass(eq=False)
class MediumFileKindError(RejectedError):
    """A name on the stick is not an ordinary file or folder: a link, a FIFO, a device."""

    name: str
    says = "{name} on the stick is not an ordinary file."


@dataclass(eq=False)
class MediumFileSizeError(RejectedError):
    """A file on the stick has another size than is allowed or was signed."""

    name: str
    size: int
    allowed: int
    says = "{name} on the stick has {size} bytes where {allowed} are allowed."


@dataclass(eq=False)
class FoldingNamesError(RejectedError):
    """Two names on the stick are one name to a file system that ignores case."""

    first: str
    second: str
    says = "The stick holds both {first} and {second}, which are one name to some file systems."


@dataclass(eq=False)
class TooManyNamesError(RejectedError):
    """A folder on the stick holds more names than any stick of ours."""

    name: str
    allowed: int
    says = "The folder {name} on the stick holds more than {allowed} names."


@dataclass(eq=False)
class FileDigestError(RejectedError):
    """A whole file on the stick is not the one whose digest was signed."""

    name: str
    says = "{name} on the stick is not the file that was signed."


@dataclass(eq=False)
class StoredBytesDifferError(RejectedError):
    """The stored bytes of a chunk are not the ones that were signed."""

    chunk: int
    says = "Chunk {chunk} on the stick is not the one that was signed."


@dataclass(eq=False)
class FrameBrokenError(RejectedError):
    """The signed stored bytes of a chunk do not decompress to the announced size."""

    chunk: int
    says = "Chunk {chunk} does not decompress to its signed size."


@dataclass(eq=False)
class ContentsDifferError(RejectedError):
    """A chunk decompresses to other bytes than the signed index says."""

    chunk: int
    says = "Chunk {chunk} decompresses to something other than the signed image."


# --- Policy said no --------------------------------------------------------------------------------------------------


class RefusedError(UsbupdateError):
    """Genuine, but not for this device, or not now."""

    exit_code = ExitCode.REFUSED


@dataclass(eq=False)
class NewerFormatError(RefusedError):
    """A document has a format number that this version does not know."""

    document: str
    format: int
    known: int
    says = "The {document} has format {format}; this usbupdate knows up to {known}."
    hint = "Install the intermediate release that brings a newer usbupdate first."


# --- The stick as a thing --------------------------------------------------------------------------------------------


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


# --- The device ------------------------------------------------------------------------------------------------------


class SlotError(UsbupdateError):
    """A slot's block device failed; the running system is untouched."""

    exit_code = ExitCode.FAILED


@dataclass(eq=False)
class SlotReadError(SlotError):
    """Reading from a slot failed."""

    slot_class: str
    problem: str
    says = "The other slot's {slot_class} could not be read: {problem}."
    hint = "The device's storage may be failing; have it looked at before the next update."


@dataclass(eq=False)
class SlotWriteError(SlotError):
    """Writing to a slot failed."""

    slot_class: str
    problem: str
    says = "The other slot's {slot_class} could not be written: {problem}."
    hint = "The device's storage may be failing; have it looked at before the next update."


@dataclass(eq=False)
class ReadBackError(SlotError):
    """What was read back from a slot is not what was written."""

    slot_class: str
    chunk: int
    says = "The other slot's {slot_class} did not keep chunk {chunk}."
    hint = "The device's storage may be failing; have it looked at before the next update."


@dataclass(eq=False)
class SlotUnusableError(SlotError):
    """A slot's block device is missing, mounted, in use, or not one of the device's own."""

    path: str
    problem: str
    says = "The slot device {path} cannot be used: {problem}."
    hint = "Run 'usbupdate device check' and mend what it names."


@dataclass(eq=False)
class BootLoaderError(UsbupdateError):
    """The boot loader's environment could not be read, written, or did not take what was written."""

    problem: str
    exit_code = ExitCode.BOOT_LOADER
    says = "The boot loader's environment failed: {problem}."
    hint = "Run 'usbupdate device check'; the running system goes on."


@dataclass(eq=False)
class LedgerError(UsbupdateError):
    """A receipt could not be appended to the ledger; it is kept in the state file."""

    problem: str
    exit_code = ExitCode.NOT_READY
    says = "The ledger failed: {problem}."
    hint = "Free space on the state partition; nothing is installed until receipts can be written."


class NotReadyError(UsbupdateError):
    """Fail closed: something without which nothing may be installed is missing or unreadable."""

    exit_code = ExitCode.NOT_READY


# --- Policy ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class ForeignStickError(RefusedError):
    """The stick holds nothing of ours."""

    says = "The stick has no folder 'usbupdate': it was not written by 'usbupdate stick write'."
    hint = "Ask the release office for an update stick."


@dataclass(eq=False)
class OlderStickError(RefusedError):
    """The device knows newer metadata than the stick, and none of the stick's bundles is offered any more."""

    newer: str
    says = "The stick is older than what this device knows ({newer}), and its bundles are no longer offered."
    hint = "Ask the release office for a newly written stick."


@dataclass(eq=False)
class WrongCompatibleError(RefusedError):
    """The bundle is for other hardware."""

    bundle: str
    compatible: str
    says = "The bundle {bundle} is not for this hardware ({compatible})."
    hint = "Use the stick that was written for this kind of device."


@dataclass(eq=False)
class OtherDevicesError(RefusedError):
    """The bundle names devices or groups, and this one is not among them."""

    bundle: str
    device: str
    says = "The bundle {bundle} is for other devices than {device}."
    hint = "Use the stick that was written for this device, or ask the release office."


@dataclass(eq=False)
class SteppingStoneError(RefusedError):
    """The bundle can only be installed from a newer release than the one that runs."""

    bundle: str
    needed: int
    running: int
    says = "The bundle {bundle} needs sequence {needed} or higher to start from; this device runs {running}."
    hint = "Put the release in between on the stick too; the device takes one after the other."


@dataclass(eq=False)
class OlderSequenceError(RefusedError):
    """The bundle is older than what the device runs or has committed before."""

    bundle: str
    sequence: int
    floor: int
    says = "The bundle {bundle} has sequence {sequence}; this device takes only sequences above {floor}."
    hint = "Nothing is wrong with the device. Use a stick with a newer release."


@dataclass(eq=False)
class TriedBeforeError(RefusedError):
    """The bundle was tried on this device, and trying again is not this stick's to decide."""

    bundle: str
    outcome: str
    attempts: int
    says = "The bundle {bundle} was tried {attempts} time(s) on this device; the last outcome was: {outcome}."
    hint = "Use a newer release, or let a person run 'usbupdate device install'."


# --- What fits into the slots ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class ImageDiffersError(RejectedError):
    """The chunks that were signed do not make up the image that was signed."""

    slot_class: str
    says = "The chunks for {slot_class} do not add up to the image that was signed."
    hint = "The release office packed this bundle wrongly; ask for a newly made one."


@dataclass(eq=False)
class ImageTooLargeError(RefusedError):
    """An image has more bytes than the slot's block device."""

    slot_class: str
    image_size: int
    slot_size: int
    says = "The image for {slot_class} has {image_size} bytes; the slot holds {slot_size}."
    hint = "Ask the release office for a bundle that fits this device."


@dataclass(eq=False)
class SlotClassMissingError(RefusedError):
    """The device has a slot class for which the bundle brings no image."""

    slot_class: str
    says = "The bundle has no image for {slot_class}, which this device needs."
    hint = "Ask the release office for a bundle that holds an image for every slot class of this device."


@dataclass(eq=False)
class SlotClassUnknownError(RefusedError):
    """The bundle brings an image for a slot class that the device does not have."""

    slot_class: str
    says = "The bundle holds an image for {slot_class}, for which this device has no place."
    hint = "Ask the release office for the bundle that was made for this kind of device."


# --- The device's surroundings ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class ConfigurationError(NotReadyError):
    """The file that describes the model of the device is missing or says something that it may not."""

    path: str
    key: str
    problem: str
    says = "{path} cannot be used: {key}: {problem}."
    hint = "Mend that line as the example in docs/ shows; until then nothing is installed."


@dataclass(eq=False)
class NotProvisionedError(NotReadyError):
    """The device has no state, or provisioning was cut before its last step."""

    path: str
    says = "This device is not provisioned: {path} is missing."
    hint = "Run 'usbupdate device provision'."


@dataclass(eq=False)
class UnitFileError(NotReadyError):
    """The file that says which unit this is cannot be used."""

    path: str
    problem: str
    says = "{path} cannot be used: {problem}."
    hint = "Restore the file from a backup of the state partition; the id of a device is never made up anew."


@dataclass(eq=False)
class AlreadyProvisionedError(InputError):
    """A device is provisioned once; its key and its receipts must not be replaced by accident."""

    path: str
    says = "This device is provisioned already: {path} exists."
    hint = "To start anew, move the whole state folder away first; its receipts end there."


class BusyError(UsbupdateError):
    """Something else is at work on this device."""

    exit_code = ExitCode.BUSY


@dataclass(eq=False)
class DeviceLockedError(BusyError):
    """Another usbupdate command holds this device's lock."""

    path: str
    says = "Another usbupdate command is at work on this device ({path} is locked)."
    hint = "Wait until it has ended, then run the command again."


@dataclass(eq=False)
class TwoSticksError(RefusedError):
    """One disk carries the folder usbupdate on several partitions: which one is meant is not for us to guess."""

    first: str
    second: str
    says = "Both {first} and {second} hold a folder usbupdate."
    hint = "Use a stick with a single partition, newly written by the release office."


@dataclass(eq=False)
class MountedElsewhereError(RefusedError):
    """Somebody else has the stick mounted and could change it while it is read."""

    device: str
    mount: str
    says = "{device} is in use already: {mount}."
    hint = "Unmount it there, or name that mount instead of the device, then try again."


@dataclass(eq=False)
class FileSystemNotAllowedError(RefusedError):
    """The stick has a file system that this device's configuration does not allow."""

    device: str
    filesystem: str
    allowed: str
    says = "{device} holds {filesystem}; this device reads {allowed}."
    hint = "Have the release office write the stick with a file system that the device allows."


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


# --- Receipts and who states them ------------------------------------------------------------------------------------


class EvidenceError(UsbupdateError):
    """What a device stated cannot be believed as it lies there."""

    exit_code = ExitCode.EVIDENCE_BROKEN


@dataclass(eq=False)
class EvidenceSignatureError(EvidenceError):
    """A receipt or checkpoint is not signed by the device that it should come from."""

    document: str
    fingerprint: str
    says = "The {document} is not signed by the device key {fingerprint}."
    hint = "Treat it as changed or planted; compare it with another copy of this device's log."


@dataclass(eq=False)
class IdentityMissingError(NotReadyError):
    """The device has no key of its own, or no word about which it is."""

    path: str
    says = "The device's own identity is missing: {path}."
    hint = "Run 'usbupdate device provision', or restore the state partition from its backup; nothing is installed until then."


@dataclass(eq=False)
class IdentityUnreadableError(NotReadyError):
    """The device's own key or identity is there and cannot be used."""

    path: str
    problem: str
    says = "The device's own identity cannot be used: {path}: {problem}."
    hint = "Restore the state partition from its backup; nothing is installed until then."


@dataclass(eq=False)
class KeyExposedError(NotReadyError):
    """Others than the owner may read the device's private key, so what it signs proves nothing."""

    path: str
    says = "The device's private key {path} can be read by others."
    hint = "Find out who may have read it; then set its permissions to 0600, or provision the device anew."


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


# --- The auditor -----------------------------------------------------------------------------------------------------


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
class FingerprintDiffersError(EvidenceError):
    """The key on the stick is not the one that the device showed when it was provisioned."""

    device: str
    found: str
    given: str
    says = "{device}: the key there has the fingerprint {found}, not {given}."
    hint = "Do not enrol it. Read the fingerprint on the device again; if it still differs, the log is not that device's."


@dataclass(eq=False)
class EnrolledKeyDiffersError(EvidenceError):
    """A device that is enrolled shows up with another key."""

    device: str
    found: str
    enrolled: str
    says = "{device} is enrolled with the key {enrolled}; the one there is {found}."
    hint = "If the device was provisioned anew, move its old record away and enrol it again; otherwise somebody poses as it."


@dataclass(eq=False)
class EvidenceBrokenError(EvidenceError):
    """At least one device's evidence contradicts itself, is incomplete or was changed."""

    devices: str
    says = "The evidence is not in order for: {devices}."
    hint = "Follow what stands beside each finding, and keep the sticks as they are."


@dataclass(eq=False)
class NotEnrolledError(UsbupdateError):
    """All evidence is consistent, but nobody has vouched for a device's key."""

    devices: str
    exit_code = ExitCode.NOT_ENROLLED
    says = "Consistent, but signed by keys that are not enrolled: {devices}."
    hint = "Enrol each with the fingerprint that it showed at provisioning: 'usbupdate audit enroll --fingerprint'."
