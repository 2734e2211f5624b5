"""Enrolling: the auditor says which key is a device's, best by the fingerprint that the device showed at provisioning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from usbupdate import plainfile
from usbupdate.audit.copies import find_copies, is_archive
from usbupdate.audit.devices import Devices, Enrolment, Former, Trust
from usbupdate.core import identity as identity_form
from usbupdate.core.identity import IDENTITY_SIZE_MAX, read_fingerprint
from usbupdate.core.layout import IDENTITY
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import (
    DeviceNotThereError,
    EnrolledKeyDiffersError,
    FingerprintDiffersError,
    MalformedError,
    NoEvidenceError,
    UnusableFileError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.identity import Identity
    from usbupdate.core.words import Digest


def key_of(device: str, place: Path) -> Digest:
    """Return the fingerprint of a device's key, as an auditor's folder or the device's own word has it.

    Args:
        device: whose.
        place: a folder of enrolled devices; else an `identity.json`, or whatever `find_copies` takes.

    Raises:
        DeviceNotThereError: the place names other devices only.
        UnusableFileError, NoEvidenceError: the place names no device.
        EnrolmentUnreadableError: the auditor's record of the device is damaged.
    """
    if place.is_dir() and DEVICE_ID.fullmatch(device) and (known := Devices(place).get(DeviceId(device))) is not None:
        return known.identity.fingerprint
    for each in _identities(place):
        if each.device == device:
            return each.fingerprint
    raise DeviceNotThereError(device=device, path=str(place))


@dataclass(frozen=True, slots=True)
class Replacement:
    """Who replaces a device's key, and when (UTC); it goes into the record."""

    by: str
    at: str


def enrol(
    place: Path, devices: Devices, *, device: str | None, fingerprint: str | None, replacement: Replacement | None = None
) -> list[Enrolment]:
    """Enrol the devices that a place names, and return them.

    Args:
        place: an `identity.json`, or whatever `find_copies` takes.
        devices: where to remember them.
        device: only this one.
        fingerprint: as shown at provisioning, upper or lower case, with or without blanks and colons; without it the word of
            the place is taken and remembered as trust on first use.
        replacement: whose word it is that a device which is enrolled has another key now; needs the fingerprint.

    Raises:
        UnusableFileError, NoEvidenceError: the place names no device.
        UnusableValueError: the fingerprint is none.
        DeviceNotThereError: the place does not name the device that was asked for.
        FingerprintDiffersError: no key there has this fingerprint; nobody was enrolled.
        EnrolledKeyDiffersError: a device is enrolled with another key; nobody was enrolled.
    """
    wanted = None if fingerprint is None else read_fingerprint(fingerprint)
    identities = _identities(place)
    if device is not None:
        identities = [each for each in identities if each.device == device]
        if not identities:
            raise DeviceNotThereError(device=device, path=str(place))
    if wanted is not None:
        first = identities[0]
        identities = [each for each in identities if each.fingerprint == wanted]
        if not identities:
            raise FingerprintDiffersError(device=first.device, found=first.fingerprint, given=wanted)
    enrolments = [
        _enrolment(each, devices.get(each.device), proven=wanted is not None, replacement=replacement) for each in identities
    ]
    for enrolment in enrolments:
        devices.save(enrolment)
    return enrolments


def _enrolment(identity: Identity, known: Enrolment | None, *, proven: bool, replacement: Replacement | None) -> Enrolment:
    """Return what to remember; what was seen of a device stays, and a fingerprint once compared stays compared."""
    trust = Trust.FINGERPRINT if proven else Trust.FIRST_USE
    if known is None:
        return Enrolment(identity, trust)
    if known.identity != identity and replacement is not None and proven:
        before = Former(known.identity, known.trust, known.leaves, replacement.by, replacement.at)
        return Enrolment(identity, trust, (), (*known.former, before))
    if known.identity != identity:
        raise EnrolledKeyDiffersError(device=identity.device, found=identity.fingerprint, enrolled=known.identity.fingerprint)
    return replace(known, trust=Trust.FINGERPRINT if proven else known.trust)


def _identities(place: Path) -> list[Identity]:
    """Return the identities in a place, each once."""
    if place.is_file() and not is_archive(place):
        return [_from_file(place)]
    identities: dict[DeviceId, Identity] = {}
    for each in find_copies([place]):
        copy = each.read()
        try:
            identity = identity_form.decode(copy.files.get(IDENTITY, b""))
        except MalformedError:
            continue
        # A folder that bears another device's name is a matter for `verify`, not a way to be enrolled.
        if copy.folder in {None, identity.device}:
            identities[identity.device] = identity
    if not identities:
        raise NoEvidenceError(path=str(place))
    return list(identities.values())


def _from_file(path: Path) -> Identity:
    with plainfile.translated(path):
        raw = plainfile.read(path, IDENTITY_SIZE_MAX + 1)
    try:
        return identity_form.decode(raw)
    except MalformedError as error:
        raise UnusableFileError(path=str(path), problem="not an identity.json of a device") from error
