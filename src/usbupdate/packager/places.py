"""Where a stick may be written: not into the repository, not into another stick, each place once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from usbupdate.core import layout
from usbupdate.errors import ImageExistsError, MountUnfitError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def require_mounts(office: Path, mounts: Sequence[Path]) -> None:
    """Refuse folders that cannot be meant as sticks; whether each exists and can be written is found out by writing.

    Raises:
        MountUnfitError: one lies in the repository or around it, within a stick's own folder, or is named twice.
    """
    repository = office.resolve()
    seen: set[Path] = set()
    for mount in mounts:
        real = mount.resolve()
        if real.is_relative_to(repository):
            raise MountUnfitError(mount=str(mount), problem="it is the repository, or lies inside it")
        if repository.is_relative_to(real):
            raise MountUnfitError(mount=str(mount), problem="the repository lies inside it")
        if any(_is_top(each) for each in (real, *real.parents)):
            raise MountUnfitError(mount=str(mount), problem=f"it is the folder {layout.TOP} of a stick, or lies inside one")
        if real in seen:
            raise MountUnfitError(mount=str(mount), problem="it is named twice")
        seen.add(real)


def plain_folders(mounts: Sequence[Path]) -> tuple[Path, ...]:
    """Return those folders on which nothing is mounted: copies of sticks, or a slip."""
    return tuple(mount for mount in mounts if mount.is_dir() and not os.path.ismount(mount))


def require_image_place(image: Path, *, overwrite: bool) -> None:
    """Refuse a place where an image for a duplicator cannot be made.

    Raises:
        ImageExistsError: a file is there, and is not meant to be replaced.
        UnusableFileError: something else is there, or the folder is not.
    """
    if not image.parent.is_dir():
        raise UnusableFileError(path=str(image), problem="its folder does not exist")
    if image.exists() and not image.is_file():
        raise UnusableFileError(path=str(image), problem="it is not an ordinary file")
    if image.exists() and not overwrite:
        raise ImageExistsError(path=str(image))


def _is_top(folder: Path) -> bool:
    # A stick may be mounted at a folder of this name: only with metadata right inside is it the one on a stick.
    return folder.name.lower() == layout.TOP and (folder / layout.METADATA[-1]).is_dir()
