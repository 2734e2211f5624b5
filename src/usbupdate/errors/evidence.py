"""What is wrong with the evidence that came back."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


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
    hint = "If it was provisioned anew, compare its fingerprint and enrol it with --replace-key; else somebody poses as it."


@dataclass(eq=False)
class EvidenceBrokenError(EvidenceError):
    """At least one device's evidence contradicts itself, is incomplete or was changed."""

    devices: str
    says = "The evidence is not in order for: {devices}."
    hint = "Follow what stands beside each finding, and keep the sticks as they are."


@dataclass(eq=False)
class AcknowledgementError(EvidenceError):
    """What a stick brings as the office's word on a device's receipts is not that, or not about that device."""

    problem: str
    says = "The acknowledgement of this device's receipts does not count: {problem}."
    hint = "Nothing is lost: the receipts stay on the device. Tell the release office that wrote this stick."


@dataclass(eq=False)
class ForkSuspectedError(EvidenceError):
    """The office holds receipts in a device's name that the device did not write."""

    size: int
    root: str
    problem: str
    says = "The office holds receipts under this device's name and key that are not this device's: {problem}."
    hint = "Bring this stick to the auditor, and tell the release office: two devices may bear one name and key."


@dataclass(eq=False)
class NotEnrolledError(UsbupdateError):
    """All evidence is consistent, but nobody has vouched for a device's key."""

    devices: str
    exit_code = ExitCode.NOT_ENROLLED
    says = "Consistent, but signed by keys that are not enrolled: {devices}."
    hint = "Enrol each with the fingerprint that it showed at provisioning: 'usbupdate audit enroll --fingerprint'."
