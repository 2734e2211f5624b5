"""Folders whose every change is seen, so that what a cut at any instant leaves behind can be laid down again and started from.

A `Recorder` stands around the system calls that change files. Before each of them, and at the end, it takes pictures of the
folders: as a killed process leaves them, and as a power cut may leave them, which takes what was never synced. A picture is
taken at the instant itself, so that nothing the dying process does afterwards can be in it.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.power.device_ports import port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence


class Loss(StrEnum):
    """What a cut takes with it."""

    NOTHING = "nothing"
    """The process was killed: every call that returned has happened."""
    HALF_A_WRITE = "half a write"
    UNSYNCED_CONTENTS = "unsynced contents"
    """Names are as they were last given, and files without fsync hold what they held before."""
    ALL_UNSYNCED = "all that is unsynced"
    """Names in directories without fsync are gone too."""
    NAMES_OF_ONE_FOLDER = "the unsynced names of one folder"
    """Those of other folders without fsync have reached the disk."""
    ANY_UNFLUSHED = "any of the unflushed writes"
    """Some have reached the disk and others have not, in whatever order they were made; see `tests.power.reordered_disk`."""
    FAT_NAME = "a name on FAT"
    """A rename over a file on the stick: the old name is gone, and the new file still has its name `*.part`."""


_NONE: Final = frozenset[int]()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a folder or a link in a picture."""

    mode: int
    contents: bytes = b""
    """The file's bytes, or where the link leads to."""


Picture = dict[str, Entry]
"""By path beneath the folder that all are in."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An instant at which the power went, and what was left."""

    effect: str
    loss: Loss
    picture: Picture

    @property
    def layer(self) -> str:
        """What was about to change."""
        place = self.effect.split(", ")[0].rpartition(" ")[2]
        return port_of(place) or "what the simulation keeps"

    @property
    def title(self) -> str:
        """The cut as a violation tells of it."""
        return f"cut before '{self.effect}' losing {self.loss}"


@dataclass(frozen=True, slots=True)
class _Node:
    number: int
    mode: int
    target: bytes = b""


_Names = dict[str, _Node]


@dataclass(slots=True)
class _Tree:
    folders: dict[int, _Names] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)


def lay_down(picture: Picture, top: Path, changing: Sequence[str]) -> None:
    """Make the folders `changing` beneath `top` hold exactly what a picture shows; other folders in it never change."""
    for folder in changing:
        shutil.rmtree(top / folder, ignore_errors=True)
    for name, entry in sorted(picture.items()):
        path = top / name
        if stat.S_ISDIR(entry.mode):
            path.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(entry.mode):
            path.symlink_to(os.fsdecode(entry.contents))
            continue
        else:
            path.write_bytes(entry.contents)
        path.chmod(stat.S_IMODE(entry.mode))


class Recorder:
    """Takes pictures of some folders while something changes them, for as long as `recording` lasts.

    Args:
        top: where the folders are.
        folders: by their paths beneath `top`; need not exist.
        constant: names of folders that never change, and are not looked at.
        on_fat: the folder beneath `top` in which a rename is not atomic.
    """

    def __init__(self, top: Path, folders: Sequence[str], constant: frozenset[str], on_fat: str) -> None:
        self.cuts: list[Cut] = []
        self.effects = 0
        self._top = str(top)
        self._folders = folders
        self._constant = constant
        self._on_fat = os.path.join(self._top, on_fat)  # noqa: PTH118 - compared with what the kernel says, as text
        self._seen: set[object] = set()
        self._contents: dict[int, tuple[int, bytes]] = {}
        self._orphans: dict[int, bytes] = {}
        self._synced_contents: dict[int, bytes] = {}
        self._synced_names: dict[int, _Names] = {}
        self._held: list[int] = []
        self._real: Mapping[str, Callable[..., object]] = {}

    # --- Pictures -----------------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """Return how the folders are now."""
        return self._drawn(self._walk(), lost_names=_NONE, lost_contents=False)

    def take(self, effect: str, torn: Mapping[int, bytes] | None = None, without: str = "") -> None:
        """Note every picture that a cut at this instant can leave, unless it was left by one before."""
        tree = self._walk()
        self._note(effect, Loss.NOTHING, self._drawn(tree, lost_names=_NONE, lost_contents=False))
        if torn:
            drawn = self._drawn(_Tree(tree.folders, {**tree.contents, **torn}), lost_names=_NONE, lost_contents=False)
            self._note(effect, Loss.HALF_A_WRITE, drawn)
        if without:
            drawn = self._drawn(tree, lost_names=_NONE, lost_contents=False)
            drawn.pop(os.path.relpath(without, self._top), None)
            self._note(effect, Loss.FAT_NAME, drawn)
        if self._synced_contents:
            self._note(effect, Loss.UNSYNCED_CONTENTS, self._drawn(tree, lost_names=_NONE, lost_contents=True))
        if self._synced_names:
            self._note(effect, Loss.ALL_UNSYNCED, self._drawn(tree, lost_names=self._synced_names.keys(), lost_contents=True))
        if len(self._synced_names) > 1:
            for number in self._synced_names:
                self._note(effect, Loss.NAMES_OF_ONE_FOLDER, self._drawn(tree, lost_names={number}, lost_contents=False))

    def _note(self, effect: str, loss: Loss, picture: Picture) -> None:
        key = frozenset(picture.items())
        if key not in self._seen:
            self._seen.add(key)
            self.cuts.append(Cut(effect, loss, picture))

    def _walk(self) -> _Tree:
        tree = _Tree()
        waiting = [os.path.join(self._top, folder) for folder in self._folders]  # noqa: PTH118 - the inner loop of the sweep
        while waiting:
            folder = waiting.pop()
            try:
                names = self._names(folder)
            except FileNotFoundError:
                continue
            tree.folders[os.stat(folder).st_ino] = names  # noqa: PTH116 - the same
            for name, node in names.items():
                path = f"{folder}/{name}"
                if stat.S_ISDIR(node.mode):
                    waiting.append(path)
                elif stat.S_ISREG(node.mode):
                    tree.contents[node.number] = self._read(path, node.number)
        return tree

    def _names(self, folder: str) -> _Names:
        names = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in self._constant:
                    continue
                found = entry.stat(follow_symlinks=False)
                target = os.fsencode(os.readlink(entry.path)) if entry.is_symlink() else b""  # noqa: PTH115 - the same
                names[entry.name] = _Node(found.st_ino, found.st_mode, target)
        return names

    def _read(self, path: str, number: int) -> bytes:
        size = os.stat(path).st_size  # noqa: PTH116 - the same
        known = self._contents.get(number)
        if known is None or known[0] != size:
            known = (size, Path(path).read_bytes())
            self._contents[number] = known
        return known[1]

    def _drawn(self, tree: _Tree, *, lost_names: Collection[int], lost_contents: bool) -> Picture:
        picture: Picture = {}
        for folder in self._folders:
            self._draw_below(picture, tree, folder, lost_names=lost_names, lost_contents=lost_contents)
        return picture

    def _draw_below(
        self, picture: Picture, tree: _Tree, folder: str, *, lost_names: Collection[int], lost_contents: bool
    ) -> None:
        """Draw one of the folders; its own name lies in a folder that is not drawn, and counts as synced."""
        parent, _, name = folder.rpartition("/")
        try:
            found = os.stat(f"{self._top}/{folder}")  # noqa: PTH116 - the same
        except FileNotFoundError:
            return
        waiting = [(f"{parent}/{name}" if parent else name, _Node(found.st_ino, found.st_mode))]
        while waiting:
            path, node = waiting.pop()
            if stat.S_ISDIR(node.mode):
                picture[path] = Entry(node.mode)
                names = self._synced_names[node.number] if node.number in lost_names else None
                if names is None:
                    names = tree.folders.get(node.number, {})
                waiting += [(f"{path}/{each}", inner) for each, inner in names.items()]
            elif stat.S_ISLNK(node.mode):
                picture[path] = Entry(node.mode, node.target)
            else:
                contents = self._synced_contents.get(node.number) if lost_contents else None
                if contents is None:
                    contents = tree.contents.get(node.number)
                picture[path] = Entry(node.mode, self._orphans[node.number] if contents is None else contents)

    # --- Around the system calls --------------------------------------------------------------------------------------

    def _is_watched(self, path: str) -> bool:
        return any(path == each or path.startswith(each + "/") for each in self._tops())

    def _tops(self) -> list[str]:
        return [f"{self._top}/{folder}" for folder in self._folders]

    def _will_change_names(self, place: str) -> None:
        folder = os.path.dirname(place)  # noqa: PTH120 - the same
        number = os.stat(folder).st_ino  # noqa: PTH116 - the same
        if number not in self._synced_names:
            self._synced_names[number] = self._names(folder)

    def _will_orphan(self, place: str) -> None:
        """Keep what a name stands for before the name goes: an unsynced directory may bring it back."""
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return
        # As long as it is held, its number is nobody else's.
        self._held.append(self._real_open(place))
        if stat.S_ISREG(found.st_mode):
            self._orphans[found.st_ino] = self._read(place, found.st_ino)
        elif stat.S_ISDIR(found.st_mode):
            self._synced_names.setdefault(found.st_ino, self._names(place))

    def _real_open(self, place: str) -> int:
        descriptor = self._real["open"](place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        assert isinstance(descriptor, int)
        return descriptor

    def _will_write(self, descriptor: int, contents: bytes | None, offset: int, call: str) -> None:
        """Note a write, or a change of length when `contents` is None."""
        path = path_of(descriptor)
        if not self._is_watched(path):
            return
        self.effects += 1
        number = os.fstat(descriptor).st_ino
        before = self._read(path, number)
        torn = None
        if contents is not None:
            half = contents[: len(contents) // 2]
            torn = {number: before[:offset].ljust(offset, b"\0") + half + before[offset + len(half) :]}
        self.take(f"{call} {self._shown(path)}", torn)
        self._synced_contents.setdefault(number, before)
        self._contents.pop(number, None)

    def _shown(self, place: str) -> str:
        return os.path.relpath(place, self._top)

    def _before(self, call: str, place: str, without: str = "") -> None:
        self.effects += 1
        self.take(f"{call} {self._shown(place)}", None, without)

    def _name_call(self, call: str) -> Callable[..., object]:
        """Return a stand-in for a call that changes one name."""
        real = self._real[call]

        def changed(path: str, *rest: object, dir_fd: int | None = None) -> object:
            place = place_of(path, dir_fd)
            keywords = {} if dir_fd is None else {"dir_fd": dir_fd}
            if not self._is_watched(place):
                return real(path, *rest, **keywords)
            self._before(call, place)
            self._will_change_names(place)
            if call != "mkdir":
                self._will_orphan(place)
            result = real(path, *rest, **keywords)
            if call == "mkdir":
                self._synced_names[os.stat(place).st_ino] = {}  # noqa: PTH116 - the same
            return result

        return changed

    def _moving_call(self, call: str) -> Callable[..., object]:
        """Return a stand-in for a call that gives something a new name; a folder's first name is that of its source."""
        real = self._real[call]

        def changed(source: str, path: str, *rest: object, **keywords: object) -> object:
            place = place_of(path)
            if not self._is_watched(place):
                return real(source, path, *rest, **keywords)
            is_over_a_file = call in {"rename", "replace"} and os.path.lexists(place) and place.startswith(self._on_fat)
            self._before(call, place, place if is_over_a_file else "")
            self._will_change_names(place)
            if call in {"rename", "replace"}:
                self._will_change_names(place_of(source))
                self._will_orphan(place)
            return real(source, path, *rest, **keywords)

        return changed

    def _open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> object:
        keywords = {} if dir_fd is None else {"dir_fd": dir_fd}
        place = place_of(path, dir_fd) if flags & os.O_CREAT else ""
        if not self._is_watched(place) or os.path.lexists(place):
            return self._real["open"](path, flags, mode, **keywords)
        self._before("create", place)
        self._will_change_names(place)
        descriptor = self._real["open"](path, flags, mode, **keywords)
        self._synced_contents[os.stat(place).st_ino] = b""  # noqa: PTH116 - the same
        # What writes to it may do so behind this module's back, as the TUF library does.
        self.take(f"create {self._shown(place)}, done")
        return descriptor

    def _write(self, descriptor: int, contents: bytes) -> object:
        if stat.S_ISREG((found := os.fstat(descriptor)).st_mode):
            is_appending = flags_of(descriptor) & os.O_APPEND
            offset = found.st_size if is_appending else os.lseek(descriptor, 0, os.SEEK_CUR)
            self._will_write(descriptor, bytes(contents), offset, "write")
        return self._real["write"](descriptor, contents)

    def _pwrite(self, descriptor: int, contents: bytes, offset: int) -> object:
        self._will_write(descriptor, bytes(contents), offset, "pwrite")
        return self._real["pwrite"](descriptor, contents, offset)

    def _ftruncate(self, descriptor: int, size: int) -> object:
        self._will_write(descriptor, None, size, "ftruncate")
        return self._real["ftruncate"](descriptor, size)

    def _fsync(self, descriptor: int) -> object:
        path = path_of(descriptor)
        if self._is_watched(path):
            self._before("fsync", path)
            found = os.fstat(descriptor)
            (self._synced_names if stat.S_ISDIR(found.st_mode) else self._synced_contents).pop(found.st_ino, None)
        return self._real["fsync"](descriptor)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """See every change that is made in this process while this lasts."""
        moving, naming = ("rename", "replace", "link", "symlink"), ("unlink", "remove", "rmdir", "mkdir")
        own: dict[str, Callable[..., object]] = {
            "open": self._open,
            "write": self._write,
            "pwrite": self._pwrite,
            "ftruncate": self._ftruncate,
        }
        own["fsync"] = self._fsync
        self._real = {name: getattr(os, name) for name in (*own, *moving, *naming)}
        stands_in: dict[str, Callable[..., object]] = {
            **own,
            **{name: self._moving_call(name) for name in moving},
            **{name: self._name_call(name) for name in naming},
        }
        try:
            for name, call in stands_in.items():
                setattr(os, name, call)
            yield
            self.take("the end")
        finally:
            for name, call in self._real.items():
                setattr(os, name, call)
            for descriptor in self._held:
                os.close(descriptor)
            self._held.clear()


def place_of(path: str | bytes | os.PathLike[str], dir_fd: int | None = None) -> str:
    """Return where a name really stands, for the last part of a path is never followed by what changes names."""
    folder, name = os.path.split(os.fsdecode(path))
    base = os.getcwd() if dir_fd is None else path_of(dir_fd)  # noqa: PTH109 - the inner loop of the sweep
    return os.path.join(os.path.realpath(os.path.join(base, folder)), name)  # noqa: PTH118 - the same


def path_of(descriptor: int) -> str:
    """Return what an open descriptor is of."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - the same


def flags_of(descriptor: int) -> int:
    """Return the flags with which a descriptor was opened."""
    lines: Final = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith("flags:")).split()[1], 8)
