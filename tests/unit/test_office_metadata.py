"""The folder of metadata, while somebody else changes it: what a person signs must be what was shown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, Targets

from tests.office import NOW
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.errors import OfficeFileError
from usbupdate.packager.metadata import MetadataFolder, Role

if TYPE_CHECKING:
    from pathlib import Path


def targets(version: int) -> Metadata[Targets]:
    return Metadata(Targets(version=version, expires=NOW + timedelta(days=1)))


def version_of(metadata: Metadata[Targets] | None) -> int | None:
    return None if metadata is None else metadata.signed.version


@pytest.fixture
def somebody(tmp_path: Path) -> MetadataFolder:
    """Return what somebody else has open, with one published version and one that waits."""
    folder = MetadataFolder(tmp_path / "metadata", tmp_path / "staged")
    folder.publish(targets(1))
    folder.stage(targets(2))
    return folder


@pytest.fixture
def steady(somebody: MetadataFolder) -> MetadataFolder:
    """Return what keeps to its first reading of the same folder."""
    return MetadataFolder(somebody.published, somebody.staged, steady=True)


def test_a_folder_that_is_not_steady_sees_what_somebody_else_writes(somebody: MetadataFolder) -> None:
    other = MetadataFolder(somebody.published, somebody.staged)
    assert (version_of(other.targets()), version_of(other.staged_targets())) == (1, 2)
    somebody.publish(targets(2))
    assert (version_of(other.targets()), version_of(other.staged_targets())) == (2, None)


def test_a_steady_folder_keeps_what_it_read(somebody: MetadataFolder, steady: MetadataFolder) -> None:
    assert (version_of(steady.targets()), version_of(steady.staged_targets()), steady.staged_root()) == (1, 2, None)
    somebody.publish(targets(3))
    somebody.stage(targets(4))
    (somebody.staged / "root.json").write_bytes(b"{}")
    (somebody.published / "1.targets.json").unlink()
    assert (version_of(steady.targets()), version_of(steady.staged_targets()), steady.staged_root()) == (1, 2, None)
    assert steady.versions(Role.TARGETS) == (1,)


def test_a_steady_folder_sees_what_it_wrote(steady: MetadataFolder) -> None:
    assert (version_of(steady.targets()), version_of(steady.staged_targets())) == (1, 2)
    steady.publish(targets(2))
    assert (version_of(steady.targets()), version_of(steady.staged_targets())) == (2, None)
    assert steady.versions(Role.TARGETS) == (1, 2)
    steady.stage(targets(3))
    assert version_of(steady.staged_targets()) == 3
    steady.drop(Role.TARGETS)
    assert steady.staged_targets() is None
    assert [version_of(each) for each in steady.all_targets()] == [1, 2]


def test_what_a_steady_folder_wrote_is_on_the_disk(steady: MetadataFolder) -> None:
    steady.publish(targets(2))
    again = MetadataFolder(steady.published, steady.staged)
    assert (version_of(again.targets()), version_of(again.staged_targets())) == (2, None)


def test_a_version_that_no_device_can_hold_is_said(somebody: MetadataFolder) -> None:
    somebody.stage(targets(SEQUENCE_MAX))
    assert version_of(somebody.staged_targets()) == SEQUENCE_MAX
    somebody.stage(targets(SEQUENCE_MAX + 1))
    with pytest.raises(OfficeFileError, match=r"The targets metadata is malformed: its version is too large\."):
        somebody.staged_targets()
