"""What can go wrong in the release office."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.given import InputError
from usbupdate.errors.tree import ExitCode, UsbupdateError


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
class ExcerptError(OfficeError):
    """A folder that travels for signatures was taken for the repository."""

    path: str
    says = "{path} is no repository, but an excerpt of one that travels for signatures."
    hint = "Sign it with 'usbupdate repo sign', take it back with 'usbupdate repo import'; all else is done in the repository."


@dataclass(eq=False)
class NothingToExportError(OfficeError):
    """An excerpt was asked for, and nothing waits that somebody elsewhere could sign."""

    repo: str
    says = "No root and no list of bundles waits for signatures in {repo}."
    hint = "Propose something first, as with 'usbupdate repo rotate'; snapshot and timestamp are signed in the repository."


@dataclass(eq=False)
class OtherProposalError(OfficeError):
    """What was signed elsewhere is not what waits here."""

    folder: str
    role: str
    says = "What {folder} says of {role} is not what waits here: one of the two was changed since."
    hint = "Find out who changed it. Then make a new excerpt with 'usbupdate repo export' and have that signed."


@dataclass(eq=False)
class OfficeFileError(OfficeError):
    """A file of the repository is missing or damaged."""

    path: str
    problem: str
    says = "{path} in the repository cannot be used: {problem}."
    hint = "Restore the repository from its backup."


@dataclass(eq=False)
class OfficeWriteError(OfficeError):
    """A file of the repository could not be written; no image and no stick is to blame."""

    path: str
    problem: str
    says = "{path} in the repository could not be written: {problem}."
    hint = "Make room on that disk, or mend the permissions of the folder, then run the command again."


@dataclass(eq=False)
class OfficeBusyError(OfficeError):
    """Another command changes the repository, or one was cut off so hard that its lock stayed."""

    path: str
    holder: str
    says = "Another command is at work in this repository ({holder}): {path} is there."
    hint = "Wait until it has ended. If it was cut off, as by a power cut, remove that file and run the command again."


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
class NoSuchAuthorisationError(OfficeError):
    """No downgrade authorisation of the repository is for that device, or bears that number."""

    authorisation: str
    says = "The repository offers no authorisation {authorisation}."
    hint = "Run 'usbupdate bundle list' to see which there are."


@dataclass(eq=False)
class AuthorisationNumberError(OfficeError):
    """A device takes each authorisation with a higher number than the last one that it used."""

    number: int
    device: str
    highest: int
    says = "The number {number} is not above the highest that {device} was given so far, {highest}."
    hint = "Leave --number out, or give a higher one."


@dataclass(eq=False)
class NothingToLiftError(OfficeError):
    """The device takes the bundle without an authorisation."""

    bundle: str
    floor: int
    says = "The bundle {bundle} is not below sequence {floor}, from where the device is to go back: nothing has to be allowed."
    hint = "Name an older bundle, or give with --floor the highest sequence that the device has had."


@dataclass(eq=False)
class AcknowledgerTakenError(OfficeError):
    """A name or a key stands for an acknowledger already."""

    name: str
    key: str
    says = "The list of bundles names an acknowledger {name} with the key id {key} already."
    hint = "Drop that one first with 'usbupdate repo drop-acknowledger', or give another key or --name."


@dataclass(eq=False)
class NoSuchAcknowledgerError(OfficeError):
    """No acknowledger bears that name."""

    name: str
    says = "The list of bundles names no acknowledger {name}."
    hint = "Run 'usbupdate repo check' to see whom it names."


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
    hint = (
        "Run 'usbupdate repo refresh', for targets with --targets, or for root 'usbupdate repo rotate'; then write it again. "
        "Or give a smaller --margin."
    )


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
class UnconfirmedError(InputError):
    """Something has to be confirmed, and there is nobody at a terminal to ask."""

    what: str
    says = "{what} has to be confirmed, and there is no terminal to ask at."
    hint = "Look at what is shown above; if it is meant, run the command again with --yes."


@dataclass(eq=False)
class MountUnfitError(InputError):
    """A folder that was named as a stick is part of a repository, of a stick, or named twice."""

    mount: str
    problem: str
    says = "{mount} cannot be a stick: {problem}."
    hint = "Name the folder where a stick is mounted, each stick once."


@dataclass(eq=False)
class ImageExistsError(InputError):
    """An image for a duplicator would be written over a file."""

    path: str
    says = "{path} exists already."
    hint = "Give another name, or replace it with --overwrite."


@dataclass(eq=False)
class NoDeltasError(OfficeError):
    """A stick was to hold deltas only, and a bundle has none."""

    bundle: str
    slot_class: str
    says = "The bundle {bundle} has no deltas for {slot_class}, so no device could take it from such a stick."
    hint = "Leave --only-delta out, or make the bundle with --base and the image that the devices run."


@dataclass(eq=False)
class NumpyMissingError(InputError):
    """Deltas were asked for where the library that finds them is not installed."""

    says = "Finding what two images have in common needs numpy, which is not installed."
    hint = (
        "Install it with: pip install 'usbupdate[office]'. Or leave --base out; the bundle then carries the whole image only."
    )
