"""What all tests share: how hard hypothesis searches, and a stick in a folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from pathlib import Path

# Deadlines measure the machine, not the code; `ci` repeats itself so that a red build is the fault of the change before it.
settings.register_profile("dev", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, database=None, print_blob=True)
settings.register_profile(
    "long", deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """Return an empty folder that stands for a mounted stick."""
    folder = tmp_path / "mount"
    folder.mkdir()
    return folder


@pytest.fixture
def medium(mount: Path) -> DirectoryMedium:
    """Return the reader of the stick at `mount`."""
    return DirectoryMedium(mount)
