"""The office's TUF metadata as files: what is published, and what waits for signatures in `staged`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from usbupdate import durable, plainfile
from usbupdate.core.rootrules import SIZE_MAX, read_document
from usbupdate.errors import OfficeFileError, RejectedError

if TYPE_CHECKING:
    from pathlib import Path

_Kind = TypeVar("_Kind", Root, Targets, Snapshot, Timestamp)


class Role(StrEnum):
    """The four roles, in the order in which each lends its authority to the next."""

    ROOT = "root"
    TARGETS = "targets"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


class MetadataFolder:
    """Reads and writes metadata; what is published is never changed again, except for timestamp.

    Every reading method raises `OfficeFileError` for a file that is there and cannot be used.

    Args:
        published: the folder of what is published.
        staged: the folder of what waits for signatures.
        steady: read each file once and keep to that, but for what is written here: what a person signs must be what was shown,
            though the folder lies on a stick or a share that somebody changes meanwhile.
    """

    def __init__(self, published: Path, staged: Path, *, steady: bool = False) -> None:
        self.published = published
        self.staged = staged
        self._contents: dict[Path, bytes | None] | None = {} if steady else None
        self._versions: dict[Role, tuple[int, ...]] = {}

    def root(self) -> Metadata[Root] | None:
        """Return the newest published root."""
        return self._newest(Root)

    def targets(self) -> Metadata[Targets] | None:
        """Return the newest published targets."""
        return self._newest(Targets)

    def snapshot(self) -> Metadata[Snapshot] | None:
        """Return the newest published snapshot."""
        return self._newest(Snapshot)

    def timestamp(self) -> Metadata[Timestamp] | None:
        """Return the published timestamp."""
        return self._load(self.published / "timestamp.json", Timestamp)

    def published_targets(self) -> tuple[Metadata[Targets], ...]:
        """Return every targets metadata ever published."""
        paths = (self.version(Role.TARGETS, number) for number in self.versions(Role.TARGETS))
        return tuple(each for each in (self._load(path, Targets) for path in paths) if each is not None)

    def all_targets(self) -> tuple[Metadata[Targets], ...]:
        """Return every targets metadata ever published, and the one that waits."""
        return tuple(each for each in (*self.published_targets(), self.staged_targets()) if each is not None)

    def staged_root(self) -> Metadata[Root] | None:
        """Return the root that waits for signatures."""
        return self._waiting(Root)

    def staged_targets(self) -> Metadata[Targets] | None:
        """Return the targets that wait for signatures."""
        return self._waiting(Targets)

    def staged_snapshot(self) -> Metadata[Snapshot] | None:
        """Return the snapshot that waits for signatures."""
        return self._waiting(Snapshot)

    def staged_timestamp(self) -> Metadata[Timestamp] | None:
        """Return the timestamp that waits for signatures."""
        waiting = self._load(self.staged / "timestamp.json", Timestamp)
        published = self.timestamp()
        over = waiting is not None and published is not None and waiting.signed.version <= published.signed.version
        return None if over else waiting

    def versions(self, role: Role) -> tuple[int, ...]:
        """Return the published versions of a role that has numbered files, rising."""
        if role in self._versions:
            return self._versions[role]
        names = (path.name.removesuffix(f".{role}.json") for path in self.published.glob(f"*.{role}.json"))
        found = tuple(sorted(int(name) for name in names if name.isascii() and name.isdigit()))
        if self._contents is not None:
            self._versions[role] = found
        return found

    def version(self, role: Role, number: int) -> Path:
        """Return where one version of a role is published."""
        return self.published / f"{number}.{role}.json"

    def stage(self, metadata: Metadata[_Kind]) -> None:
        """Keep a proposal until enough people have signed it."""
        durable.make_directory(self.staged)
        self._save(self.staged / f"{metadata.signed.type}.json", metadata.to_bytes())

    def drop(self, role: Role) -> None:
        """Take back the proposal of a role, if one waits."""
        self._save(self.staged / f"{role}.json", None)

    def publish(self, metadata: Metadata[_Kind]) -> None:
        """Make metadata that its threshold has signed the current one of its role."""
        role: Role = Role(metadata.signed.type)
        version: int = metadata.signed.version
        name = "timestamp.json" if role is Role.TIMESTAMP else f"{version}.{role}.json"
        durable.make_directory(self.published)
        self._save(self.published / name, metadata.to_bytes())
        if role in self._versions:
            self._versions[role] = tuple(sorted({*self._versions[role], version}))
        # A cut before this leaves a proposal of a version that is published, which `_waiting` passes over.
        self.drop(role)

    def _newest(self, kind: type[_Kind]) -> Metadata[_Kind] | None:
        role = Role(kind.type)
        versions = self.versions(role)
        return self._load(self.version(role, versions[-1]), kind) if versions else None

    def _waiting(self, kind: type[_Kind]) -> Metadata[_Kind] | None:
        waiting = self._load(self.staged / f"{kind.type}.json", kind)
        versions = self.versions(Role(kind.type))
        return None if waiting is not None and versions and waiting.signed.version <= versions[-1] else waiting

    def _load(self, path: Path, kind: type[_Kind]) -> Metadata[_Kind] | None:
        try:
            raw = self._read(path, SIZE_MAX[kind.type] + 1)
            if raw is None:
                return None
            # The library's own errors over bytes from anybody are many.
            read_document(kind.type, raw)
            return Metadata[_Kind].from_bytes(raw)
        except RejectedError as error:
            raise OfficeFileError(path=str(path), problem=str(error).removesuffix(".")) from error
        except OSError as error:
            raise OfficeFileError(path=str(path), problem="it cannot be read as metadata") from error

    def _read(self, path: Path, limit: int) -> bytes | None:
        if self._contents is not None and path in self._contents:
            return self._contents[path]
        try:
            raw = plainfile.read(path, limit)
        except FileNotFoundError:
            raw = None
        if self._contents is not None:
            self._contents[path] = raw
        return raw

    def _save(self, path: Path, contents: bytes | None) -> None:
        """Save a file durably, or remove it where there are no contents."""
        if contents is None:
            durable.remove(path)
        else:
            durable.save(path, contents)
        if self._contents is not None:
            self._contents[path] = contents
