"""What a device has proven so far, as it lies in a folder: the roots, the latest metadata, and the time floor.

Everything read here is verified again under the newest root: the library would take an empty or broken file for none at all,
and with it all protection against older metadata.

Source: design, section 3, "Staging" and "Time".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from usbupdate.core import timefloor
from usbupdate.core.rootrules import Document, is_signed, read_document, read_root, root_of, signed_time, timestamp_keys
from usbupdate.core.timefloor import Remembered
from usbupdate.errors import ConfiguredRootError, MalformedError, RejectedError, RootConflictError, StoredTrustError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from usbupdate.core.words import Digest

FLOOR: Final = "floor"
ROLES: Final = (Timestamp.type, Snapshot.type, Targets.type)
"""The roles that are stored beside the roots, in the order in which one vouches for the next."""


class TrustFolder(Protocol):
    """A folder of trust as the library keeps it, our time floor beside it. Every method raises OSError when the storage fails.

    One implementation: `usbupdate.trustfiles.TrustFiles`.
    """

    @property
    def directory(self) -> str:
        """The folder, as the library wants it named."""

    def read(self, name: str) -> bytes | None:
        """Return the stored `timestamp`, `snapshot`, `targets` or `floor`, or None if there is none."""

    def drop(self, name: str) -> None:
        """Remove one of these, which is no longer believed."""

    def root_versions(self) -> tuple[int, ...]:
        """Return the versions of the stored roots, rising."""

    def read_root(self, version: int) -> bytes | None:
        """Return a stored root, or None if there is none."""

    def save_floor(self, contents: bytes) -> None:
        """Replace the time floor."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a folder proves: its newest root, the documents under it by role, and what time it is at least."""

    root: Document
    documents: Mapping[str, Document]
    floor: datetime


def newest_stored_root(folder: TrustFolder) -> Document:
    """Return the newest root that the device has accepted.

    Raises:
        StoredTrustError: there is none, or it is broken.
        OSError: the folder could not be read.
    """
    versions = folder.root_versions()
    if not versions:
        raise StoredTrustError(name="root_history", problem="it holds no root")
    return _stored_root(folder, versions[-1])


def stored_floor(folder: TrustFolder) -> datetime:
    """Return the time floor that the folder proves.

    Raises:
        StoredTrustError: its newest root or its floor is broken, or there is no root.
        OSError: the folder could not be read.
    """
    root = root_of(newest_stored_root(folder))
    return max([signed_time(root), *_believed_times(_remembered(folder), timestamp_keys(root), None)])


def check_configured_root(raw: bytes) -> Document:
    """Return a root with which a device may be provisioned.

    Raises:
        ConfiguredRootError: it is none.
    """
    try:
        return read_root(raw)
    except RejectedError as error:
        raise ConfiguredRootError(problem=str(error).removesuffix(".")) from error


def read_own(folder: TrustFolder) -> Document | None:
    """Return the newest stored root, under which everything stored verifies; None for an empty folder.

    Raises:
        StoredTrustError: something stored is empty, broken, gone, or not signed under that root.
        OSError: the folder could not be read.
    """
    contents = {name: raw for name in (*ROLES, FLOOR) if (raw := folder.read(name)) is not None}
    if not folder.root_versions() and not contents:
        return None
    root = newest_stored_root(folder)
    for role in ROLES:
        if role in contents:
            _require_signed(root, role, contents[role])
    remembered = _remembered(folder)
    # A time under the present keys comes from a timestamp under these keys, and that one stays until the keys change.
    if remembered is not None and remembered.keys == timestamp_keys(root_of(root)) and Timestamp.type not in contents:
        raise StoredTrustError(name=f"{Timestamp.type}.json", problem="it is missing")
    return root


def _require_signed(root: Document, role: str, raw: bytes) -> None:
    try:
        document = read_document(role, raw)
    except RejectedError as error:
        raise StoredTrustError(name=f"{role}.json", problem=str(error).removesuffix(".")) from error
    if not is_signed(root_of(root), document):
        raise StoredTrustError(name=f"{role}.json", problem="it is not signed under the stored root")


def _stored_root(folder: TrustFolder, version: int) -> Document:
    name = f"root_history/{version}.root.json"
    try:
        root = read_root(folder.read_root(version) or b"")
    except RejectedError as error:
        raise StoredTrustError(name=name, problem=str(error).removesuffix(".")) from error
    if root.version != version:
        raise StoredTrustError(name=name, problem="it is another version")
    return root


def starting_root(own: Document | None, bootstrap: bytes) -> Document:
    """Return the root to start from: the newest stored one, or the configured one if its version is higher.

    The configured root comes back with a rollback of its slot; it must not bring back keys that were revoked since.

    Raises:
        ConfiguredRootError: the configured root is none.
        RootConflictError: both have one version, and they differ.
    """
    configured = check_configured_root(bootstrap)
    if own is None or configured.version > own.version:
        return configured
    if configured.version == own.version and not configured.says_the_same(own):
        raise RootConflictError(version=own.version)
    return own


def settle(folder: TrustFolder, start: Document) -> Standing:
    """Bring the folder in line with its newest root: drop what that does not vouch for, and save the time floor.

    Args:
        folder: what a walk over the roots, or an update after it, has left.
        start: the root with which that began.

    Raises:
        OSError: the folder could not be written.
    """
    versions = folder.root_versions()
    root = _stored_root(folder, versions[-1]) if versions else start
    stored = {role: read_document(role, raw) for role in ROLES if (raw := folder.read(role)) is not None}
    believed = {role: document for role, document in stored.items() if is_signed(root_of(root), document)}
    for role in stored.keys() - believed.keys():
        folder.drop(role)
    keys = timestamp_keys(root_of(root))
    times = _believed_times(_remembered(folder), keys, believed.get(Timestamp.type))
    if times:
        contents = timefloor.encode(Remembered(keys, max(times)))
        if contents != folder.read(FLOOR):
            folder.save_floor(contents)
    else:
        # Other keys: the times that a thief may have signed go with the thief's keys, and do not return with them either.
        folder.drop(FLOOR)
    return Standing(root, believed, max([signed_time(root_of(root)), *times]))


def older_roots(folder: TrustFolder, newest: int) -> Iterator[Root]:
    """Yield the stored roots before the version `newest`; one that cannot be read vouches for nothing."""
    for version in folder.root_versions():
        if version < newest:
            try:
                yield root_of(_stored_root(folder, version))
            except StoredTrustError:
                continue


def _believed_times(remembered: Remembered | None, keys: Digest, timestamp: Document | None) -> list[datetime]:
    """Return the times of the timestamps accepted under the present timestamp keys, as far as they are known."""
    times = [remembered.time] if remembered is not None and remembered.keys == keys else []
    if timestamp is not None and isinstance(timestamp.signed, Timestamp):
        times.append(signed_time(timestamp.signed))
    return times


def _remembered(folder: TrustFolder) -> Remembered | None:
    raw = folder.read(FLOOR)
    if raw is None:
        return None
    try:
        return timefloor.decode(raw)
    except MalformedError as error:
        raise StoredTrustError(name=f"{FLOOR}.json", problem=error.problem) from error
