"""Who has signed what, measured against thresholds: from the files alone, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from usbupdate.errors import OfficeFileError
from usbupdate.packager.metadata import Role

if TYPE_CHECKING:
    from usbupdate.packager.keyring import Unopened
    from usbupdate.packager.metadata import MetadataFolder

_Kind = TypeVar("_Kind", Root, Targets, Snapshot, Timestamp)
TARGETS_FILE: Final = "targets.json"
ONLINE: Final = frozenset({Role.SNAPSHOT, Role.TIMESTAMP})
"""The roles that say only which state is the present one, and are made anew without anybody's deciding."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A role that is not signed by enough people: how many more at least, and the key ids of those who could.

    `unopened` are those of its keys that lie at this computer and could not be used.
    """

    role: Role
    needed: int
    keys: tuple[str, ...]
    unopened: tuple[Unopened, ...] = ()


def authority_of(folder: MetadataFolder) -> Root:
    """Return the root that says whose signatures count: the newest published one, or the first, which waits.

    Raises:
        OfficeFileError: there is none.
    """
    root = folder.root() or folder.staged_root()
    if root is None:
        raise OfficeFileError(path=str(folder.published), problem="there is no root metadata")
    return root.signed


def missing(folder: MetadataFolder) -> tuple[Missing, ...]:
    """Return every role that is not signed by enough people."""
    authority = authority_of(folder)
    published = folder.root()
    found = []
    if (root := folder.staged_root()) is not None:
        previous = published.signed if published is not None else None
        result = root.signed.get_root_verification_result(previous, root.signed_bytes, root.signatures)
        needed = max(result.first.missing, result.second.missing)
        found.append(Missing(Role.ROOT, needed, tuple(sorted(result.unsigned))))
    if (targets := folder.staged_targets() or folder.targets()) is not None:
        found.append(_missing(authority, targets))
    # A list that everybody has signed counts as published: only a command that publishes it has still to run.
    if published is not None and targets is not None and is_whole(authority, targets):
        snapshot = folder.staged_snapshot() or folder.snapshot()
        listed = snapshot is not None and is_listing(snapshot.signed, targets.signed)
        found.append(_missing(authority, snapshot if listed else None, Role.SNAPSHOT))
        timestamp = folder.staged_timestamp() or folder.timestamp()
        named = listed and timestamp is not None and snapshot is not None and is_naming(timestamp.signed, snapshot.signed)
        found.append(_missing(authority, timestamp if named else None, Role.TIMESTAMP))
    return tuple(each for each in found if each.needed)


def in_the_way(folder: MetadataFolder) -> tuple[Missing, ...]:
    """Return what of `missing` keeps sticks from being written.

    A root that is being discussed changes nothing about the present one, under which sticks go on being made; nor does a newer
    snapshot or timestamp of a state that is signed already.
    """

    def may_wait(role: Role) -> bool:
        if role is Role.ROOT:
            return folder.root() is not None
        return role in ONLINE and is_publication_whole(folder)

    return tuple(each for each in missing(folder) if not may_wait(each.role))


def signers(folder: MetadataFolder, role: Role) -> tuple[int, bool]:
    """Return how many keys of a role have signed what waits, and True; or what is published, and False."""
    authority = authority_of(folder)
    waiting, published = {
        Role.ROOT: (folder.staged_root(), folder.root()),
        Role.TARGETS: (folder.staged_targets(), folder.targets()),
        Role.SNAPSHOT: (folder.staged_snapshot(), folder.snapshot()),
        Role.TIMESTAMP: (folder.staged_timestamp(), folder.timestamp()),
    }[role]
    metadata = waiting or published
    if metadata is None:
        return 0, False
    own = metadata.signed if isinstance(metadata.signed, Root) else authority
    result = own.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return len(result.signed), waiting is not None


def is_publication_whole(folder: MetadataFolder) -> bool:
    """Tell whether what is published is signed from root to timestamp, whatever else waits."""
    root, targets, snapshot, timestamp = folder.root(), folder.targets(), folder.snapshot(), folder.timestamp()
    if root is None or targets is None or snapshot is None or timestamp is None:
        return False
    is_linked = is_listing(snapshot.signed, targets.signed) and is_naming(timestamp.signed, snapshot.signed)
    return is_linked and all(
        (is_whole(root.signed, targets), is_whole(root.signed, snapshot), is_whole(root.signed, timestamp))
    )


def _missing(authority: Root, metadata: Metadata[_Kind] | None, role: Role | None = None) -> Missing:
    if metadata is None:
        of = authority.roles[role or Role.TARGETS]
        return Missing(role or Role.TARGETS, of.threshold, tuple(sorted(of.keyids)))
    name = Role(metadata.signed.type)
    result = authority.get_verification_result(name, metadata.signed_bytes, metadata.signatures)
    return Missing(name, result.missing, tuple(sorted(result.unsigned)))


def is_whole(authority: Root, metadata: Metadata[_Kind]) -> bool:
    """Tell whether a role's threshold of the keys that `authority` names has signed."""
    return bool(authority.get_verification_result(metadata.signed.type, metadata.signed_bytes, metadata.signatures))


def is_listing(snapshot: Snapshot, targets: Targets) -> bool:
    """Tell whether a snapshot is that of this targets metadata."""
    return snapshot.meta[TARGETS_FILE].version == targets.version if TARGETS_FILE in snapshot.meta else False


def is_naming(timestamp: Timestamp, snapshot: Snapshot) -> bool:
    """Tell whether a timestamp is that of this snapshot."""
    return timestamp.snapshot_meta.version == snapshot.version
