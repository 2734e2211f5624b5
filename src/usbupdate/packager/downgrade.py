"""Downgrade authorisations: given to one device for one older bundle, listed, withdrawn.

One is a target beside the manifests, proposed and signed like them. Numbers of a device only rise, over everything that was
ever proposed: a device takes none that is not above the last one that it used.

Source: design, section 3, "Rollback".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from usbupdate.core import authorisation as authorisations
from usbupdate.core.authorisation import NUMBER_MAX, TICKET, Authorisation, parse_name, target_name
from usbupdate.core.timefloor import format_time
from usbupdate.core.words import DEVICE_ID, SEQUENCE_MAX, DeviceId, Digest
from usbupdate.errors import (
    AuthorisationNumberError,
    NoSuchAuthorisationError,
    NoSuchBundleError,
    NothingToLiftError,
    UnusableValueError,
)
from usbupdate.packager import bundle, keys, targetfiles
from usbupdate.packager.settings import LIFETIME_MAX

if TYPE_CHECKING:
    from datetime import datetime

    from tuf.api.metadata import TargetFile

    from usbupdate.packager.bundle import Bundle
    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing

DAYS: Final = 30
"""How long an authorisation counts, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a release engineer asks for.

    `bundle` is a name with a sequence, such as `gateway-7`. Without `number` it is the next one of the device, without `floor`
    the highest sequence ever published for that hardware.
    """

    device: str
    fingerprint: Digest
    bundle: str
    ticket: str
    days: int = DAYS
    number: int | None = None
    floor: int | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """An authorisation of the repository, and whether sticks would carry it now.

    `bundle` is what the device may go back to, None if that is not offered any more. `leaving` is True while a list without the
    authorisation waits for signatures.
    """

    authorisation: Authorisation
    sha256: Digest
    bundle: Bundle | None
    published: bool
    leaving: bool = False

    def has_ended(self, now: datetime) -> bool:
        """Tell whether no device takes it any more, as far as this computer's clock tells."""
        return self.authorisation.expires <= format_time(now)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a change: the authorisations, and who still has to sign."""

    allowances: tuple[Allowance, ...]
    missing: tuple[Missing, ...]


def allow(office: Office, wish: Wish, now: datetime, ask: Passphrases = keys.no_passphrase) -> Change:
    """Propose an authorisation as a target, signed with every key within reach.

    Raises:
        OfficeKeyError: a passphrase fits no key; the repository is as it was.
        InputError: a value cannot be used; as above.
        NoSuchBundleError: the bundle is not offered; as above.
        NothingToLiftError: the device takes the bundle as it is; as above.
        AuthorisationNumberError: a number as high as that was given already; as above.
    """
    made = _authorisation(office, wish, now)
    desk = office.desk(now, ask)
    desk.open_keys()
    _, missing = targetfiles.propose(office, desk, made.name, authorisations.encode(made))
    found = tuple(each for each in listed(office) if each.authorisation == made)
    return Change(found, missing)


def listed(office: Office) -> tuple[Allowance, ...]:
    """Return every authorisation that is offered or waits for signatures, by device and rising number.

    Raises:
        OfficeFileError: an authorisation or a manifest is missing or damaged.
    """
    published, waiting = office.metadata.targets(), office.metadata.staged_targets()
    offered = published.signed.targets if published is not None else {}
    proposed = waiting.signed.targets if waiting is not None else offered
    found = []
    for name, target in {**offered, **proposed}.items():
        authorisation = authorisation_of(office, target)
        if authorisation is not None:
            digest = Digest(target.hashes["sha256"])
            is_published = offered.get(name) == target
            found.append(Allowance(authorisation, digest, None, is_published, leaving=name not in proposed))
    # A repository without any need not have every manifest in order for that.
    bundles = {each.sha256: each for each in bundle.listed(office)} if found else {}
    named = [replace(each, bundle=bundles.get(each.authorisation.manifest_sha256)) for each in found]
    return tuple(sorted(named, key=lambda each: (each.authorisation.device, each.authorisation.number)))


def withdraw(office: Office, device: str, number: int | None, now: datetime, ask: Passphrases = keys.no_passphrase) -> Change:
    """Propose a list without one authorisation of a device, or without all of them.

    Raises:
        NoSuchAuthorisationError: there is none, or it is being withdrawn already.
    """
    meant = [each for each in listed(office) if each.authorisation.device == device and not each.leaving]
    gone = [each for each in meant if number in {None, each.authorisation.number}]
    if not gone:
        what = f"of {device}" if number is None else target_name(DeviceId(device), number).removesuffix(".json")
        raise NoSuchAuthorisationError(authorisation=what)
    desk = office.desk(now, ask)
    desk.open_keys()
    targets = targetfiles.edited(office)
    for each in gone:
        del targets.targets[each.authorisation.name]
    missing = desk.propose_targets(targets)
    still = {each.authorisation.name for each in listed(office)}
    return Change(tuple(replace(each, leaving=each.authorisation.name in still) for each in gone), missing)


def authorisation_of(office: Office, target: TargetFile) -> Authorisation | None:
    """Return the authorisation that a target is, or None for a target of another kind.

    Raises:
        OfficeFileError: its file is missing or damaged.
    """
    if parse_name(target.path) is None:
        return None
    return targetfiles.read(office, target, authorisations.decode)


def _authorisation(office: Office, wish: Wish, now: datetime) -> Authorisation:
    """Return what is to be signed, once it is sure that it makes sense."""
    if not DEVICE_ID.fullmatch(wish.device):
        raise UnusableValueError(what="--device", value=wish.device, problem="not lower-case letters, digits and hyphens")
    if not TICKET.fullmatch(wish.ticket):
        raise UnusableValueError(what="--ticket", value=wish.ticket, problem="a ticket is one line of 1 to 200 characters")
    if not 1 <= wish.days <= LIFETIME_MAX:
        raise UnusableValueError(what="--days", value=str(wish.days), problem=f"not 1 to {LIFETIME_MAX} days")
    device = DeviceId(wish.device)
    found = next((each for each in bundle.listed(office) if each.target == f"{wish.bundle}.json" and not each.leaving), None)
    if found is None:
        raise NoSuchBundleError(bundle=wish.bundle)
    floor = wish.floor if wish.floor is not None else bundle.highest_published(office, found.manifest)
    if not 1 <= floor <= SEQUENCE_MAX:
        raise UnusableValueError(what="--floor", value=str(floor), problem="it is no sequence of a bundle")
    if floor <= found.manifest.sequence:
        raise NothingToLiftError(bundle=wish.bundle, floor=floor)
    return Authorisation(
        device=device,
        fingerprint=wish.fingerprint,
        number=_number(office, device, wish.number),
        manifest_sha256=found.sha256,
        floor=floor,
        ticket=wish.ticket,
        expires=format_time(now + timedelta(days=wish.days)),
    )


def _number(office: Office, device: DeviceId, wanted: int | None) -> int:
    """Return the number of a device's next authorisation, which is above every one that was ever proposed."""
    named = (parse_name(name) for metadata in office.metadata.all_targets() for name in metadata.signed.targets)
    highest = max((found[1] for found in named if found is not None and found[0] == device), default=0)
    number = highest + 1 if wanted is None else wanted
    if not 1 <= number <= NUMBER_MAX:
        raise UnusableValueError(what="--number", value=str(number), problem=f"not 1 to {NUMBER_MAX}")
    if number <= highest:
        raise AuthorisationNumberError(number=number, device=device, highest=highest)
    return number
