"""What a folder of trust proves, and what stops everything: every file of it is verified again before it is believed."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from tests.attack.metadata_office import START, Office, new_key
from tests.inmemory import MemoryTrust
from usbupdate.core import timefloor
from usbupdate.core.layout import metadata_path
from usbupdate.core.rootrules import read_document, read_root, timestamp_keys
from usbupdate.core.timefloor import Remembered
from usbupdate.core.truststate import (
    ROLES,
    check_configured_root,
    newest_stored_root,
    older_roots,
    read_own,
    settle,
    starting_root,
    stored_floor,
)
from usbupdate.core.words import Digest
from usbupdate.errors import ConfiguredRootError, RootConflictError, StoredTrustError

DAY = timedelta(days=1)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def folder(office: Office) -> MemoryTrust:
    """Return what a device holds that has accepted all that the office has published."""
    return holding(office)


def holding(office: Office) -> MemoryTrust:
    folder = MemoryTrust()
    folder.roots = {version: office.files[metadata_path(Root.type, version)] for version in range(1, office.root.version + 1)}
    for role, signed in ((Timestamp.type, None), (Snapshot.type, office.snapshot), (Targets.type, office.targets)):
        folder.files[role] = office.files[metadata_path(role, None if signed is None else signed.version)]
    settle(folder, read_root(office.first_root))
    folder.floors_saved = 0
    return folder


def stops(folder: MemoryTrust, name: str, problem: str) -> None:
    with pytest.raises(StoredTrustError) as caught:
        read_own(folder)
    assert (caught.value.name, caught.value.problem) == (name, problem)


# --- Before a refresh ------------------------------------------------------------------------------------------------


def test_an_empty_folder_proves_nothing_and_is_no_fault() -> None:
    assert read_own(MemoryTrust()) is None


def test_a_whole_folder_gives_its_newest_root(office: Office) -> None:
    office.publish_root()
    own = read_own(holding(office))
    assert own is not None
    assert (own.version, own.raw) == (2, office.newest_root)


@pytest.mark.parametrize("name", [*ROLES, "floor"])
def test_files_without_any_root_stop_everything(name: str, folder: MemoryTrust) -> None:
    folder.roots.clear()
    folder.files = {name: folder.files[name]}
    stops(folder, "root_history", "it holds no root")
    with pytest.raises(StoredTrustError):
        newest_stored_root(folder)


@pytest.mark.parametrize("role", ROLES)
def test_a_stored_file_must_be_read_and_signed_under_the_newest_root(role: str, folder: MemoryTrust) -> None:
    good = folder.files[role]
    folder.files[role] = b""
    stops(folder, f"{role}.json", f"The {role} metadata is malformed: whole: not JSON in UTF-8")
    signed = None if role == Timestamp.type else 1
    folder.files[role] = Office().files[metadata_path(role, signed)]
    stops(folder, f"{role}.json", "it is not signed under the stored root")
    folder.files[role] = good
    assert read_own(folder) is not None


def test_a_stored_root_must_be_read_and_bear_its_own_number(folder: MemoryTrust) -> None:
    folder.roots[2] = folder.roots[1]
    stops(folder, "root_history/2.root.json", "it is another version")
    folder.roots[2] = b""
    stops(folder, "root_history/2.root.json", "The root metadata is malformed: whole: not JSON in UTF-8")


def test_a_lost_timestamp_is_told_by_the_floor_that_it_left(folder: MemoryTrust) -> None:
    del folder.files[Timestamp.type]
    stops(folder, "timestamp.json", "it is missing")


def test_a_timestamp_that_went_with_its_keys_is_not_missed(office: Office, folder: MemoryTrust) -> None:
    del folder.files[Timestamp.type]
    folder.save_floor(timefloor.encode(Remembered(Digest("0" * 64), START)))
    assert read_own(folder) is not None


def test_snapshot_or_targets_may_be_there_without_the_others(folder: MemoryTrust) -> None:
    for role in (Snapshot.type, Targets.type):
        less = copy.deepcopy(folder)
        del less.files[role]
        assert read_own(less) is not None


@pytest.mark.parametrize(
    ("contents", "problem"), [(b"", "not JSON in UTF-8"), (b"{}", "missing"), (b"\xff", "not JSON in UTF-8")]
)
def test_a_floor_that_cannot_be_read_stops_everything(contents: bytes, problem: str, folder: MemoryTrust) -> None:
    folder.files["floor"] = contents
    stops(folder, "floor.json", problem)


# --- Where to start --------------------------------------------------------------------------------------------------


def test_a_root_for_a_device_is_one_that_is_whole(office: Office) -> None:
    assert check_configured_root(office.first_root).version == 1
    with pytest.raises(ConfiguredRootError) as caught:
        check_configured_root(b"")
    assert caught.value.problem == "The root metadata is malformed: whole: not JSON in UTF-8"


def test_the_start_is_the_stored_root_or_a_newer_configured_one(office: Office) -> None:
    first = read_root(office.first_root)
    office.publish_root()
    second = read_root(office.newest_root)
    assert starting_root(None, first.raw).raw == first.raw
    assert starting_root(second, first.raw) is second, "the root never goes backwards"
    assert starting_root(first, second.raw).raw == second.raw
    assert starting_root(first, first.raw) is first


def test_two_roots_of_one_version_stop_everything(office: Office) -> None:
    with pytest.raises(RootConflictError) as caught:
        starting_root(read_root(office.first_root), Office().first_root)
    assert caught.value.version == 1


# --- After a walk or an update ---------------------------------------------------------------------------------------


def test_a_whole_folder_stands_as_it_is(office: Office, folder: MemoryTrust) -> None:
    before = dict(folder.files)
    standing = settle(folder, read_root(office.first_root))
    assert standing.root.raw == office.first_root
    assert {role: document.raw for role, document in standing.documents.items()} == {role: before[role] for role in ROLES}
    assert standing.floor == START
    assert (folder.files, folder.floors_saved) == (before, 0)


def test_without_a_stored_root_the_start_is_the_root(office: Office) -> None:
    standing = settle(MemoryTrust(), read_root(office.first_root))
    assert (standing.root.raw, standing.documents, standing.floor) == (office.first_root, {}, START)


def test_the_newest_root_drops_what_it_does_not_vouch_for(office: Office) -> None:
    folder = holding(office)
    office.signers[Targets.type] = [new_key()]
    office.publish_root()
    folder.roots[2] = office.newest_root
    standing = settle(folder, read_root(office.first_root))
    assert standing.root.version == 2
    assert set(standing.documents) == {Timestamp.type, Snapshot.type}
    assert set(folder.files) == {Timestamp.type, Snapshot.type, "floor"}


def test_the_floor_is_the_newest_time_under_the_present_timestamp_keys(office: Office) -> None:
    office.now = START + DAY
    office.publish()
    folder = holding(office)
    keys = timestamp_keys(office.root)
    assert timefloor.decode(folder.files["floor"]) == Remembered(keys, START + DAY)
    # An older timestamp, or none, leaves it.
    folder.files[Timestamp.type] = Office().files[metadata_path(Timestamp.type, None)]
    assert settle(folder, read_root(office.first_root)).floor == START + DAY
    assert Timestamp.type not in folder.files
    assert timefloor.decode(folder.files["floor"]) == Remembered(keys, START + DAY)
    # A newer one raises it.
    office.now = START + 2 * DAY
    office.publish()
    folder.files[Timestamp.type] = office.files[metadata_path(Timestamp.type, None)]
    assert settle(folder, read_root(office.first_root)).floor == START + 2 * DAY
    assert timefloor.decode(folder.files["floor"]) == Remembered(keys, START + 2 * DAY)


def test_times_go_with_the_timestamp_keys_that_they_came_by(office: Office) -> None:
    office.now = START + 9 * DAY
    office.publish()
    folder = holding(office)
    office.now = START + DAY
    office.signers[Timestamp.type] = [new_key()]
    office.publish_root()
    folder.roots[2] = office.newest_root
    standing = settle(folder, read_root(office.first_root))
    assert standing.floor == START + DAY, "the newest root's own time"
    assert set(folder.files) == {Snapshot.type, Targets.type}


def test_a_root_that_is_newer_than_the_timestamp_is_the_floor(office: Office, folder: MemoryTrust) -> None:
    office.now = START + DAY
    office.publish_root()
    folder.roots[2] = office.newest_root
    assert settle(folder, read_root(office.first_root)).floor == START + DAY


def test_the_floor_is_told_without_a_stick(office: Office, folder: MemoryTrust) -> None:
    assert stored_floor(folder) == START
    folder.save_floor(timefloor.encode(Remembered(timestamp_keys(office.root), START + DAY)))
    assert stored_floor(folder) == START + DAY
    folder.save_floor(timefloor.encode(Remembered(Digest("0" * 64), START + 9 * DAY)))
    assert stored_floor(folder) == START, "times of other keys do not count"
    folder.save_floor(timefloor.encode(Remembered(timestamp_keys(office.root), START - DAY)))
    assert stored_floor(folder) == START
    with pytest.raises(StoredTrustError):
        stored_floor(MemoryTrust())


def test_roots_before_the_newest_vouch_for_older_sticks_if_they_can_be_read(office: Office) -> None:
    for _ in range(3):
        office.publish_root()
    folder = holding(office)
    assert [root.version for root in older_roots(folder, 4)] == [1, 2, 3]
    assert [root.version for root in older_roots(folder, 3)] == [1, 2]
    folder.roots[2] = b""
    assert [root.version for root in older_roots(folder, 4)] == [1, 3]


def test_a_document_of_another_role_in_a_stored_file_is_no_timestamp(folder: MemoryTrust) -> None:
    folder.files[Timestamp.type] = folder.files[Targets.type]
    stops(folder, "timestamp.json", "The timestamp metadata is malformed: it belongs to another role")
    assert read_document(Targets.type, folder.files[Targets.type]).version == 1
