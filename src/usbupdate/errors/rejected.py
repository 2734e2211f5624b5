"""Verification said no: what lies on the stick is not what somebody signed."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


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
class UnpackerEndedError(RejectedError):
    """The process that takes compressed data apart died of a release, or gave no answer."""

    problem: str
    says = "The process that unpacks this release ended in the middle: {problem}."
    hint = "Put the stick in again. If that happens twice, tell the release office: what it signed may attack devices."


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
    """A manifest or an authorisation says that it is another one than the name under which it was signed."""

    name: str
    actual: str
    says = "What was signed as {name} is {actual}."


@dataclass(eq=False)
class ImageDiffersError(RejectedError):
    """The chunks that were signed do not make up the image that was signed."""

    slot_class: str
    says = "The chunks for {slot_class} do not add up to the image that was signed."
    hint = "The release office packed this bundle wrongly; ask for a newly made one."
