"""What the office ever signed: the digests in all targets metadata that lie in its repository.

Source: design, section 3; The Update Framework's client workflow for the walk along the roots.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tuf.api.metadata import Targets

from usbupdate import plainfile
from usbupdate.core import acknowledgers
from usbupdate.core.layout import METADATA, MediumPath
from usbupdate.core.rootrules import SIZE_MAX, Document, is_signed, read_document, read_root, root_of
from usbupdate.core.words import DIGEST, Digest
from usbupdate.errors import (
    MalformedError,
    MediumError,
    MediumFileMissingError,
    OtherOfficeError,
    RejectedError,
    UnusableFileError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.core.cosignature import Cosigner

_LISTS: Final = re.compile(r"[1-9][0-9]{0,15}\.targets\.json")


def ever_signed(place: Path, root: Path | None = None) -> frozenset[Digest]:
    """Return the digest of everything that any version of the office's list of targets names.

    Each list counts only if a root signed it, and each root only if the one before did.

    Args:
        place: the office's repository, which keeps every list that it ever signed. A stick brings only the newest.
        root: a file with the office's root, from where the walk begins; without it the first one of the place is taken at its
            word.

    Raises:
        UnusableFileError: there is no metadata of an office, or it is not what it should be.
        OtherOfficeError: none of it is signed under that root.
    """
    return frozenset(
        Digest(digest)
        for targets in _believed(place, root)
        for target in targets.targets.values()
        if DIGEST.fullmatch(digest := target.hashes.get("sha256", ""))
    )


def acknowledgers_of(place: Path, root: Path | None = None) -> tuple[Cosigner, ...]:
    """Return whom the newest of the office's signed lists names for acknowledging receipts; otherwise as `ever_signed`."""
    newest = max(_believed(place, root), key=lambda targets: targets.version)
    try:
        return acknowledgers.decode(newest.unrecognized_fields)
    except MalformedError as error:
        raise UnusableFileError(path=str(place), problem=f"{error.field}: {error.problem}") from error


def _believed(place: Path, root: Path | None) -> list[Targets]:
    medium = DirectoryMedium(place)
    try:
        folder = next(each for each in (METADATA[1:], METADATA) if "1.root.json" in _names(medium, each))
        first = medium.read((*folder, "1.root.json"), SIZE_MAX["root"]) if root is None else _read(root)
        roots = list(_roots(medium, folder, first))
        lists = [
            read_document(Targets.type, medium.read((*folder, name), SIZE_MAX[Targets.type]))
            for name in _names(medium, folder)
            if _LISTS.fullmatch(name)
        ]
    except StopIteration:
        raise UnusableFileError(path=str(place), problem="not a repository with the office's metadata") from None
    except (RejectedError, MediumError) as error:
        raise UnusableFileError(path=str(place), problem=str(error)) from error
    believed = [each.signed for each in lists if any(is_signed(root_of(one), each) for one in roots)]
    if not believed:
        raise OtherOfficeError(path=str(place))
    return [each for each in believed if isinstance(each, Targets)]


def _read(path: Path) -> bytes:
    with plainfile.translated(path):
        return plainfile.read(path, SIZE_MAX["root"] + 1)


def _roots(medium: DirectoryMedium, folder: MediumPath, first: bytes) -> Iterator[Document]:
    root = read_root(first)
    while True:
        yield root
        try:
            raw = medium.read((*folder, f"{root.version + 1}.root.json"), SIZE_MAX["root"])
        except MediumFileMissingError:
            return
        following = read_root(raw)
        if following.version != root.version + 1 or not is_signed(root_of(root), following):
            return
        root = following


def _names(medium: DirectoryMedium, folder: MediumPath) -> tuple[str, ...]:
    try:
        return medium.names(folder)
    except MediumFileMissingError:
        return ()
