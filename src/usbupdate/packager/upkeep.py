"""What keeps a repository alive: refreshing what ends soon, and saying what ends when, who can sign, what a lost key costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from usbupdate.core.timefloor import format_time
from usbupdate.packager import keys, thresholds
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from tuf.api.metadata import Root

    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key of a role: its id, where it is to be found, and whether that is within reach now."""

    id: str
    reference: str
    within_reach: bool


@dataclass(frozen=True, slots=True)
class RoleState:
    """One role as it is published; version 0 and no expiry if it is not yet.

    `losable` is how many of its keys can be lost before nobody can sign for it any more. `signed` is how many have signed what
    `waits`, or else what is published.
    """

    role: Role
    version: int
    expires: str | None
    days_left: int | None
    threshold: int
    keys: tuple[KeyState, ...]
    losable: int
    signed: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Checkup:
    """The whole state of a repository; `advice` are sentences for a person."""

    roles: tuple[RoleState, ...]
    missing: tuple[Missing, ...]
    advice: tuple[str, ...]


def refresh(office: Office, now: datetime, ask: Passphrases = keys.no_passphrase) -> tuple[Missing, ...]:
    """Sign a new timestamp, and a new snapshot when half of its life is over; never targets.

    Returns:
        the roles that are not signed by enough people, those that could not be renewed among them.

    Raises:
        OfficeKeyError: a passphrase fits no key; nothing was signed.
        OfficeError: the repository or this computer's clock does not allow it.
    """
    snapshot = office.metadata.snapshot()
    renew = {Role.TIMESTAMP}
    half_life = timedelta(days=office.settings.lifetimes[Role.SNAPSHOT]) / 2
    if snapshot is not None and snapshot.signed.expires - now <= half_life:
        renew.add(Role.SNAPSHOT)
    desk = office.desk(now, ask)
    desk.open_keys(thresholds.ONLINE)
    before = {role: _published(office, role) for role in renew}
    missing = list(desk.advance(renew, only=thresholds.ONLINE))
    authority = thresholds.authority_of(office.metadata)
    for role in sorted(renew - {each.role for each in missing}):
        if _published(office, role) == before[role]:
            of = authority.roles[role]
            ids = tuple(sorted(of.keyids))
            missing.append(thresholds.Missing(role, of.threshold, ids, desk.ring.unopened(ids)))
    return tuple(missing)


def could_not_renew(missing: Iterable[Missing]) -> tuple[Missing, ...]:
    """Return what a refresh was for and did not reach."""
    return tuple(each for each in missing if each.role in thresholds.ONLINE)


def ends(office: Office) -> dict[Role, tuple[int, str]]:
    """Return the version and the end of every role that is published."""
    found = {role: _published(office, role) for role in Role}
    return {role: (each[0], format_time(each[1])) for role, each in found.items() if each is not None}


def check(office: Office, now: datetime, ask: Passphrases = keys.no_passphrase) -> Checkup:
    """Return what ends when, who can sign, and how many lost keys the repository survives; nothing is changed.

    Raises:
        OfficeFileError: a file of the repository cannot be used.
    """
    root = thresholds.authority_of(office.metadata)
    ring = office.desk(now, ask).ring
    states = []
    for role in Role:
        published = _published(office, role)
        signed, waits = thresholds.signers(office.metadata, role)
        own = tuple(
            KeyState(each, office.reference(each), ring.signer(root.keys[each]) is not None) for each in root.roles[role].keyids
        )
        states.append(
            RoleState(
                role=role,
                version=published[0] if published is not None else 0,
                expires=format_time(published[1]) if published is not None else None,
                days_left=(published[1] - now).days if published is not None else None,
                threshold=root.roles[role].threshold,
                keys=own,
                losable=len(own) - root.roles[role].threshold,
                signed=signed,
                waits=waits,
            )
        )
    return Checkup(tuple(states), thresholds.missing(office.metadata), tuple(_advice(office, root, states)))


def _published(office: Office, role: Role) -> tuple[int, datetime] | None:
    folder = office.metadata
    found = {
        Role.ROOT: folder.root,
        Role.TARGETS: folder.targets,
        Role.SNAPSHOT: folder.snapshot,
        Role.TIMESTAMP: folder.timestamp,
    }[role]()
    return (found.signed.version, found.signed.expires) if found is not None else None


def _advice(office: Office, root: Root, states: list[RoleState]) -> Iterator[str]:
    warn_days = {role: days // 4 for role, days in office.settings.lifetimes.items()}
    for state in states:
        if state.days_left is not None and state.days_left < warn_days[state.role]:
            renewal = "'usbupdate repo refresh'" if state.role in {Role.SNAPSHOT, Role.TIMESTAMP} else "people with its keys"
            yield f"{state.role} ends in {state.days_left} day(s): it has to be renewed by {renewal}."
        if state.losable == 0 and state.role is Role.ROOT:
            yield "If one root key is lost, no device can be told of new keys: add root keys with 'usbupdate repo rotate'."
    for role in (Role.ROOT, Role.TARGETS):
        if any(office.reference(each).startswith(f"{KEYS}/") for each in root.roles[role].keyids):
            yield f"The {role} key lies inside the repository: move it to a place that is not connected, or to a token."
