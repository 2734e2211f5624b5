"""What all tests share: how hard hypothesis searches, and a stick in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.field import build
from tests.inmemory import MEMORY, folder_in_memory
from tests.payload import takes_direct_io
from tests.postgresql import problem, running
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.field import Field
    from tests.postgresql import Server

# Deadlines measure the machine, not the code; `ci` repeats itself so that a red build is the fault of the change before it.
settings.register_profile("dev", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, database=None, print_blob=True)
settings.register_profile(
    "long", deadline=None, max_examples=20_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
# A mutant is judged thousands of times: few examples, the same each time, and what was found need not be made small.
settings.register_profile(
    "mutants", deadline=None, max_examples=15, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


@pytest.fixture(autouse=True)
def own_frames(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let office commands keep frames in a folder of the test run; the virtual device's images stay where they are."""
    if request.node.get_closest_marker("vm") is None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def _direct_io(tmp_path: Path) -> None:
    if not takes_direct_io(tmp_path):
        pytest.skip("the temporary folder takes no direct I/O")


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


@pytest.fixture(scope="session")
def built_field() -> Iterator[Field]:
    """Give the office, the sticks and the device that `field` copies; to be looked at only."""
    with folder_in_memory("field") as folder:
        yield build(Path(folder, "built"))


@pytest.fixture
def field(built_field: Field) -> Iterator[Field]:
    """Give an office, sticks and a device of the test's own."""
    with folder_in_memory("field") as folder:
        yield built_field.copy(Path(folder, "field"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Give a PostgreSQL server of the test run's own."""
    folder = Path(MEMORY or "/tmp")  # noqa: S108 - a private folder in it
    if (why_not := problem(folder)) is not None:
        pytest.skip(why_not)
    with running(folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a store may be made, once in a file and once in PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "evidence.sqlite3")
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database()
