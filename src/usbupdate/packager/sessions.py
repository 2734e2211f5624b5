"""One person's visit to the repository: what waits, in words, and that person's signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.plaintext import counted, printable
from usbupdate.errors import KeySignedNothingError, OfficeFileError
from usbupdate.packager import acknowledgers, bundle, downgrade, keys, thresholds
from usbupdate.packager.metadata import Role
from usbupdate.packager.signing import EVERY_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tuf.api.metadata import Metadata, Root, TargetFile, Targets

    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing

_TEXT_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a signature would say yes to."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visit did: who is still missing, which keys signed for which role, and which had signed before."""

    missing: tuple[Missing, ...]
    added: tuple[tuple[Role, str], ...]
    standing: tuple[str, ...]


def changes(office: Office) -> tuple[Change, ...]:
    """Return what waits for signatures, as a person must see it before signing."""
    waiting, published = office.metadata.staged_root(), office.metadata.root()
    before = published.signed if published is not None else None
    root = (
        (*changes_of_root(office, before, waiting.signed), *_keys_that_stay(office, before, waiting.signed)) if waiting else ()
    )
    return (*root, *_changes_of_targets(office), *_changes_of_online_roles(office))


def sign(office: Office, now: datetime, ask: Passphrases = keys.no_passphrase, extra: Sequence[str] = ()) -> Visit:
    """Add the signatures of the keys within reach, publish what is whole, and return that and who is missing.

    Args:
        office: the repository.
        now: the time it is.
        ask: who is asked for passphrases.
        extra: references of keys to sign with, besides those that the repository knows.

    Raises:
        UselessKeyError: a key of `extra` is nobody's; nothing was signed.
        KeySignedNothingError: nothing that waits asks for a key of `extra`; the others have signed.
        OfficeKeyError: a key of `extra` cannot be used, or a passphrase fits none; nothing was signed.
    """
    desk = office.desk(now, ask, extra)
    roots = (office.metadata.root(), office.metadata.staged_root())
    desk.ring.require_known({keyid for root in roots if root is not None for keyid in root.signed.keys})
    # Of an excerpt nothing can be made but what was put into it.
    waiting = tuple(dict.fromkeys(each.role for each in changes(office)))
    # What was not shown is not signed, whatever lies there.
    only = _staged(office) if office.is_excerpt else EVERY_ROLE.difference({Role.TARGETS} - set(waiting))
    if waiting or thresholds.missing(office.metadata):
        desk.open_keys()
    else:
        desk.ring.reach(())
    missing = tuple(each for each in desk.advance(only=only) if each.role in only)
    done = {keyid for _, keyid in desk.signatures.added} | desk.signatures.standing
    for keyid, reference in desk.ring.given.items():
        if waiting and keyid not in done:
            raise KeySignedNothingError(key=reference, waiting=", ".join(waiting))
    return Visit(missing, tuple(desk.signatures.added), tuple(sorted(desk.signatures.standing)))


def changes_of_root(office: Office, before: Root | None, after: Root) -> Iterator[Change]:
    """Yield how a root differs from the one before."""
    yield _change(Role.ROOT, f"version {after.version}, until {after.expires:%Y-%m-%d}")
    for role in Role:
        old, new = _keys_of(before, role), _keys_of(after, role)
        threshold = after.roles[role].threshold
        was = before.roles[role].threshold if before is not None else None
        if (old, was) != (new, threshold):
            whose = "" if role is Role.ROOT else f"{role} "
            yield _change(
                Role.ROOT, f"{whose}needs {threshold} of {len(new)} keys{f', before {was} of {len(old)}' if was else ''}"
            )
        for sign_, ids in (("+", new - old), ("-", old - new)):
            for keyid in sorted(ids):
                yield _change(Role.ROOT, f"  {sign_} {role} key {keyid} ({office.reference(keyid)})")


def _keys_that_stay(office: Office, before: Root | None, after: Root) -> Iterator[Change]:
    """Yield the keys that do not change: whoever forged the root before would have theirs among them."""
    for role in Role:
        for keyid in sorted(_keys_of(before, role) & _keys_of(after, role)):
            yield _change(Role.ROOT, f"  = {role} key {keyid} ({office.reference(keyid)})")


def _changes_of_targets(office: Office) -> Iterator[Change]:
    waiting, published = office.metadata.staged_targets(), office.metadata.targets()
    if waiting is None:
        yield from _list_to_sign_again(office, published)
        return
    old = published.signed.targets if published is not None else {}
    new = waiting.signed.targets
    yield _change(
        Role.TARGETS,
        f"version {waiting.signed.version}, until {waiting.signed.expires:%Y-%m-%d}, {counted(len(new), 'target')}",
    )
    for text in acknowledgers.changes(published.signed if published is not None else None, waiting.signed):
        yield _change(Role.TARGETS, text)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        # What takes a damaged bundle away must not be stopped by the damage; what adds one must.
        if name in old:
            yield from _changes_of_perhaps_damaged(office, "-", old[name])
        if name in new:
            yield from _changes_of_target(office, "+", new[name])


def _list_to_sign_again(office: Office, published: Metadata[Targets] | None) -> Iterator[Change]:
    """Yield the list of bundles where other people answer for it now, or will with the root that waits: they sign all of it."""
    root = office.metadata.staged_root() or office.metadata.root()
    if published is None or root is None or thresholds.is_whole(root.signed, published):
        return
    listed = published.signed.targets
    yield _change(
        Role.TARGETS,
        f"version {published.signed.version + 1}, the same {counted(len(listed), 'target')} for other people to sign",
    )
    for name in sorted(listed):
        yield from _changes_of_perhaps_damaged(office, "=", listed[name])


def _staged(office: Office) -> frozenset[Role]:
    folder = office.metadata
    waiting = (folder.staged_root(), folder.staged_targets(), folder.staged_snapshot(), folder.staged_timestamp())
    return frozenset(Role(each.signed.type) for each in waiting if each is not None)


def _changes_of_perhaps_damaged(office: Office, sign_: str, target: TargetFile) -> Iterator[Change]:
    try:
        yield from _changes_of_target(office, sign_, target)
    except OfficeFileError:
        yield _change(Role.TARGETS, f"  {sign_} {target.path}, whose manifest cannot be read")


def _changes_of_target(office: Office, sign_: str, target: TargetFile) -> Iterator[Change]:
    """Yield what a signer compares with what was tested: the bundle in words, and each image by its digest."""
    found = bundle.bundle_of(office, target, published=False)
    yield _change(Role.TARGETS, f"  {sign_} {target.path}, sha256 {target.hashes['sha256']}")
    if found is None:
        yield from _changes_of_authorisation(office, target)
        return
    manifest = found.manifest
    only = ", ".join((*manifest.devices, *(f"group {each}" for each in manifest.groups)))
    what = f"{manifest.name}, version {manifest.version}, sequence {manifest.sequence}, for {', '.join(manifest.compatible)}"
    yield _change(Role.TARGETS, f"      {what}{f', only {only}' if only else ''}")
    for each in manifest.artifacts:
        yield _change(Role.TARGETS, f"      image of {each.slot_class}: {each.image.size} bytes, sha256 {each.image.sha256}")


def _changes_of_authorisation(office: Office, target: TargetFile) -> Iterator[Change]:
    allowed = downgrade.authorisation_of(office, target)
    if allowed is None:
        return
    to = next((each for each in bundle.listed(office) if each.sha256 == allowed.manifest_sha256), None)
    what = "a bundle that is not offered" if to is None else f"{to.manifest.name} {to.manifest.version}"
    yield _change(Role.TARGETS, f"      {allowed.device} may go back to {what} from sequence {allowed.floor} or lower")
    yield _change(Role.TARGETS, f"      manifest sha256 {allowed.manifest_sha256}; key of the device {allowed.fingerprint}")
    yield _change(Role.TARGETS, f"      until {allowed.expires}, ticket {allowed.ticket}")


def _changes_of_online_roles(office: Office) -> Iterator[Change]:
    for waiting in (office.metadata.staged_snapshot(), office.metadata.staged_timestamp()):
        if waiting is not None:
            end = f"{waiting.signed.expires:%Y-%m-%d}"
            yield _change(Role(waiting.signed.type), f"version {waiting.signed.version}, until {end}")


def _change(role: Role, text: str) -> Change:
    """Return a change in words that are all seen: what waits may come from anybody, and must not move the cursor."""
    return Change(role, printable(text, _TEXT_MAX))


def _keys_of(root: Root | None, role: Role) -> frozenset[str]:
    return frozenset(root.roles[role].keyids) if root is not None else frozenset()
