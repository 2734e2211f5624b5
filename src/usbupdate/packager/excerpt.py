"""What travels to somebody who signs elsewhere: the proposals that wait and what has to be seen before signing, and no more.

An office that is copied whole takes its keys along, and two copies that both go on make two histories of one office, which
devices reject. An excerpt has no keys, no snapshot and no timestamp, so it can only be signed. Of one that comes back nothing
is taken but signatures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeVar

from tuf.api.metadata import Metadata, Root, Targets

from usbupdate import durable
from usbupdate.errors import NothingToExportError, OfficeExistsError, OtherProposalError, UnusableFileError
from usbupdate.packager import keys, settings
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import EXCERPT, Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.thresholds import Missing

_Kind = TypeVar("_Kind", Root, Targets)
_TRAVELLING: Final = (Role.ROOT, Role.TARGETS)
_TEXT: Final = """\
This folder travels to people who sign for a repository of usbupdate. It holds no keys.

  usbupdate repo sign FOLDER --key YOUR-KEY     shows what waits, and adds your signature
  usbupdate repo import REPO FOLDER             in the repository itself, once the folder is back
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What came back: whose signatures were new, by role and key id, and who is still missing."""

    signatures: tuple[tuple[Role, str], ...]
    missing: tuple[Missing, ...]


def export(office: Office, to: Path) -> tuple[Role, ...]:
    """Write what waits for signatures into a new folder, and return the roles that wait.

    Raises:
        NothingToExportError: no root and no list of bundles waits.
        OfficeExistsError: something is at `to`.
        OfficeFileError: a file of the repository cannot be used.
        UnusableFileError: the folder cannot be written.
    """
    waiting = [each for each in (office.metadata.staged_root(), office.metadata.staged_targets()) if each is not None]
    if not waiting:
        raise NothingToExportError(repo=str(office.path))
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise OfficeExistsError(path=str(to))
    # To somebody else a name says enough, and where a key lies is nobody's business.
    references = office.settings.references.items()
    names = {each: where if keys.is_uri(where) else PurePath(where).name for each, where in references}
    try:
        for folder in (to, to / "metadata", to / "staged", to / "targets"):
            durable.make_directory(folder)
        # First, so that a folder that is cut short is not taken for a repository.
        durable.save(to / EXCERPT, _TEXT.encode())
        durable.save(to / settings.FILE, settings.encode(replace(office.settings, references=names)))
        for source in _files(office):
            durable.save(to / source.relative_to(office.path), source.read_bytes())
    except OSError as error:
        raise UnusableFileError(path=str(to), problem=error.strerror or "it cannot be written") from error
    return tuple(Role(each.signed.type) for each in waiting)


def take(office: Office, folder: Path, now: datetime, ask: Passphrases = keys.no_passphrase) -> Taken:
    """Take the signatures from an excerpt, or from a copy, that came back; publish what is whole now, and return that.

    Only valid signatures by keys that are asked for count, and only over the very bytes that wait here.

    Raises:
        NoOfficeError: `folder` is no excerpt and no repository.
        OtherProposalError: something else was signed there; nothing was taken.
        OfficeKeyError: a passphrase fits no key; nothing was taken.
    """
    other = Office.open(folder)
    here = office.metadata
    root = _merged(here.staged_root(), other.metadata.staged_root(), other.metadata.root(), folder)
    targets = _merged(here.staged_targets(), other.metadata.staged_targets(), other.metadata.targets(), folder)
    desk = office.desk(now, ask)
    desk.open_keys()
    before = {(role, keyid) for role in _TRAVELLING for keyid in _signers(office, role)}
    # Signatures that are not valid, or that nobody asks for, are dropped when the desk signs.
    if root is not None:
        here.stage(root)
    if targets is not None:
        here.stage(targets)
    missing = desk.advance()
    after = {(role, keyid) for role in _TRAVELLING for keyid in _signers(office, role)}
    brought = {(Role(each.signed.type), keyid) for each in (root, targets) if each is not None for keyid in each.signatures}
    return Taken(tuple(sorted((after & brought) - before - set(desk.signatures.added))), missing)


def _files(office: Office) -> Iterator[Path]:
    """Yield the chain of roots, the present list of bundles, what waits, and the manifests that signers are shown."""
    folder = office.metadata
    for number in folder.versions(Role.ROOT):
        yield folder.version(Role.ROOT, number)
    for role, waiting in ((Role.ROOT, folder.staged_root()), (Role.TARGETS, folder.staged_targets())):
        if waiting is not None:
            yield folder.staged / f"{role}.json"
    published, proposed = folder.targets(), folder.staged_targets()
    if published is not None:
        yield folder.version(Role.TARGETS, published.signed.version)
    listed = [each for targets in (published, proposed) if targets is not None for each in targets.signed.targets.values()]
    for name in sorted({f"{each.hashes['sha256']}.{each.path}" for each in listed}):
        # What takes a damaged bundle away must not be stopped by the damage.
        if (office.manifests / name).is_file():
            yield office.manifests / name


def _merged(
    here: Metadata[_Kind] | None, waiting: Metadata[_Kind] | None, published: Metadata[_Kind] | None, folder: Path
) -> Metadata[_Kind] | None:
    """Return what waits here with the signatures from there too, or None if nothing there is the same version."""
    if here is None:
        return None
    there = next((each for each in (waiting, published) if each and each.signed.version == here.signed.version), None)
    if there is None:
        return None
    if there.signed_bytes != here.signed_bytes:
        raise OtherProposalError(folder=str(folder), role=here.signed.type)
    here.signatures = {**there.signatures, **here.signatures}
    return here


def _signers(office: Office, role: Role) -> frozenset[str]:
    folder = office.metadata
    found = (folder.staged_root() or folder.root()) if role is Role.ROOT else (folder.staged_targets() or folder.targets())
    return frozenset(found.signatures) if found is not None else frozenset()
