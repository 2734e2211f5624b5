"""What a disk may hold after a power cut when it keeps any of the unflushed writes and none of the others, in whatever order.

An `OperationLog` notes every write, change of length and change of a name. At each flush, and at the end, it lays out what a
cut just before it may leave: all that was flushed, and of the rest nothing, everything, everything but one, only one, and
samples in which writes of more than a sector are torn too. A flush of a file is one of its contents, and of nothing else.

On FAT less belongs together. Each name is a write of its own, also the two of one rename; the length of a file stands beside
its name, so it may be there before what the file holds, which then is whatever lay there before; and where a file is removed,
its blocks may be free while its name still stands.
"""

from __future__ import annotations

import os
import random
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress, product
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.power.standing_in import files_by_system_calls, standing_in
from tests.power.volatile_disk import Cut, Entry, Loss, Picture, flags_of, path_of, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECTOR: Final = 512
SAMPLES: Final = 6
"""For each flush."""
Number = int
"""Of a file, folder or link: its inode, which is nobody else's while this looks."""


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes that were written into a file."""

    file: Number
    offset: int
    contents: bytes
    lengthens: bool = True
    """Whether the file becomes longer by it; on FAT that is a write of its own."""


@dataclass(frozen=True, slots=True)
class Cropped:
    """A file that was given another length; what is new in it is what lay there before."""

    file: Number
    size: int
    lay_there: bytes = b""
    """Repeated as often as it has to be; zeros if empty."""


@dataclass(frozen=True, slots=True)
class Freed:
    """The blocks of a file that is no more, in a folder."""

    folder: Number
    file: Number


@dataclass(frozen=True, slots=True)
class Named:
    """Names of one folder that were given and taken, in one step; a name that was taken has no number."""

    folder: Number
    names: tuple[tuple[str, Number | None], ...]


Change = Wrote | Cropped | Freed | Named


@dataclass(slots=True)
class Disk:
    """Files, folders and links by their numbers; a folder's names are in `names`, a file's bytes in `contents`."""

    modes: dict[Number, int] = field(default_factory=dict)
    names: dict[Number, dict[str, Number]] = field(default_factory=dict)
    contents: dict[Number, bytes] = field(default_factory=dict)

    def with_changes(self, changes: Sequence[Change]) -> Disk:
        """Return the disk after these changes, and no others."""
        disk = Disk(self.modes, {folder: dict(names) for folder, names in self.names.items()}, dict(self.contents))
        disk.make(changes)
        return disk

    def make(self, changes: Sequence[Change]) -> None:
        """Make these changes."""
        changing: dict[Number, bytearray] = {}
        for change in changes:
            match change:
                case Wrote(file, offset, contents, lengthens):
                    held = self._changing(file, changing)
                    size = len(held)
                    held.extend(bytes(max(0, offset - size)))
                    held[offset : offset + len(contents)] = contents
                    if not lengthens:
                        del held[size:]
                case Cropped(file, size, lay_there):
                    held = self._changing(file, changing)
                    held.extend(_repeated(lay_there or b"\0", len(held), size))
                    del held[size:]
                case Freed(_, file):
                    self._changing(file, changing).clear()
                case Named(folder, names):
                    for name, number in names:
                        if number is None:
                            self.names[folder].pop(name, None)
                        else:
                            self.names[folder][name] = number
        self.contents |= {file: bytes(held) for file, held in changing.items()}

    def _changing(self, file: Number, changing: dict[Number, bytearray]) -> bytearray:
        if file not in changing:
            changing[file] = bytearray(self.contents.get(file, b""))
        return changing[file]

    def picture(self, tops: dict[str, Number]) -> Picture:
        """Return what is beneath these folders."""
        picture: Picture = {}
        waiting = list(tops.items())
        while waiting:
            path, number = waiting.pop()
            mode = self.modes[number]
            picture[path] = Entry(mode, b"" if stat.S_ISDIR(mode) else self.contents.get(number, b""))
            if stat.S_ISDIR(mode):
                waiting += [(f"{path}/{name}", inner) for name, inner in self.names[number].items()]
        return picture


class OperationLog:
    """Notes what changes in some folders while `recording` lasts, and what a cut may leave of it.

    Args:
        top: where the folders are.
        folders: by their paths beneath `top`; they exist.
        constant: names of folders that never change, and are not looked at.
        on_fat: the folder beneath `top` in which less belongs together; see above.
        kept: the beginnings of paths beneath `top` that lie on no disk: what happens there is never lost.
        seed: of the samples.
        every: of so many unflushed writes, and of fewer, every choice is laid out.
        samples: for each flush.
        lay_there: what a new block on FAT holds before it is written.
    """

    def __init__(
        self,
        top: Path,
        folders: Sequence[str],
        constant: frozenset[str],
        on_fat: str,
        kept: tuple[str, ...],
        seed: int = 1,
        *,
        every: int = 0,
        samples: int = SAMPLES,
        lay_there: bytes = b"",
    ) -> None:
        self.cuts: list[Cut] = []
        self.flushes = 0
        self._top = os.path.realpath(top)
        self._constant = constant
        self._on_fat = f"{self._top}/{on_fat}/"
        self._kept = tuple(f"{self._top}/{each}" for each in kept)
        self._chance = random.Random(seed)  # noqa: S311 - which writes are kept, not a secret
        self._seen: set[object] = set()
        self._flushed = Disk()
        self._unflushed: list[Change] = []
        self._held: list[int] = []
        self._folders = folders
        self._tops: dict[str, Number] = {}
        self._real: dict[str, Callable[..., object]] = {}
        self._every = every
        self._samples = samples
        self._lay_there = lay_there

    # --- Before it begins ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        for folder in self._folders:
            self._tops[folder] = self._known(f"{self._top}/{folder}")

    def _known(self, path: str) -> Number:
        """Take down what is there, all of which counts as flushed, and return its number."""
        number = self._hold(path)
        mode = self._flushed.modes[number]
        if stat.S_ISDIR(mode):
            inner = {name: f"{path}/{name}" for name in os.listdir(path) if name not in self._constant}  # noqa: PTH208 - names
            self._flushed.names[number] = {name: self._known(each) for name, each in inner.items()}
        elif stat.S_ISREG(mode):
            self._flushed.contents[number] = Path(path).read_bytes()
        return number

    def _hold(self, path: str) -> Number:
        """Return the number of what stands at a path; it stays its own as long as this looks."""
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        if found.st_ino in self._flushed.modes:
            os.close(descriptor)
            return found.st_ino
        self._held.append(descriptor)
        self._flushed.modes[found.st_ino] = found.st_mode
        if stat.S_ISDIR(found.st_mode):
            self._flushed.names[found.st_ino] = {}
        if stat.S_ISLNK(found.st_mode):
            self._flushed.contents[found.st_ino] = os.fsencode(os.readlink(path))  # noqa: PTH115 - as the others
        return found.st_ino

    # --- What a cut may leave -----------------------------------------------------------------------------------------

    def _lay_out(self, effect: str) -> None:
        """Note what a cut at this instant may leave."""
        changes = self._unflushed
        self._note(effect, "every unflushed write", [])
        self._note(effect, "nothing", changes)
        for at, change in enumerate(changes):
            shown = self._shown(change)
            self._note(effect, f"only {shown}", [*changes[:at], *changes[at + 1 :]])
            self._note(effect, f"all but {shown}", [change])
        for number, is_kept in enumerate(product((False, True), repeat=len(changes)) if len(changes) <= self._every else ()):
            self._note(effect, f"choice {number} of {len(changes)} unflushed writes", list(compress(changes, is_kept)))
        for number in range(self._samples if changes and (len(changes) > 1 or self._every) else 0):
            kept = [part for change in changes for part in self._some(change)]
            self._note(effect, f"sample {number} of {len(changes)} unflushed writes", kept)

    def _note(self, effect: str, lost: str, kept: Sequence[Change]) -> None:
        picture = self._flushed.with_changes(kept).picture(self._tops)
        key = frozenset(picture.items())
        if key not in self._seen:
            self._seen.add(key)
            self.cuts.append(Cut(f"{effect}, losing {lost}", Loss.ANY_UNFLUSHED, picture))

    def _some(self, change: Change) -> list[Change]:
        """Return what is left of a change by chance: all of it, nothing, or some sectors of a write."""
        draw = self._chance.random()
        if isinstance(change, Wrote) and len(change.contents) > SECTOR and draw < 1 / 3:
            starts = range(0, len(change.contents), SECTOR)
            sectors = ((start, change.contents[start : start + SECTOR]) for start in starts if self._chance.random() < 1 / 2)
            return [Wrote(change.file, change.offset + start, contents, change.lengthens) for start, contents in sectors]
        return [change] if self._chance.random() < 1 / 2 else []

    def _shown(self, change: Change) -> str:
        match change:
            case Wrote(file, offset, contents):
                return f"{len(contents)} bytes at {offset} of file {file}"
            case Cropped(file, size):
                return f"the length {size} of file {file}"
            case Freed(_, file):
                return f"that the blocks of file {file} are free"
            case Named(_, names):
                return f"the names {', '.join(name if number else f'no {name}' for name, number in names)}"

    # --- What happens -------------------------------------------------------------------------------------------------

    def _changed(self, place: str, *changes: Change) -> None:
        if place.startswith(self._kept):
            self._flushed.make(changes)
        else:
            self._unflushed += changes

    def _flush(self, effect: str, number: Number) -> None:
        self.flushes += 1
        self._lay_out(f"fsync {effect}")
        self._flushed.make([change for change in self._unflushed if _subject(change) == number])
        self._unflushed = [change for change in self._unflushed if _subject(change) != number]

    def _watched(self, place: str) -> bool:
        beneath = place.removeprefix(f"{self._top}/")
        return beneath != place and any(beneath == each or beneath.startswith(f"{each}/") for each in self._tops)

    def _folder_of(self, place: str) -> Number:
        return os.stat(os.path.dirname(place)).st_ino  # noqa: PTH116, PTH120 - the inner loop of the sweep

    def _open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> object:
        keywords = {} if dir_fd is None else {"dir_fd": dir_fd}
        place = place_of(path, dir_fd) if flags & (os.O_CREAT | os.O_TRUNC) else ""
        if not self._watched(place):
            return self._real["open"](path, flags, mode, **keywords)
        existed = os.path.lexists(place)
        descriptor = self._real["open"](path, flags, mode, **keywords)
        if not existed:
            self._changed(place, Named(self._folder_of(place), ((os.path.basename(place), self._hold(place)),)))  # noqa: PTH119
        elif flags & os.O_TRUNC:
            self._changed(place, Cropped(os.stat(place).st_ino, 0))  # noqa: PTH116 - the same
        return descriptor

    def _writing(self, call: str) -> Callable[..., object]:
        real = self._real[call]

        def write(descriptor: int, contents: bytes, *offset: int) -> object:
            found, place = os.fstat(descriptor), path_of(descriptor)
            if not stat.S_ISREG(found.st_mode) or not self._watched(place):
                return real(descriptor, contents, *offset)
            is_appending = flags_of(descriptor) & os.O_APPEND
            here = found.st_size if is_appending else os.lseek(descriptor, 0, os.SEEK_CUR)
            done = real(descriptor, contents, *offset)
            assert isinstance(done, int)
            start = offset[0] if offset else here
            is_fat = place.startswith(self._on_fat)
            if is_fat and start + done > found.st_size:
                self._changed(place, Cropped(found.st_ino, start + done, self._lay_there))
            self._changed(place, Wrote(found.st_ino, start, bytes(contents)[:done], not is_fat))
            return done

        return write

    def _ftruncate(self, descriptor: int, size: int) -> object:
        place = path_of(descriptor)
        if self._watched(place):
            self._changed(place, Cropped(os.fstat(descriptor).st_ino, size))
        return self._real["ftruncate"](descriptor, size)

    def _fchmod(self, descriptor: int, mode: int) -> object:
        result = self._real["fchmod"](descriptor, mode)
        found = os.fstat(descriptor)
        if found.st_ino in self._flushed.modes:
            self._flushed.modes[found.st_ino] = found.st_mode
        return result

    def _fsync(self, descriptor: int) -> object:
        place = path_of(descriptor)
        if self._watched(place) and not place.startswith(self._kept):
            self._flush(place.removeprefix(f"{self._top}/"), os.fstat(descriptor).st_ino)
        return self._real["fsync"](descriptor)

    def _taking(self, call: str) -> Callable[..., object]:
        """Return a stand-in for a call that takes one name away, or gives one to a new folder."""
        real = self._real[call]

        def changed(path: str, *rest: object, dir_fd: int | None = None) -> object:
            place = place_of(path, dir_fd)
            if call != "mkdir" and self._watched(place):
                self._free(place)
            result = real(path, *rest, **({} if dir_fd is None else {"dir_fd": dir_fd}))
            if self._watched(place):
                number = self._hold(place) if call == "mkdir" else None
                self._changed(place, Named(self._folder_of(place), ((os.path.basename(place), number),)))  # noqa: PTH119 - the same
            return result

        return changed

    def _moving(self, call: str) -> Callable[..., object]:
        """Return a stand-in for a call that gives something a name; a rename takes another one away in the same step."""
        real = self._real[call]

        def changed(source: str, path: str, *rest: object, **keywords: object) -> object:
            place = place_of(path)
            if not self._watched(place):
                return real(source, path, *rest, **keywords)
            is_over_another = os.path.lexists(place)
            before = place_of(source)
            self._free(place)
            result = real(source, path, *rest, **keywords)
            folder, name = self._folder_of(place), os.path.basename(place)  # noqa: PTH119 - the same
            given: tuple[tuple[str, Number | None], ...] = ((name, self._hold(place)),)
            if call in {"rename", "replace"}:
                taken: tuple[tuple[str, Number | None], ...] = ((os.path.basename(before), None),)  # noqa: PTH119 - the same
                if is_over_another and place.startswith(self._on_fat):
                    self._changed(place, Named(folder, ((name, None),)))
                if self._folder_of(before) == folder and place.startswith(self._on_fat):
                    self._changed(before, Named(folder, taken))
                elif self._folder_of(before) == folder:
                    given = (*taken, *given)
                else:
                    self._changed(before, Named(self._folder_of(before), taken))
            self._changed(place, Named(folder, given))
            return result

        return changed

    def _free(self, place: str) -> None:
        """Note that what stands at a place, if anything, is about to be no more."""
        if place.startswith(self._on_fat) and os.path.lexists(place):
            self._changed(place, Freed(self._folder_of(place), self._hold(place)))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """See every change that is made in this process while this lasts."""
        moving, taking = ("rename", "replace", "link", "symlink"), ("unlink", "remove", "rmdir", "mkdir")
        writing, others = ("write", "pwrite"), ("open", "ftruncate", "fchmod", "fsync")
        self._real = {name: getattr(os, name) for name in (*moving, *taking, *writing, *others)}
        stands_in: dict[str, Callable[..., object]] = {
            **{name: self._moving(name) for name in moving},
            **{name: self._taking(name) for name in taking},
            **{name: self._writing(name) for name in writing},
            "open": self._open,
            "ftruncate": self._ftruncate,
            "fchmod": self._fchmod,
            "fsync": self._fsync,
        }
        self._begin()
        try:
            with standing_in(os, stands_in), files_by_system_calls():
                yield
            self._lay_out("the end")
        finally:
            for descriptor in self._held:
                os.close(descriptor)
            self._held.clear()


def _subject(change: Change) -> Number:
    return change.folder if isinstance(change, Named | Freed) else change.file


def _repeated(pattern: bytes, begin: int, end: int) -> bytes:
    """Return what stands from `begin` to `end` where a pattern is repeated without end."""
    return (pattern * (end // len(pattern) + 1))[begin:end]
