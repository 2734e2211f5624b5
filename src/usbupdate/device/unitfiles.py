"""systemd's units as they are in force: from several folders, the first of which wins, with drop-ins; read from files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_small(path: Path) -> str:
    """Return what a small file of the system says, nothing if it cannot be read."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def is_in_force(folders: Sequence[Path], name: str) -> bool:
    """Tell whether a unit is there and not masked, which an empty file or a link to /dev/null in an earlier folder does."""
    found = _first(folders, name)
    if found is None:
        return False
    if found.is_symlink() and found.readlink() != Path(os.devnull):
        # Links that enable a unit name a place in the image, which may be looked at from outside.
        return True
    return found.is_file() and found.stat().st_size > 0


def settings_in_force(folders: Sequence[Path], unit: str, key: str) -> list[str]:
    """Return all values of a key that may stand several times; an empty one takes back those before it.

    Args:
        folders: where units lie, the one that wins first.
        unit: its file name.
        key: as the unit writes it, of whatever section.
    """
    names = {path.name for folder in folders for path in (folder / f"{unit}.d").glob("*.conf")}
    files = [_first(folders, unit), *(_first(folders, f"{unit}.d/{name}") for name in sorted(names))]
    values: list[str] = []
    for file in files:
        for value in re.findall(rf"^\s*{key}\s*=(.*)$", read_small(file) if file else "", re.MULTILINE):
            values = [*values, value.strip()] if value.strip() else []
    return values


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if os.path.lexists(folder / name)), None)
