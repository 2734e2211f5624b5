"""Looking at a stick: everything on it is read and verified, and what it would tell a device is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usbupdate.core import layout, trust
from usbupdate.core.rootrules import SIZE_MAX, read_document
from usbupdate.core.timefloor import format_time
from usbupdate.errors import ConfiguredRootError, ForeignStickError, UnusableFileError, UsbupdateError
from usbupdate.medium import DirectoryMedium
from usbupdate.packager.metadata import Role
from usbupdate.packager.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from usbupdate.core.layout import MediumReader
    from usbupdate.packager.verification import CheckedStick


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a stick proves.

    `is_root_given` is False if the stick was only measured by its own first root, which proves that it is whole and nothing
    about who wrote it. `expires` are the ends by role.
    """

    stick: CheckedStick
    is_root_given: bool
    expires: Mapping[Role, str]
    root_version: int

    @property
    def first_to_end(self) -> Role:
        """The role that ends first, and the stick with it."""
        return min(self.expires, key=lambda role: self.expires[role])


def opened(mount: Path) -> DirectoryMedium:
    """Return the reader of a stick that is mounted at, or was copied to, a folder.

    Raises:
        UnusableFileError: there is no such folder.
    """
    if not mount.is_dir():
        raise UnusableFileError(path=str(mount), problem="it is not the folder of a mounted stick")
    return DirectoryMedium(mount)


def payload_size(medium: MediumReader) -> int:
    """Return how many bytes of payload lie on a stick, about; 0 if that cannot be told."""
    try:
        folders = [(*layout.PAYLOAD, name) for name in medium.names(layout.PAYLOAD)]
        return sum(medium.size((*folder, name)) for folder in folders for name in medium.names(folder))
    except UsbupdateError:
        # What is wrong with it is found out by reading it.
        return 0


def inspect(
    medium: MediumReader, root: Path | None, now: datetime, progress: Callable[[int], None] = lambda _: None
) -> Inspection:
    """Return what a stick proves, measured by a root that is given, or else by its own first one.

    Raises:
        UnusableFileError: the given root cannot be read, or is none.
        ForeignStickError: the stick is none of ours.
        RejectedError: a device would reject this stick.
        MediumError: it could not be read.
    """
    if layout.TOP not in {name.lower() for name in medium.names(())}:
        raise ForeignStickError
    start = _given(root) if root is not None else medium.read(layout.metadata_path(Role.ROOT, 1), SIZE_MAX[Role.ROOT])
    checked = verify(medium, start, now, progress)
    trusted = checked.trusted
    versions = {
        Role.ROOT: trusted.root_version,
        Role.TARGETS: trusted.targets_version,
        Role.SNAPSHOT: trusted.snapshot_version,
        Role.TIMESTAMP: None,
    }
    expires = {}
    for role, version in versions.items():
        raw = medium.read(layout.metadata_path(role, version), SIZE_MAX[role])
        expires[role] = format_time(read_document(role, raw).signed.expires)
    return Inspection(checked, root is not None, expires, trusted.root_version)


def _given(root: Path) -> bytes:
    try:
        if root.stat().st_size > SIZE_MAX[Role.ROOT]:
            raise UnusableFileError(path=str(root), problem="it is too large for root metadata")
        raw = root.read_bytes()
        trust.check_configured_root(raw)
    except OSError as error:
        raise UnusableFileError(path=str(root), problem=error.strerror or "it cannot be read") from error
    except ConfiguredRootError as error:
        problem = "it is not root metadata of a repository, such as REPO/metadata/1.root.json"
        raise UnusableFileError(path=str(root), problem=problem) from error
    return raw
