"""What can go wrong on a device while it is at work."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


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
class UpdateUnderWayError(BusyError):
    """An installed release waits for its restart; another bundle is not looked at before its end."""

    version: str
    says = "The release {version} is installed and waits for its restart."
    hint = "Let the device restart first, then put the stick in again."


@dataclass(eq=False)
class LeavingError(BusyError):
    """The device runs a release that it gave up, and is about to restart into the one before."""

    says = "The device is leaving a release that it gave up, and waits for its restart."
    hint = "Let the device restart first, then put the stick in again."


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
