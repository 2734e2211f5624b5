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
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import layout
from usbupdate.core.timefloor import format_time, parse_time
from usbupdate.errors import (
    ExpiresSoonError,
    FileDigestError,
    NotSignedError,
    OfficeFileError,
    RejectedError,
    StickDidNotKeepError,
    StickFullError,
    StickWriteError,
    UnusableFileError,
    UsbupdateError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import bundle, readme, signing
from usbupdate.packager.inspection import opened
from usbupdate.packager.metadata import Role
from usbupdate.packager.pack import payload_file
from usbupdate.packager.verification import CheckedStick, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.words import Digest
    from usbupdate.packager.bundle import Bundle
    from usbupdate.packager.office import Office

MARGIN_DAYS: Final = 14
_CLUSTER: Final = 32 << 10
"""FAT32 gives files room in pieces of up to this many bytes."""
_PIECE: Final = 1 << 20
_TIMESTAMP: Final = layout.metadata_path(Role.TIMESTAMP, None)
_LOGS: Final = layout.LOGS[-1]


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a stick: where it goes, its size, and where its bytes come from; `digest` is None for small text."""

    path: MediumPath
    size: int
    digest: Digest | None = None
    source: Path | None = None
    contents: bytes = b""


@dataclass(frozen=True, slots=True)
class Plan:
    """What sticks written now hold; `items` in the order of writing, the timestamp last. `expires` is their earliest end."""

    items: tuple[Item, ...]
    bundles: tuple[Bundle, ...]
    root: bytes
    expires: str
    now: datetime

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(item.size for item in self.items)


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which bundles (none named: the newest of each name), or none at all for a stick that only carries logs."""

    bundles: Sequence[str] = ()
    log_only: bool = False
    margin_days: int = MARGIN_DAYS


@dataclass(frozen=True, slots=True)
class Watch:
    """Who hears of progress: bytes written, bytes read back; called from several threads."""

    written: Callable[[int], None] = field(default=lambda _: None)
    read: Callable[[int], None] = field(default=lambda _: None)


def plan(office: Office, now: datetime, wishes: Wishes | None = None) -> Plan:
    """Return what sticks written now would hold.

    Raises:
        NotSignedError: something is not signed by enough people.
        ExpiresSoonError: such a stick would live shorter than the margin.
        NoSuchBundleError: a bundle that is named is not offered.
    """
    wishes = wishes or Wishes()
    if waiting := [each for each in signing.missing(office.metadata) if not _may_wait(office, each.role)]:
        raise NotSignedError(roles=", ".join(f"{each.role} ({each.needed} more)" for each in waiting))
    expires = _require_margin(office, now, wishes.margin_days)
    bundles = () if wishes.log_only else bundle.chosen(office, wishes.bundles)
    text = readme.text(bundles, expires).encode()
    items = [*_payload(office, bundles), *_manifests(office, bundles), Item(layout.READ_ME, len(text), contents=text)]
    items += _metadata(office)
    first_root = office.metadata.version(Role.ROOT, 1).read_bytes()
    return Plan(tuple(items), bundles, first_root, expires, now)


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
        todo = [item for item in what.items if item.path == _TIMESTAMP or not _holds(mount, item)]
        if not _fits_beside(mount, todo, wanted):
            # From here on, and until the end, there is nothing that a device would take.
            durable.remove(_at(mount, _TIMESTAMP))
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


def _may_wait(office: Office, role: Role) -> bool:
    # A root that is being discussed changes nothing about the present one, under which sticks go on being made.
    return role is Role.ROOT and office.metadata.root() is not None


def _require_margin(office: Office, now: datetime, margin_days: int) -> str:
    """Return when a stick written now ends, which is far enough away."""
    folder = office.metadata
    found = [each for each in (folder.root(), folder.targets(), folder.snapshot(), folder.timestamp()) if each is not None]
    first = min(found, key=lambda each: each.signed.expires)
    require_alive(first.signed.type, format_time(first.signed.expires), now, margin_days)
    return format_time(first.signed.expires)


def require_alive(role: str, expires: str, now: datetime, margin_days: int) -> None:
    """Refuse what ends within the margin.

    Raises:
        ExpiresSoonError: it does.
    """
    if parse_time(expires) - now < timedelta(days=margin_days):
        raise ExpiresSoonError(role=role, expires=expires, margin_days=margin_days)


def _payload(office: Office, bundles: Sequence[Bundle]) -> list[Item]:
    # By digest: bundles that share payload share the file.
    files = {blob.sha256: blob for each in bundles for blob in each.payload}
    return [
        Item(layout.payload_path(digest), blob.size, digest, payload_file(office.payload, digest))
        for digest, blob in files.items()
    ]


def _manifests(office: Office, bundles: Sequence[Bundle]) -> Iterator[Item]:
    for each in bundles:
        source = office.manifests / f"{each.sha256}.{each.target}"
        yield Item(layout.target_path(each.sha256, each.target), source.stat().st_size, each.sha256, source)


def _metadata(office: Office) -> Iterator[Item]:
    """Yield every root, and of the other roles the version that the timestamp leads to; the timestamp last."""
    folder = office.metadata
    numbered = [(Role.ROOT, number) for number in folder.versions(Role.ROOT)]
    numbered += [(role, folder.versions(role)[-1]) for role in (Role.TARGETS, Role.SNAPSHOT)]
    for role, number in numbered:
        raw = folder.version(role, number).read_bytes()
        yield Item(layout.metadata_path(role, number), len(raw), contents=raw)
    raw = (folder.published / _TIMESTAMP[-1]).read_bytes()
    yield Item(_TIMESTAMP, len(raw), contents=raw)


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
        for offset in range(0, item.size, _PIECE):
            whole.update(medium.read_at(item.path, offset, min(_PIECE, item.size - offset)))
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


def read_pieces(item: Item) -> Iterator[bytes]:
    """Yield the bytes of one file of a stick, which are those of the plan once the last piece was asked for.

    Raises:
        OfficeFileError: the repository has lost them, which must not look like a fault of the stick.
    """
    if item.source is None:
        yield item.contents
        return
    whole = hashlib.sha256()
    try:
        with item.source.open("rb") as source:
            while piece := source.read(_PIECE):
                whole.update(piece)
                yield piece
    except OSError as error:
        raise OfficeFileError(path=str(item.source), problem=error.strerror or "it cannot be read") from error
    if whole.hexdigest() != item.digest:
        raise OfficeFileError(path=str(item.source), problem="its contents have changed")


def _unused(mount: Path, wanted: set[MediumPath]) -> Iterator[Path]:
    """Yield what lies under `usbupdate/` and is not wanted, contents before their folder, links never followed."""

    def below(folder: Path, path: MediumPath) -> Iterator[Path]:
        # Manifests go first: a manifest whose payload is gone would make devices reject the stick.
        for entry in sorted(folder.iterdir(), key=lambda each: (each.name != layout.TARGETS[-1], each.name)):
            inner = (*path, entry.name)
            if inner == layout.LOGS:
                continue
            if entry.is_dir() and not entry.is_symlink():
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
    if lost := {each.target for each in what.bundles} - {each.target for each in checked.bundles}:
        raise StickDidNotKeepError(mount=str(mount), problem=f"{min(lost)} is not there")
    return checked
