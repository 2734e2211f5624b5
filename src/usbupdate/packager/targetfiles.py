"""The files that the list of targets names: read against the digest in the list, and proposed together with it.

Source: format, section 3.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from tuf.api.metadata import TargetFile, Targets

from usbupdate import durable, plainfile
from usbupdate.core.manifest import MANIFEST_SIZE_MAX
from usbupdate.core.words import DIGEST, Digest
from usbupdate.errors import MalformedError, NewerFormatError, OfficeFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.packager.office import Office
    from usbupdate.packager.signing import Desk
    from usbupdate.packager.thresholds import Missing

_Said = TypeVar("_Said")


def edited(office: Office) -> Targets:
    """Return the targets to edit: those that wait, or those that are published under their next version."""
    waiting, published = office.metadata.staged_targets(), office.metadata.targets()
    if waiting is not None:
        return waiting.signed
    if published is None:
        return Targets()
    published.signed.version += 1
    return published.signed


def propose(office: Office, desk: Desk, name: str, raw: bytes) -> tuple[Digest, tuple[Missing, ...]]:
    """Propose a file as a target and return its digest and who still has to sign; what stops it leaves nothing behind."""
    digest = Digest(hashlib.sha256(raw).hexdigest())
    path = _path(office, name, digest)
    targets = edited(office)
    targets.targets[name] = TargetFile(len(raw), {"sha256": digest}, name)
    missing = None
    try:
        durable.save(path, raw)
        missing = desk.propose_targets(targets)
    finally:
        if missing is None and not _is_target(office, name):
            durable.remove(path)
    return digest, missing


def read(office: Office, target: TargetFile, decode: Callable[[bytes], _Said]) -> _Said:
    """Return what the file of a target says.

    Raises:
        OfficeFileError: it is missing or damaged.
    """
    digest = Digest(target.hashes["sha256"])
    # Somebody else's list of bundles says what it likes: it may be signed here because of what is shown of it.
    if not DIGEST.fullmatch(digest) or PurePath(target.path).name != target.path:
        raise OfficeFileError(path=str(office.manifests), problem="the list of bundles names what no file of it is called")
    path = _path(office, target.path, digest)
    try:
        raw = plainfile.read(path, MANIFEST_SIZE_MAX + 1)
        if hashlib.sha256(raw).hexdigest() != digest:
            raise OfficeFileError(path=str(path), problem="its contents have changed")
        return decode(raw)
    except OSError as error:
        raise OfficeFileError(path=str(path), problem=error.strerror or "it cannot be read") from error
    except (MalformedError, NewerFormatError) as error:
        raise OfficeFileError(path=str(path), problem=str(error).removesuffix(".")) from error


def _path(office: Office, name: str, digest: Digest) -> Path:
    return office.manifests / f"{digest}.{name}"


def _is_target(office: Office, name: str) -> bool:
    waiting, published = office.metadata.staged_targets(), office.metadata.targets()
    return any(each is not None and name in each.signed.targets for each in (waiting, published))
