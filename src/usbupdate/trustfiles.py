"""A folder of trust as `tuf.ngclient` keeps it, and our time floor beside it. Implements `core.trust.TrustFolder`.

The library writes its own files there, by temporary file and rename; nobody ever writes into one in place. So a generation can
be cloned by `durable.clone_tree`, and the clone changes without changing what it was cloned from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile

if TYPE_CHECKING:
    from pathlib import Path

_HISTORY: Final = "root_history"
_ROOT_NAME: Final = re.compile(r"([1-9][0-9]{0,15})\.root\.json")
_FLOOR: Final = "floor.json"
_ORIGIN: Final = "origin.txt"
_ORIGIN_MAX: Final = 100
_SIZE_MAX: Final = 8 << 20
"""More than the library lets any metadata be."""


class TrustFiles:
    """One generation of trust in the folder `path`, which must exist and may be empty."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def directory(self) -> str:
        """The folder, as the library wants it named."""
        return str(self.path)

    def read(self, name: str) -> bytes | None:
        """Return the stored timestamp, snapshot, targets or floor; see `TrustFolder`."""
        return _read(self.path / f"{name}.json")

    def drop(self, name: str) -> None:
        """Remove one of these; see `TrustFolder`."""
        durable.remove(self.path / f"{name}.json")

    def root_versions(self) -> tuple[int, ...]:
        """Return the versions of the stored roots, rising; see `TrustFolder`."""
        try:
            names = [entry.name for entry in (self.path / _HISTORY).iterdir()]
        except FileNotFoundError:
            return ()
        return tuple(sorted(int(match[1]) for name in names if (match := _ROOT_NAME.fullmatch(name))))

    def read_root(self, version: int) -> bytes | None:
        """Return a stored root; see `TrustFolder`."""
        return _read(self.path / _HISTORY / f"{version}.root.json")

    def save_floor(self, contents: bytes) -> None:
        """Replace the time floor; see `TrustFolder`."""
        durable.save(self.path / _FLOOR, contents, mode=durable.PRIVATE)

    def read_origin(self) -> str:
        """Return what was saved as the name of the stick that brought the newest metadata; a hint, empty if unknown."""
        return (_read(self.path / _ORIGIN) or b"").decode("utf-8", errors="replace")

    def save_origin(self, origin: str) -> None:
        """Remember what the stick that brought the newest metadata is called; the name is its own and cut short."""
        printable = "".join(char for char in origin[:_ORIGIN_MAX] if char.isprintable())
        durable.save(self.path / _ORIGIN, printable.encode("utf-8", errors="replace"), mode=durable.PRIVATE)

    def begin(self, version: int, root: bytes) -> None:
        """Lay out a new generation that trusts one root, durably.

        Raises:
            OSError: some of it may be there.
        """
        durable.make_directory(self.path / _HISTORY, mode=durable.PRIVATE_FOLDER)
        durable.save(self.path / _HISTORY / f"{version}.root.json", root, mode=durable.PRIVATE)
        durable.point(self.path / "root.json", f"{_HISTORY}/{version}.root.json")


def _read(path: Path) -> bytes | None:
    try:
        return plainfile.read(path, _SIZE_MAX)
    except FileNotFoundError:
        return None
