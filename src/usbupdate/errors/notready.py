"""Fail closed: something is missing or unreadable without which nothing may be installed."""

from __future__ import annotations

from dataclasses import dataclass

from usbupdate.errors.tree import ExitCode, UsbupdateError


class NotReadyError(UsbupdateError):
    """Fail closed: something without which nothing may be installed is missing or unreadable."""

    exit_code = ExitCode.NOT_READY


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
class ExposedError(NotReadyError):
    """Others than root can change, or look into, something that an installation relies on."""

    place: str
    problem: str
    says = "This device does not rely on {place}: it {problem}."
    hint = "Find out who has used that. 'usbupdate device check' says how to close it; nothing is installed until then."


@dataclass(eq=False)
class UnpackerMissingError(NotReadyError):
    """The process that takes compressed data apart does not start, or cannot give up its rights."""

    problem: str
    says = "The process that unpacks releases does not start: {problem}."
    hint = "Find out what this release of the device lacks with 'usbupdate device check'; nothing is installed until then."


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
class LedgerError(NotReadyError):
    """A receipt could not be appended to the ledger; it is kept in the state file."""

    problem: str
    says = "The ledger failed: {problem}."
    hint = "Free space on the state partition; nothing is installed until receipts can be written."


class LedgerShareError(NotReadyError):
    """Refusals have used up their share of the ledger; from then on they are only counted in the state file."""

    says = "The ledger keeps the rest of its room for the outcomes of updates."
    hint = "Find out who keeps inserting bad sticks into this device."


@dataclass(eq=False)
class LedgerFullError(NotReadyError):
    """There is no room for the receipts of another attempt."""

    says = "The device's ledger has no room for the receipts of another update."
    hint = "Bring the receipts to the office on a stick and have the device looked at; free space on its state partition."


@dataclass(eq=False)
class StoreFailedError(NotReadyError):
    """The state file could not be saved, so nothing further may be done."""

    path: str
    problem: str
    says = "The device's state could not be saved: {path}: {problem}."
    hint = "Free or mend the state partition, then restart the device."


@dataclass(eq=False)
class DeviceUnfitError(NotReadyError):
    """`device check` found something that an update needs and this device lacks."""

    count: int
    says = "{count} thing(s) that an update needs are not in order."
    hint = "Mend what the lines above name, then run the check again."
