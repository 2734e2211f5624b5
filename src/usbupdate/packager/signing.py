"""Proposals and signatures: what waits, who is missing, and what follows once a threshold is met.

Root lends its authority to targets, targets to snapshot, snapshot to timestamp: each is made only when the one before is whole.
Every step may be cut short or lack a key; the next call goes on from the files as they stand.

Source: design, section 3, "Thresholds over separate sessions".
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from usbupdate.core.rootrules import SIGNED_TIME
from usbupdate.core.timefloor import format_time
from usbupdate.errors import OfficeClockError
from usbupdate.packager.metadata import Role
from usbupdate.packager.thresholds import TARGETS_FILE, Missing, authority_of, is_listing, is_naming, is_whole, missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key, Signature

    from usbupdate.packager.keyring import KeyRing
    from usbupdate.packager.metadata import MetadataFolder

_Kind = TypeVar("_Kind", Root, Targets, Snapshot, Timestamp)
EVERY_ROLE: Final = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Signatures:
    """What a session did: the roles that a key id signed, and the key ids whose signatures stood already."""

    added: list[tuple[Role, str]] = field(default_factory=list)
    standing: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Desk:
    """One person's session: the metadata, the keys within reach, and the time it is.

    `lifetimes` are in days.
    """

    folder: MetadataFolder
    lifetimes: Mapping[Role, int]
    ring: KeyRing
    now: datetime
    signatures: Signatures = field(default_factory=Signatures)

    def open_keys(self, roles: Collection[Role] = EVERY_ROLE) -> None:
        """Open the keys that may have to sign for these roles, so that a wrong passphrase or Ctrl-C comes before any change.

        Root counts only while a root waits.

        Raises:
            OfficeKeyError: a key that was given did not open, or a passphrase fits none.
        """
        waiting, published = self.folder.staged_root(), self.folder.root()
        wanted: dict[str, Key] = {}
        for root in (waiting, published):
            for role in roles:
                if root is not None and (role is not Role.ROOT or waiting is not None):
                    wanted |= {each: root.signed.keys[each] for each in root.signed.roles[role].keyids}
        self.ring.reach(wanted.values())

    def expiry(self, role: Role) -> datetime:
        """Return when metadata of a role that is made now ends."""
        return self.now + timedelta(days=self.lifetimes[role])

    def advance(self, renew: Collection[Role] = frozenset(), only: Collection[Role] = EVERY_ROLE) -> tuple[Missing, ...]:
        """Sign with every key within reach, publish what is whole, and return what is still missing.

        Args:
            renew: snapshot or timestamp, to be made anew although nothing has changed, if one of their keys is within reach.
            only: the roles to sign for; what waits of others goes on waiting.

        Raises:
            OfficeClockError: this computer's clock is behind what was signed.
            OfficeKeyError: a key that was given for this occasion did not sign.
        """
        if Role.ROOT in only:
            self._advance_root()
        authority = authority_of(self.folder)
        if Role.TARGETS in only:
            self._advance_targets(authority)
        if Role.SNAPSHOT in only:
            self._advance_snapshot(authority, anew=self._can_renew(authority, Role.SNAPSHOT, renew))
        if Role.TIMESTAMP in only:
            self._advance_timestamp(authority, anew=self._can_renew(authority, Role.TIMESTAMP, renew))
        return tuple(replace(each, unopened=self.ring.unopened(each.keys)) for each in missing(self.folder))

    def stage_root(self, root: Root) -> None:
        """Propose a root: whatever waited in its place, with its signatures, is gone."""
        root.expires = self.expiry(Role.ROOT)
        root.unrecognized_fields[SIGNED_TIME] = self._time_of_root()
        self.folder.stage(Metadata(root))

    def stage_targets(self, targets: Targets) -> None:
        """Propose targets: whatever waited in their place, with its signatures, is gone."""
        targets.expires = self.expiry(Role.TARGETS)
        self.folder.stage(Metadata(targets))

    def propose_targets(self, targets: Targets) -> tuple[Missing, ...]:
        """Propose targets and advance; if that is stopped before they are published, what waited before waits again.

        A list that is published already is no proposal: nothing waits then.

        Raises:
            OfficeError: as `advance`; nothing is proposed.
        """
        before, published = self.folder.staged_targets(), self.folder.targets()
        is_done = False
        try:
            if published is not None and _same_list(published.signed, targets):
                self.folder.drop(Role.TARGETS)
            else:
                self.stage_targets(targets)
            found = self.advance()
            is_done = True
        finally:
            if not is_done and self.folder.staged_targets() is not None:
                self.folder.drop(Role.TARGETS)
                if before is not None:
                    self.folder.stage(before)
        return found

    def _advance_root(self) -> None:
        waiting, published = self.folder.staged_root(), self.folder.root()
        if waiting is None:
            return
        previous = published.signed if published is not None else None
        self._sign(waiting, _root_keys(waiting.signed, previous))
        if waiting.signed.get_root_verification_result(previous, waiting.signed_bytes, waiting.signatures):
            self.folder.publish(waiting)

    def _advance_targets(self, authority: Root) -> None:
        waiting, published = self.folder.staged_targets(), self.folder.targets()
        if waiting is None and published is not None and not is_whole(authority, published):
            # Other people answer for targets now: they sign the same list again.
            again = deepcopy(published.signed)
            again.version += 1
            self.stage_targets(again)
            waiting = self.folder.staged_targets()
        if waiting is not None:
            self._sign_and_publish(authority, waiting)

    def _advance_snapshot(self, authority: Root, *, anew: bool) -> None:
        targets, published = self.folder.targets(), self.folder.snapshot()
        if targets is None or not is_whole(authority, targets) or self.folder.root() is None:
            return
        waiting = self.folder.staged_snapshot()
        is_current = published is not None and is_whole(authority, published) and is_listing(published.signed, targets.signed)
        if is_current and not anew and (waiting is None or not is_listing(waiting.signed, targets.signed)):
            return
        if waiting is None or not is_listing(waiting.signed, targets.signed):
            # A role that was listed once stays listed: devices reject a snapshot that has lost one.
            listed = dict(published.signed.meta) if published is not None else {}
            listed[TARGETS_FILE] = self._pinned(Role.TARGETS, targets.signed.version)
            version = published.signed.version + 1 if published is not None else 1
            waiting = Metadata(Snapshot(version=version, expires=self.expiry(Role.SNAPSHOT), meta=listed))
            self.folder.stage(waiting)
        self._sign_and_publish(authority, waiting)

    def _advance_timestamp(self, authority: Root, *, anew: bool) -> None:
        snapshot, published = self.folder.snapshot(), self.folder.timestamp()
        if snapshot is None or not is_whole(authority, snapshot) or self.folder.root() is None:
            return
        waiting = self.folder.staged_timestamp()
        is_current = published is not None and is_whole(authority, published) and is_naming(published.signed, snapshot.signed)
        if is_current and not anew and (waiting is None or not is_naming(waiting.signed, snapshot.signed)):
            return
        if waiting is None or not is_naming(waiting.signed, snapshot.signed):
            timestamp = Timestamp(
                version=published.signed.version + 1 if published is not None else 1,
                expires=self.expiry(Role.TIMESTAMP),
                snapshot_meta=self._pinned(Role.SNAPSHOT, snapshot.signed.version),
                unrecognized_fields={SIGNED_TIME: self._time_of_timestamp(authority)},
            )
            waiting = Metadata(timestamp)
            self.folder.stage(waiting)
        self._sign_and_publish(authority, waiting)

    def _can_renew(self, authority: Root, role: Role, renew: Collection[Role]) -> bool:
        # A proposal that nobody here can sign would only stand in the way.
        return role in renew and any(self.ring.signer(authority.keys[each]) for each in authority.roles[role].keyids)

    def _pinned(self, role: Role, version: int) -> MetaFile:
        """Return what names a published file down to its last byte, so that not even a blank on a stick can differ."""
        return MetaFile.from_data(version, self.folder.version(role, version).read_bytes(), ["sha256"])

    def _sign_and_publish(self, authority: Root, waiting: Metadata[_Kind]) -> None:
        role = Role(waiting.signed.type)
        self._sign(waiting, [authority.keys[each] for each in authority.roles[role].keyids])
        # Before the first root is whole there is nobody whose word counts, however many have signed.
        if self.folder.root() is not None and is_whole(authority, waiting):
            self.folder.publish(waiting)

    def _sign(self, waiting: Metadata[_Kind], keys: Iterable[Key]) -> None:
        """Add the signatures of the keys within reach, keep no others than valid ones of those keys, and save that."""
        before = dict(waiting.signatures)
        waiting.signatures.clear()
        payload = waiting.signed_bytes
        for key in keys:
            if key.keyid in before and _valid(key, payload, before[key.keyid]):
                waiting.signatures[key.keyid] = before[key.keyid]
                self.signatures.standing.add(key.keyid)
            elif (signer := self.ring.signer(key)) is not None:
                try:
                    signature = waiting.sign(signer, append=True)
                except UnsignedMetadataError as error:
                    # What a token says has a class and no text.
                    answer = str(error.__cause__ or error) or type(error.__cause__).__name__
                    self.ring.give_up(key, f"it did not sign: {answer}".removesuffix("."))
                    continue
                # A token that was changed behind our back signs all the same, with another key.
                if _valid(key, payload, signature):
                    self.signatures.added.append((Role(waiting.signed.type), key.keyid))
                else:
                    del waiting.signatures[key.keyid]
                    self.ring.give_up(key, "what it signed does not verify under the key that the repository knows")
        if waiting.signatures != before:
            self.folder.stage(waiting)

    def _time_of_root(self) -> str:
        # A far too late timestamp must not stand in the way of the rotation that cures it.
        root = self.folder.root()
        return self._not_before([root.signed.unrecognized_fields.get(SIGNED_TIME)] if root is not None else [])

    def _time_of_timestamp(self, authority: Root) -> str:
        published = self.folder.timestamp()
        believed = [authority.unrecognized_fields.get(SIGNED_TIME)]
        if published is not None and is_whole(authority, published):
            believed.append(published.signed.unrecognized_fields.get(SIGNED_TIME))
        return self._not_before(believed)

    def _not_before(self, believed: Sequence[object]) -> str:
        """Return the time to sign, which is never before one that devices have believed."""
        now = format_time(self.now)
        newest = max((str(each) for each in believed if each is not None), default="")
        if newest > now:
            raise OfficeClockError(now=now, signed=newest)
        return now


def _root_keys(root: Root, previous: Root | None) -> list[Key]:
    keys = {each: root.keys[each] for each in root.roles[Role.ROOT].keyids}
    if previous is not None:
        keys |= {each: previous.keys[each] for each in previous.roles[Role.ROOT].keyids}
    return [keys[each] for each in sorted(keys)]


def _same_list(published: Targets, proposed: Targets) -> bool:
    return (published.targets, published.delegations, published.unrecognized_fields) == (
        proposed.targets,
        proposed.delegations,
        proposed.unrecognized_fields,
    )


def _valid(key: Key, payload: bytes, signature: Signature) -> bool:
    try:
        key.verify_signature(signature, payload)
    except UnverifiedSignatureError:
        return False
    return True
