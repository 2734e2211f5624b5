"""One person's visit to the repository: what waits, in words, and that person's signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usbupdate.packager import keys
from usbupdate.packager.metadata import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tuf.api.metadata import Root

    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.signing import Missing


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a signature would say yes to."""

    role: Role
    text: str


def changes(office: Office) -> tuple[Change, ...]:
    """Return what waits for signatures, as a person must see it before signing."""
    return (*_changes_of_root(office), *_changes_of_targets(office), *_changes_of_online_roles(office))


def sign(
    office: Office, now: datetime, ask: Passphrases = keys.no_passphrase, extra: Sequence[str] = ()
) -> tuple[Missing, ...]:
    """Add the signatures of the keys within reach, publish what is whole, and return who is missing.

    Args:
        office: the repository.
        now: the time it is.
        ask: who is asked for passphrases.
        extra: references of keys to sign with, besides those that the repository knows.

    Raises:
        UselessKeyError: a key of `extra` is nobody's; nothing was signed.
        OfficeKeyError: a key of `extra` cannot be used.
    """
    desk = office.desk(now, ask, extra)
    roots = (office.metadata.root(), office.metadata.staged_root())
    desk.ring.require_known({keyid for root in roots if root is not None for keyid in root.signed.keys})
    return desk.advance()


def _changes_of_root(office: Office) -> Iterator[Change]:
    waiting, published = office.metadata.staged_root(), office.metadata.root()
    if waiting is None:
        return
    before = published.signed if published is not None else None
    yield Change(Role.ROOT, f"version {waiting.signed.version}, until {waiting.signed.expires:%Y-%m-%d}")
    for role in Role:
        old, new = _keys_of(before, role), _keys_of(waiting.signed, role)
        threshold = waiting.signed.roles[role].threshold
        was = before.roles[role].threshold if before is not None else None
        if (old, was) != (new, threshold):
            yield Change(
                Role.ROOT, f"{role}: {threshold} of {len(new)} keys sign{f', before {was} of {len(old)}' if was else ''}"
            )
        for sign_, ids in (("+", new - old), ("-", old - new)):
            for keyid in sorted(ids):
                yield Change(Role.ROOT, f"  {sign_} {role} key {keyid} ({office.reference(keyid)})")


def _changes_of_targets(office: Office) -> Iterator[Change]:
    waiting, published = office.metadata.staged_targets(), office.metadata.targets()
    if waiting is None:
        return
    old = published.signed.targets if published is not None else {}
    new = waiting.signed.targets
    yield Change(
        Role.TARGETS, f"version {waiting.signed.version}, until {waiting.signed.expires:%Y-%m-%d}, {len(new)} target(s)"
    )
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        if name in new:
            yield Change(Role.TARGETS, f"  + {name}, sha256 {new[name].hashes['sha256']}")
        else:
            yield Change(Role.TARGETS, f"  - {name}")


def _changes_of_online_roles(office: Office) -> Iterator[Change]:
    for waiting in (office.metadata.staged_snapshot(), office.metadata.staged_timestamp()):
        if waiting is not None:
            end = f"{waiting.signed.expires:%Y-%m-%d}"
            yield Change(Role(waiting.signed.type), f"version {waiting.signed.version}, until {end}")


def _keys_of(root: Root | None, role: Role) -> frozenset[str]:
    return frozenset(root.roles[role].keyids) if root is not None else frozenset()
