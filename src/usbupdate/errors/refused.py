"""Policy said no: genuine, but not for this device, or not now."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


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


class AuthorisationError(RefusedError):
    """The bundle is older than what the device takes, and the authorisation to go back to it does not count."""


@dataclass(eq=False)
class AuthorisationUsedError(AuthorisationError):
    """The device went back by this authorisation, or by a later one, before."""

    bundle: str
    number: int
    used: int
    says = "The authorisation {number} to go back to {bundle} counts no more: this device has used number {used}."
    hint = "If the device is to go back again, ask the release office for a new authorisation."


@dataclass(eq=False)
class AuthorisationEndedError(AuthorisationError):
    """The authorisation is past its end."""

    bundle: str
    number: int
    expires: str
    now: str
    says = "The authorisation {number} to go back to {bundle} ended {expires}; for this device it is {now}."
    hint = "Ask the release office for a new authorisation, and check the device's clock."


@dataclass(eq=False)
class AuthorisationFloorError(AuthorisationError):
    """The device has committed a newer release than the one from which it was to go back."""

    bundle: str
    number: int
    lifts: int
    floor: int
    says = "The authorisation {number} to go back to {bundle} is good from sequence {lifts} down; this device has had {floor}."
    hint = "The device was updated since. If it is to go back all the same, ask the release office for a new authorisation."


@dataclass(eq=False)
class AuthorisationKeyError(AuthorisationError):
    """The authorisation is for a device of the same id and another key: a clone, or this one before it was provisioned anew."""

    bundle: str
    number: int
    device: str
    says = "The authorisation {number} to go back to {bundle} is for a device {device} that has another key than this one."
    hint = "Tell the release office this device's fingerprint; two devices of one id must not be."


@dataclass(eq=False)
class TriedBeforeError(RefusedError):
    """The bundle was tried on this device, and trying again is not this stick's to decide."""

    bundle: str
    outcome: str
    attempts: int
    says = "The bundle {bundle} was tried on this device before (tries: {attempts}); the last outcome was: {outcome}."
    hint = "Use a newer release, or let a person run 'usbupdate device install'."


@dataclass(eq=False)
class DeltaOnlyError(RefusedError):
    """The stick holds only what differs from other releases than the one that the device runs."""

    slot_class: str
    says = "The stick holds only what differs from certain releases of {slot_class}, and this device runs another one."
    hint = "Use a stick with the whole release: one that was written without --only-delta."


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
