"""How a row of bytes changes a stick: so a fuzzer finds its way through the structure of a whole stick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from usbupdate.core.layout import MediumPath

_EDITS_MAX: Final = 8
_Thing = TypeVar("_Thing")


class Numbers:
    """Gives numbers out of a row of bytes; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        taken = self.some(1 if below <= 1 << 8 else 3)
        return int.from_bytes(taken, "big") % below if below else 0

    def one_of(self, things: Sequence[_Thing]) -> _Thing:
        return things[self.number(len(things))]

    def some(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def is_used_up(self) -> bool:
        return self._at >= len(self._data)


def changed(files: Mapping[MediumPath, bytes], data: bytes) -> dict[MediumPath, bytes]:
    """Return the files of a stick with up to eight changes: pieces replaced, files removed, renamed, swapped or made longer."""
    now, said = dict(files), Numbers(data)
    for _ in _edits(said):
        paths = sorted(now)
        if not paths:
            break
        path, other = paths[said.number(len(paths))], paths[said.number(len(paths))]
        contents = now[path]
        match said.number(6):
            case 0 | 1:
                start = said.number(len(contents) + 1)
                end = min(len(contents), start + said.number(64))
                now[path] = contents[:start] + said.some(said.number(64)) + contents[end:]
            case 2:
                del now[path]
            case 3:
                now[path], now[other] = now[other], contents
            case 4:
                now[other] = contents
            case _:
                name = said.some(said.number(80)).decode("latin-1").replace("/", "_") or "x"
                now[(*path[:-1], name)] = contents
    return now


def _edits(said: Numbers) -> Iterator[int]:
    for number in range(_EDITS_MAX):
        if said.is_used_up():
            return
        yield number
