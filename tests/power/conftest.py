"""What the recorders of changes are tried on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a folder that stands for a disk, with one file in it, `name`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "name").write_bytes(b"old")
    return folder
