"""What keeps a repository alive: refreshing what ends soon, and saying what ends when, who can sign, what a lost key costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from usbupdate.core.plaintext import counted
from usbupdate.core.timefloor import format_time
from usbupdate.packager import keys, thresholds
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from securesystemslib.signer import Key
    from tuf.api.metadata import Root

    from usbupdate.packager.keyring import KeyRing
    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing


_BELOW_ROOT: Final = (Role.TARGETS, Role.SNAPSHOT, Role.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key of a role: its id, where it is to be found, whether that is within reach now, and what keeps it from signing."""

    id: str
    reference: str
    within_reach: bool
    problem: str


@dataclass(frozen=True, slots=True)
class RoleState:
    """One role as it is published; version 0 and no expiry if it is not yet.

    `losable` is how many of its keys can be lost before nobody can sign for it any more, `stealable` how many can be stolen
    before the thief can. `signed` is how many have signed what `waits`, or else what is published.
    """

    role: Role
    version: int
    expires: str | None
    days_left: int | None
    threshold: int
    keys: tuple[KeyState, ...]
    losable: int
    stealable: int
    signed: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Checkup:
    """The whole state of a repository; `advice` are sentences for a person, the most urgent first.

    `first_to_end` is the role that ends the life of every stick that is written now, and `next_renewal` the one that has to be
    renewed next and the day; neither is there before everything is published. `in_the_way` is what keeps sticks from being
    written until it is signed.
    """

    roles: tuple[RoleState, ...]
    missing: tuple[Missing, ...]
    advice: tuple[str, ...]
    first_to_end: RoleState | None
    next_renewal: tuple[Role, str] | None
    in_the_way: tuple[Missing, ...]


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


def renew_targets(office: Office, now: datetime, ask: Passphrases = keys.no_passphrase) -> tuple[Missing, ...]:
    """Propose the present list of bundles with a new end and sign it with each key within reach; one that waits is only signed.

    Raises:
        OfficeKeyError: a passphrase fits no key; nothing was signed.
        OfficeError: the repository or this computer's clock does not allow it.
    """
    desk = office.desk(now, ask)
    desk.open_keys()
    published = office.metadata.targets()
    if published is not None and office.metadata.staged_targets() is None:
        published.signed.version += 1
        desk.stage_targets(published.signed)
    return desk.advance()


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
    ending = []
    for role in Role:
        published = _published(office, role)
        signed, waits = thresholds.signers(office.metadata, role)
        own = tuple(_key_state(office, ring, root.keys[each]) for each in root.roles[role].keyids)
        states.append(
            RoleState(
                role=role,
                version=published[0] if published is not None else 0,
                expires=format_time(published[1]) if published is not None else None,
                days_left=(published[1] - now).days if published is not None else None,
                threshold=root.roles[role].threshold,
                keys=own,
                losable=len(own) - root.roles[role].threshold,
                stealable=root.roles[role].threshold - 1,
                signed=signed,
                waits=waits,
            )
        )
        if published is not None:
            ending.append((published[1], states[-1]))
    # With an excerpt nobody can do more than sign what was put into it.
    waiting = {state.role for state in states if state.waits}
    missing = tuple(each for each in thresholds.missing(office.metadata) if not office.is_excerpt or each.role in waiting)
    whole = len(ending) == len(Role)
    due = min((end - timedelta(days=_warn_days(office, state.role)), state.role) for end, state in ending) if whole else None
    return Checkup(
        roles=tuple(states),
        missing=missing,
        advice=tuple(_advice(office, root, states, missing)),
        first_to_end=min(ending, key=lambda each: each[0])[1] if whole else None,
        next_renewal=(due[1], format_time(due[0])) if due is not None else None,
        in_the_way=() if office.is_excerpt else thresholds.in_the_way(office.metadata),
    )


def _key_state(office: Office, ring: KeyRing, key: Key) -> KeyState:
    reach = ring.signer(key) is not None
    problem = next((each.problem for each in ring.unopened({key.keyid})), "")
    return KeyState(key.keyid, office.reference(key.keyid), reach, problem)


def _published(office: Office, role: Role) -> tuple[int, datetime] | None:
    folder = office.metadata
    found = {
        Role.ROOT: folder.root,
        Role.TARGETS: folder.targets,
        Role.SNAPSHOT: folder.snapshot,
        Role.TIMESTAMP: folder.timestamp,
    }[role]()
    return (found.signed.version, found.signed.expires) if found is not None else None


def renewal_of(role: Role) -> str:
    """Return the command that renews a role before it ends."""
    return {
        Role.ROOT: "'usbupdate repo rotate', signed with root keys",
        Role.TARGETS: "'usbupdate repo refresh --targets', signed with targets keys",
        Role.SNAPSHOT: "'usbupdate repo refresh'",
        Role.TIMESTAMP: "'usbupdate repo refresh'",
    }[role]


def _warn_days(office: Office, role: Role) -> int:
    return office.settings.lifetimes[role] // 4


def _advice(office: Office, root: Root, states: list[RoleState], missing: tuple[Missing, ...]) -> Iterator[str]:
    by_role = {state.role: state for state in states}
    for state in states:
        if state.days_left is not None and state.days_left < _warn_days(office, state.role):
            when = (
                f"ends in {counted(state.days_left, 'day')}"
                if state.days_left >= 0
                else "HAS ENDED, and devices take no new stick"
            )
            yield f"{state.role} {when}: renew it with {renewal_of(state.role)}."
    signable = [each.role for each in missing if _reachable(by_role[each.role], each) >= each.needed]
    if signable:
        yield f"Keys for what waits ({', '.join(signable)}) are within reach: run 'usbupdate repo sign'."
    if unreached := [each.role for each in missing if each.role not in signable]:
        waits = ", ".join(unreached)
        yield f"What waits ({waits}) needs keys that are not within reach: their holders run 'usbupdate repo sign'."
    for state in states:
        if state.losable == 0 and state.role is Role.ROOT:
            yield "If one root key is lost, no device can be told of new keys: add root keys with 'usbupdate repo rotate'."
    for role in (Role.ROOT, Role.TARGETS):
        if any(office.reference(each).startswith(f"{KEYS}/") for each in root.roles[role].keyids):
            yield f"The {role} key lies inside the repository: move it to a place that is not connected, or to a token."
    for keyid in sorted(set(root.roles[Role.ROOT].keyids) & {each for role in _BELOW_ROOT for each in root.roles[role].keyids}):
        others = ", ".join(role for role in _BELOW_ROOT if keyid in root.roles[role].keyids)
        yield f"Key {keyid[:8]} ({office.reference(keyid)}) signs for root and for {others}: a root key should do nothing else."


def _reachable(state: RoleState, missing: Missing) -> int:
    return sum(key.within_reach for key in state.keys if key.id in missing.keys)
