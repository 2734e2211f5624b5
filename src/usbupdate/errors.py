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
class ManifestsLostError(RejectedError):
    """A stick carries payload, and none of the manifests that would say what it is."""

    says = "The stick carries payload, but no manifest of a release that is offered."


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


# --- Trust: what tuf said of a stick's metadata ----------------------------------------------------------------------


@dataclass(eq=False)
class MetadataMissingError(RejectedError):
    """Metadata that signed metadata, or the form of a stick, calls for is not on the stick."""

    role: str
    name: str
    says = "The stick lacks the {role} metadata ({name})."


@dataclass(eq=False)
class MetadataMalformedError(RejectedError):
    """Metadata does not have the form that is prescribed for it."""

    role: str
    problem: str
    says = "The {role} metadata is malformed: {problem}."


@dataclass(eq=False)
class MetadataSignatureError(RejectedError):
    """Too few of the people whom this device trusts signed the metadata."""

    role: str
    says = "The {role} metadata is not signed by enough of the keys that this device trusts."
    hint = "Do not use this stick. If it is your own office's, ask for a newly written one; if not, report where it came from."


@dataclass(eq=False)
class MetadataExpiredError(RejectedError):
    """Metadata is past the end that was signed into it."""

    role: str
    expires: str
    now: str
    says = "The {role} metadata ended {expires}; for this device it is {now}."
    hint = "Ask the release office for a newly written stick, and check the device's clock."


@dataclass(eq=False)
class MetadataRollbackError(RejectedError):
    """Metadata is older than what this device has seen, and something newer vouches for it."""

    role: str
    problem: str
    says = "The {role} metadata goes back behind what this device knows: {problem}."


@dataclass(eq=False)
class MetadataMixedError(RejectedError):
    """Metadata of two different states of the repository lie on one stick."""

    role: str
    problem: str
    says = "The {role} metadata is not the one that belongs to the rest of the stick: {problem}."


@dataclass(eq=False)
class ForkedOfficeError(RejectedError):
    """One version of signed metadata exists with two contents: two copies of the office go their own ways."""

    role: str
    version: int
    says = "The {role} metadata version {version} differs from the one that this device knows under the same version."
    hint = "Two copies of the release office sign on their own, or a key is misused. Report it to the release office."


@dataclass(eq=False)
class RepeatedKeyError(RejectedError):
    """A root lets one key count twice towards a threshold."""

    role: str
    says = "The root metadata lists one public key twice for the role {role}."


@dataclass(eq=False)
class AliasedTargetError(RejectedError):
    """A manifest says that it is another release than the name under which it was signed."""

    name: str
    actual: str
    says = "The manifest signed as {name} is the one of {actual}."


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


# --- Trust: what the device itself keeps -----------------------------------------------------------------------------


@dataclass(eq=False)
class TrustMissingError(NotReadyError):
    """The device has no trust store."""

    path: str
    says = "This device trusts nobody yet: {path} is missing."
    hint = "Provision the device ('usbupdate device provision'), or restore its state partition."


@dataclass(eq=False)
class TrustExistsError(NotReadyError):
    """The device already has a trust store, and its root is another one."""

    path: str
    says = "This device already trusts another root: {path}."
    hint = "A device is provisioned once. Rotate the root with a stick, or start from an empty state directory."


@dataclass(eq=False)
class StoredTrustError(NotReadyError):
    """A file of the trust store is empty, broken, or not signed by the root beside it."""

    name: str
    problem: str
    says = "The device's stored trust metadata cannot be used: {name}: {problem}."
    hint = "Restore the state partition, or provision the device again; nothing is installed until then."


@dataclass(eq=False)
class ConfiguredRootError(NotReadyError):
    """The configured trust root is no root that a device could start from."""

    problem: str
    says = "The configured trust root cannot be used: {problem}."
    hint = "Put the release office's root.json where the configuration names it."


@dataclass(eq=False)
class RootConflictError(NotReadyError):
    """The configured root and the stored one have the same version and are not the same."""

    version: int
    says = "The configured trust root version {version} is not the root version {version} that this device knows."
    hint = "Find out which of the two is genuine before this device takes another stick."


@dataclass(eq=False)
class TrustStorageError(NotReadyError):
    """The trust store could not be read or written."""

    problem: str
    says = "The device's trust store failed: {problem}."
    hint = "Free space on the state partition and check its file system; the stick can then be inserted again."


@dataclass(eq=False)
class TrustLibraryError(NotReadyError):
    """The installed tuf library is not one that this program knows how to give the time to."""

    version: str
    says = "The installed tuf library {version} cannot be told what time it is."
    hint = "Install the version of tuf that the packaging of usbupdate names."


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
    hint = "Mend it as docs/device.md shows; until then nothing is installed."


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


# --- The agent -------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class StateMissingError(NotReadyError):
    """The device was provisioned, but its state file is gone."""

    path: str
    says = "The device's state is missing: {path}."
    hint = "Nothing is installed. Find out what happened to the state partition before the device is provisioned again."


@dataclass(eq=False)
class StateUnreadableError(NotReadyError):
    """The state file cannot be read or is not of its form; nothing is ever reset."""

    path: str
    problem: str
    says = "The device's state cannot be used: {path}: {problem}"
    hint = "Nothing is installed. Find out what happened to the state partition before the device is provisioned again."


@dataclass(eq=False)
class BootIdError(NotReadyError):
    """The kernel does not say which boot this is, without which a restart cannot be told from a power cycle."""

    path: str
    says = "The kernel's id of this boot cannot be read: {path}."
    hint = "See to it that /proc is mounted; nothing is installed until then."


@dataclass(eq=False)
class DegradedError(NotReadyError):
    """The device goes on running, but takes no offers until its next start."""

    problem: str
    says = "This device takes no updates for now: {problem}"
    hint = "Mend what is named and restart the device."


@dataclass(eq=False)
class LedgerFullError(NotReadyError):
    """There is no room for the receipts of another attempt."""

    says = "The device's ledger has no room for the receipts of another update."
    hint = "Bring the receipts to the office on a stick and have the device looked at; free space on its state partition."


@dataclass(eq=False)
class UpdateUnderWayError(BusyError):
    """An installed release waits for its restart; another bundle is not looked at before its end."""

    version: str
    says = "The release {version} is installed and waits for its restart."
    hint = "Let the device restart first, then put the stick in again."


@dataclass(eq=False)
class GateRefusedError(RefusedError):
    """A gate of the owner's said no."""

    gate: str
    says = "The gate {gate} does not allow an installation."
    hint = "Ask the operator of the device; the gate's own words are in the receipt."


@dataclass(eq=False)
class GatePostponedError(RefusedError):
    """A gate of the owner's said later."""

    gate: str
    says = "The gate {gate} postpones the installation."
    hint = "Put the stick in again when the device may be updated."


@dataclass(eq=False)
class NothingOnTrialError(UsbupdateError):
    """A person spoke of a trial, and there is none."""

    exit_code = ExitCode.NOTHING_ON_TRIAL
    says = "Nothing is on trial on this device."
    hint = "Use 'usbupdate device status' to see how the device stands."


@dataclass(eq=False)
class NothingInstalledError(UsbupdateError):
    """A person wanted to activate or withdraw a release, and none waits for its restart."""

    exit_code = ExitCode.NOTHING_ON_TRIAL
    says = "No installed release waits for its restart."
    hint = "Use 'usbupdate device status' to see how the device stands."


@dataclass(eq=False)
class RolledBackError(UsbupdateError):
    """An attempt ended on the old release."""

    outcome: str
    problem: str
    running: str
    exit_code = ExitCode.ROLLED_BACK
    says = "The new release was given up ({outcome}): {problem} The device runs {running}."
    hint = "The device is whole. Send the receipts on the stick to the release office."


@dataclass(eq=False)
class StoreFailedError(NotReadyError):
    """The state file could not be saved, so nothing further may be done."""

    path: str
    problem: str
    says = "The device's state could not be saved: {path}: {problem}."
    hint = "Free or mend the state partition, then restart the device."


# --- The office ------------------------------------------------------------------------------------------------------


class OfficeKeyError(UsbupdateError):
    """A key of the office could not be read, used or made."""

    exit_code = ExitCode.KEY


@dataclass(eq=False)
class KeyUnusableError(OfficeKeyError):
    """What was named as a key is none, or none that we use."""

    key: str
    problem: str
    says = "The key {key} cannot be used: {problem}."
    hint = "Name a PEM file with an Ed25519 or ECDSA P-256 or P-384 key, or a key URI such as hsm:2."


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
    says = "The key {key} did not open: its passphrase is missing or wrong."
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


class OfficeError(UsbupdateError):
    """The repository is not in a state that allows what was asked."""

    exit_code = ExitCode.OFFICE


@dataclass(eq=False)
class NoOfficeError(OfficeError):
    """A folder is no repository of ours."""

    path: str
    says = "{path} is not a repository of usbupdate."
    hint = "Make one with 'usbupdate repo init', or check the path."


@dataclass(eq=False)
class OfficeExistsError(OfficeError):
    """A repository would be made where something is already."""

    path: str
    says = "{path} exists and is not empty."
    hint = "Give a new folder; a repository is never made over something else."


@dataclass(eq=False)
class OfficeFileError(OfficeError):
    """A file of the repository is missing or damaged."""

    path: str
    problem: str
    says = "{path} in the repository cannot be used: {problem}."
    hint = "Restore the repository from its backup."


@dataclass(eq=False)
class OfficeClockError(OfficeError):
    """This computer's clock is behind a time that was signed; signing on would turn the devices' time floor against us."""

    now: str
    signed: str
    says = "The clock of this computer says {now}, but {signed} was signed already."
    hint = "Set the clock, then run the command again."


@dataclass(eq=False)
class SequenceTakenError(OfficeError):
    """Two bundles for the same hardware would have one sequence."""

    sequence: int
    bundle: str
    says = "Sequence {sequence} belongs to the bundle {bundle} already, which is for the same hardware or has the same name."
    hint = "Give the new bundle a higher sequence."


@dataclass(eq=False)
class SequenceJumpError(OfficeError):
    """A sequence is so much higher than the last one that it looks like a slip, and sequences never fall again."""

    sequence: int
    highest: int
    says = "Sequence {sequence} is more than 1,000 above the highest so far, {highest}."
    hint = "If that is meant, run the command again with --yes: devices never go back below it."


@dataclass(eq=False)
class NoSuchBundleError(OfficeError):
    """No bundle of the repository bears that name."""

    bundle: str
    says = "The repository offers no bundle {bundle}."
    hint = "Run 'usbupdate bundle list' to see what it offers."


@dataclass(eq=False)
class NotSignedError(UsbupdateError):
    """Something waits for signatures, and a stick made now would not carry it."""

    roles: str
    exit_code = ExitCode.UNSIGNED
    says = "Not signed by enough people yet: {roles}."
    hint = "Let the missing people run 'usbupdate repo sign'; 'usbupdate repo check' says who they are."


@dataclass(eq=False)
class ExpiresSoonError(UsbupdateError):
    """A stick would be, or is, good for less than the margin."""

    role: str
    expires: str
    margin_days: int
    exit_code = ExitCode.EXPIRES_SOON
    says = "The {role} metadata ends at {expires}, in less than {margin_days} day(s)."
    hint = "Run 'usbupdate repo refresh' (or re-sign root and targets), write the stick again, or give a smaller --margin."


@dataclass(eq=False)
class StickFullError(UsbupdateError):
    """A stick has less room than is needed; nothing was written."""

    mount: str
    needed: int
    free: int
    exit_code = ExitCode.STICK_FULL
    says = "{mount} is too small: {needed} bytes are needed and {free} are free."
    hint = "Use a larger stick, remove other files from it, or write fewer bundles with --bundle."


@dataclass(eq=False)
class StickWriteError(UsbupdateError):
    """Writing to a stick failed; devices take what it held before, or nothing."""

    mount: str
    problem: str
    exit_code = ExitCode.STICK_WRITE
    says = "Writing to {mount} failed: {problem}."
    hint = "Check that the stick is not write-protected or full, then write it again; if it happens twice, use another stick."


@dataclass(eq=False)
class StickDidNotKeepError(UsbupdateError):
    """What was read back from a stick is not what was written to it."""

    mount: str
    problem: str
    exit_code = ExitCode.STICK_WRITE
    says = "{mount} did not keep what was written to it: {problem}."
    hint = "Throw this stick away and write another one."


@dataclass(eq=False)
class DeltasNotMadeError(InputError):
    """The option for deltas was given to a version that does not make them."""

    base: str
    says = "Deltas are not made yet, so --base {base} cannot be used."
    hint = "Leave --base out; the bundle then carries the whole image."


@dataclass(eq=False)
class DeviceUnfitError(NotReadyError):
    """`device check` found something that an update needs and this device lacks."""

    count: int
    says = "{count} thing(s) that an update needs are not in order."
    hint = "Mend what the lines above name, then run the check again."


# --- The demonstration -----------------------------------------------------------------------------------------------


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
    package: str
    says = "The program {program} is needed and did not work."
    hint = "Install it (on Debian: the package e2fsprogs or mtools that holds it), then run the command again."
