"""Writing sticks, in an order in which every moment leaves the old contents whole or a stick that devices reject.

1. Payload, manifests and numbered metadata, none of which changes what the stick says.
2. `timestamp.json`: from here on it says the new thing.
3. Away with what is not used any more; `logs/` is never touched.
4. Everything is read back and verified.

If the old and the new do not fit side by side, `timestamp.json` is removed first, and then what is unused.

Source: design, section 5.
"""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import layout
from usbupdate.errors import (
    FileDigestError,
    RejectedError,
    StickDidNotKeepError,
    StickFullError,
    StickWriteError,
    UnusableFileError,
    UsbupdateError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager.contents import MARGIN_DAYS, PIECE, TIMESTAMP, Item, Plan, Wishes, plan, read_pieces, require_alive
from usbupdate.packager.inspection import opened
from usbupdate.packager.verification import CheckedStick, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from usbupdate.core.layout import MediumPath

__all__ = ["MARGIN_DAYS", "Item", "Plan", "Watch", "Wishes", "plan", "require_alive", "write", "write_all"]

_CLUSTER: Final = 32 << 10
"""FAT32 gives files room in pieces of up to this many bytes."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who hears of progress: bytes written, bytes read back; called from several threads."""

    written: Callable[[int], None] = field(default=lambda _: None)
    read: Callable[[int], None] = field(default=lambda _: None)


def write(what: Plan, mount: Path, watch: Watch | None = None) -> CheckedStick:
    """Bring the stick at `mount` to what the plan says, read everything back, and return what it proves.

    Raises:
        UnusableFileError: there is no such folder, or something else stands where ours would be; nothing was written.
        StickFullError: it is too small; nothing was written.
        StickWriteError: writing failed; devices take what it held before, or nothing.
        StickDidNotKeepError: what was read back is not what was written.
    """
    watch = watch or Watch()
    _require_usable(mount)
    wanted = {item.path for item in what.items}
    try:
        todo = [item for item in what.items if item.path == TIMESTAMP or not _holds(mount, item)]
        if not _fits_beside(mount, todo, wanted):
            # From here on, and until the end, there is nothing that a device would take.
            durable.remove(_at(mount, TIMESTAMP))
            _remove_unused(mount, wanted)
        for item in todo:
            _write(item, mount, watch.written)
        _remove_unused(mount, wanted)
    except OSError as error:
        raise StickWriteError(mount=str(mount), problem=error.strerror or type(error).__name__) from error
    return _read_back(what, mount, watch.read)


def write_all(
    what: Plan, mounts: Sequence[Path], watch: Watch | None = None
) -> tuple[tuple[Path, CheckedStick | UsbupdateError], ...]:
    """Write several sticks at once; one that fails does not stop the others."""

    def attempt(mount: Path) -> CheckedStick | UsbupdateError:
        try:
            return write(what, mount, watch)
        except UsbupdateError as error:
            return error

    with ThreadPoolExecutor(max(1, len(mounts)), thread_name_prefix="stick") as pool:
        return tuple(zip(mounts, pool.map(attempt, mounts), strict=True))


def _at(mount: Path, path: MediumPath) -> Path:
    return mount.joinpath(*path)


def _require_usable(mount: Path) -> None:
    opened(mount)
    # A link in place of one of our folders would lead the writing somewhere else.
    for path in ((layout.TOP,), layout.METADATA, layout.TARGETS, layout.PAYLOAD):
        folder = _at(mount, path)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UnusableFileError(path=str(folder), problem="it is not a folder of its own")


def _holds(mount: Path, item: Item) -> bool:
    """Tell whether the stick has the file already, by its contents."""
    medium = DirectoryMedium(mount)
    try:
        if medium.size(item.path) != item.size:
            return False
        if item.digest is None:
            return medium.read(item.path, item.size) == item.contents
        whole = hashlib.sha256()
        for offset in range(0, item.size, PIECE):
            whole.update(medium.read_at(item.path, offset, min(PIECE, item.size - offset)))
    except UsbupdateError:
        # Missing, unreadable or something else: it is written.
        return False
    return whole.hexdigest() == item.digest


def _fits_beside(mount: Path, todo: Sequence[Item], wanted: set[MediumPath]) -> bool:
    """Tell whether the new fits beside the old.

    Raises:
        StickFullError: it would not fit in place of the old either.
    """
    needed = sum(_rounded(item.size) + _CLUSTER for item in todo)
    free = shutil.disk_usage(mount).free
    if needed <= free:
        return True
    reclaimable = sum(_rounded(path.lstat().st_size) for path in _unused(mount, wanted) if not path.is_dir())
    if needed > free + reclaimable:
        raise StickFullError(mount=str(mount), needed=needed, free=free + reclaimable)
    return False


def _rounded(size: int) -> int:
    return -(-size // _CLUSTER) * _CLUSTER


def _write(item: Item, mount: Path, progress: Callable[[int], None]) -> None:
    path = _at(mount, item.path)
    for depth in range(1, len(item.path)):
        folder = _at(mount, item.path[:depth])
        # What is written must not follow a link to somewhere else.
        if folder.is_symlink() or folder.is_file():
            durable.remove(folder)
    durable.make_directory(path.parent)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    with durable.Growing(path.with_name(path.name + layout.PART_SUFFIX)) as growing:
        for piece in read_pieces(item):
            growing.write(piece)
            progress(len(piece))
        growing.become(path)


_DEPTH_MAX: Final = 16
"""Far more than any stick of ours; a stick that came back may hold anything."""


def _unused(mount: Path, wanted: set[MediumPath]) -> Iterator[Path]:
    """Yield what lies under `usbupdate/` and is not wanted, contents before their folder, links never followed."""

    def below(folder: Path, path: MediumPath) -> Iterator[Path]:
        # Manifests go first: a manifest whose payload is gone would make devices reject the stick.
        for entry in sorted(folder.iterdir(), key=lambda each: (each.name != layout.TARGETS[-1], each.name)):
            inner = (*path, entry.name)
            if inner == layout.LOGS:
                continue
            if entry.is_dir() and not entry.is_symlink():
                if len(inner) > _DEPTH_MAX:
                    raise StickWriteError(mount=str(mount), problem="somebody nested folders under usbupdate/ without end")
                yield from below(entry, inner)
                if not any(each[: len(inner)] == inner for each in wanted):
                    yield entry
            elif inner not in wanted:
                yield entry

    top = mount / layout.TOP
    if top.is_dir():
        yield from below(top, (layout.TOP,))


def _remove_unused(mount: Path, wanted: set[MediumPath]) -> None:
    for path in list(_unused(mount, wanted)):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            durable.sync_directory(path.parent)
        else:
            durable.remove(path)


def _read_back(what: Plan, mount: Path, progress: Callable[[int], None]) -> CheckedStick:
    """Verify the stick as a device would, from the medium and not from memory where the system allows that."""
    try:
        for item in what.items:
            durable.forget_cached(_at(mount, item.path))
        medium = DirectoryMedium(mount)
        checked = verify(medium, what.root, what.now, progress)
        for item in what.items:
            if item.digest is None and medium.read(item.path, item.size) != item.contents:
                raise FileDigestError(name=layout.shown(item.path))
    except OSError as error:
        raise StickDidNotKeepError(mount=str(mount), problem=error.strerror or type(error).__name__) from error
    except RejectedError as error:
        raise StickDidNotKeepError(mount=str(mount), problem=str(error).removesuffix(".")) from error
    wanted = {each.target for each in what.bundles} | {each.authorisation.name for each in what.allowances}
    found = {each.target for each in checked.bundles} | {each.name for each in checked.authorisations}
    if lost := wanted - found:
        raise StickDidNotKeepError(mount=str(mount), problem=f"{min(lost)} is not there")
    return checked
