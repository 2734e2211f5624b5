"""A stick of the present state must itself hold what was accepted: the verdict is about the stick, not about the device."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Root, Snapshot, Targets

from tests.attack.metadata_office import START, Office, new_key
from tests.inmemory import AskedMedium, MemoryTrust
from tests.unit.test_trust_state import holding
from usbupdate.core import trust
from usbupdate.core.judgement import Judgement
from usbupdate.core.layout import METADATA, metadata_path
from usbupdate.core.receipt import ClockQuality
from usbupdate.core.rootrules import read_root
from usbupdate.core.stickfetcher import MetadataOnStick
from usbupdate.core.timefloor import ClockReading
from usbupdate.core.truststate import settle
from usbupdate.errors import ForkedOfficeError, MetadataMissingError, MetadataMixedError, MetadataSignatureError
from usbupdate.medium import DirectoryMedium
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.rootrules import Document
    from usbupdate.core.truststate import Standing

WHOLE = (Root.type, Snapshot.type, Targets.type)
OTHER_BYTES = "its bytes are not those that belong to this version"


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def standing(office: Office) -> Standing:
    """Return what a device stands on that has accepted all that the office has published."""
    return settle(holding(office), read_root(office.first_root))


def require_whole(files: dict[MediumPath, bytes], standing: Standing) -> None:
    trust._require_whole(MetadataOnStick(AskedMedium(files)), standing)


def test_a_whole_stick_is_taken_with_or_without_the_newest_root(office: Office, standing: Standing) -> None:
    require_whole(office.files, standing)
    del office.files[metadata_path(Root.type, 1)]
    require_whole(office.files, standing)


@pytest.mark.parametrize("role", [Snapshot.type, Targets.type])
def test_what_is_missing_is_named(role: str, office: Office, standing: Standing) -> None:
    del office.files[metadata_path(role, 1)]
    with pytest.raises(MetadataMissingError) as caught:
        require_whole(office.files, standing)
    assert (caught.value.role, caught.value.name) == (role, f"usbupdate/metadata/1.{role}.json")


@pytest.mark.parametrize("role", WHOLE)
def test_the_same_laid_out_anew_is_the_same(role: str, office: Office, standing: Standing) -> None:
    path = metadata_path(role, 1)
    office.files[path] = json.dumps(json.loads(office.files[path]), indent=1).encode()
    require_whole(office.files, standing)


@pytest.mark.parametrize("role", WHOLE)
def test_a_document_that_strangers_signed_is_mixed_in(role: str, office: Office, standing: Standing) -> None:
    office.files[metadata_path(role, 1)] = Office().files[metadata_path(role, 1)]
    with pytest.raises(MetadataMixedError) as caught:
        require_whole(office.files, standing)
    assert (caught.value.role, caught.value.problem) == (role, OTHER_BYTES)


@pytest.mark.parametrize("role", WHOLE)
def test_the_same_without_good_signatures_is_mixed_in(role: str, office: Office, standing: Standing) -> None:
    path = metadata_path(role, 1)
    office.files[path] = json.dumps({**json.loads(office.files[path]), "signatures": []}).encode()
    with pytest.raises(MetadataMixedError):
        require_whole(office.files, standing)


def test_damage_is_found_on_a_stick_without_the_newest_root(office: Office, standing: Standing) -> None:
    del office.files[metadata_path(Root.type, 1)]
    office.files[metadata_path(Targets.type, 1)] = Office().files[metadata_path(Targets.type, 1)]
    with pytest.raises(MetadataMixedError):
        require_whole(office.files, standing)


@pytest.mark.parametrize("role", WHOLE)
def test_another_history_under_the_same_version_is_a_fork(role: str, office: Office, standing: Standing) -> None:
    signed = {Root.type: office.root, Snapshot.type: office.snapshot, Targets.type: office.targets}[role]
    signed.unrecognized_fields["x-other"] = "history"
    office.sign(signed, office.signers[role])
    with pytest.raises(ForkedOfficeError) as caught:
        require_whole(office.files, standing)
    assert (caught.value.role, caught.value.version) == (role, 1)


@pytest.mark.parametrize("role", [Snapshot.type, Targets.type])
def test_a_genuine_document_of_another_version_under_this_name_is_mixed_in(
    role: str, office: Office, standing: Standing
) -> None:
    office.publish()
    office.files[metadata_path(role, 1)] = office.files[metadata_path(role, 2)]
    with pytest.raises(MetadataMixedError) as caught:
        require_whole(office.files, standing)
    assert (caught.value.role, caught.value.problem) == (role, OTHER_BYTES)


# --- Gaps between roots ----------------------------------------------------------------------------------------------


class Listing(AskedMedium):
    """A stick with these names among its metadata."""

    def __init__(self, *names: str) -> None:
        super().__init__({})
        self._names = names

    def names(self, path: MediumPath) -> tuple[str, ...]:
        assert path == METADATA
        return self._names


def root_of_version(version: int) -> Document:
    root = read_root(Office().first_root)
    root.signed.version = version
    return root


def test_a_root_that_the_walk_could_not_reach_is_a_gap_whose_beginning_is_named() -> None:
    for names in ((), ("timestamp.json", "201.targets.json"), ("200.root.json", "x201.root.json", "201.root.json.bak")):
        trust._require_no_gap(root_of_version(200), root_of_version(190), Listing(*names))
    with pytest.raises(MetadataMissingError) as caught:
        trust._require_no_gap(root_of_version(200), root_of_version(190), Listing("1.root.json", "205.root.json"))
    assert (caught.value.role, caught.value.name) == ("root", "201.root.json")


def test_a_walk_that_went_as_far_as_it_may_leaves_no_gap() -> None:
    later = Listing("999.root.json")
    trust._require_no_gap(root_of_version(257), root_of_version(1), later)
    with pytest.raises(MetadataMissingError):
        trust._require_no_gap(root_of_version(256), root_of_version(1), later)


# --- A refresh -------------------------------------------------------------------------------------------------------


def test_a_refresh_tells_the_digest_of_the_newest_root_and_the_first_end(office: Office, tmp_path: Path, mount: Path) -> None:
    office.publish_root()
    office.write(mount)
    clock = ClockReading(START + timedelta(days=1), trusted=True)
    trusted = trust.refresh(TrustFiles(tmp_path), office.first_root, DirectoryMedium(mount), clock)
    assert trusted.root_sha256 == hashlib.sha256(office.newest_root).hexdigest()
    assert trusted.expires == "2027-01-01T00:00:00Z"


def test_a_refresh_tells_by_what_time_it_judges_before_and_by_what_is_proven_after(
    office: Office, tmp_path: Path, mount: Path
) -> None:
    office.now = START + timedelta(days=9)
    office.publish()
    office.write(mount)
    told: list[Judgement] = []
    clock = ClockReading(START + timedelta(days=1), trusted=True)
    trust.refresh(TrustFiles(tmp_path), office.first_root, DirectoryMedium(mount), clock, told.append)
    assert told == [
        Judgement("2026-01-02T00:00:00Z", ClockQuality.SYSTEM, "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
        Judgement("2026-01-10T00:00:00Z", ClockQuality.FLOOR, "2026-01-02T00:00:00Z", "2026-01-10T00:00:00Z"),
    ]


@pytest.mark.parametrize("gap", [3, 4])
def test_a_gap_in_the_roots_names_the_one_that_is_missing(gap: int, office: Office, tmp_path: Path, mount: Path) -> None:
    for _ in range(4):
        office.publish_root()
    del office.files[metadata_path(Root.type, gap)]
    office.write(mount)
    clock = ClockReading(START, trusted=True)
    with pytest.raises(MetadataMissingError) as caught:
        trust.refresh(TrustFiles(tmp_path), office.first_root, DirectoryMedium(mount), clock)
    assert (caught.value.role, caught.value.name) == ("root", f"{gap}.root.json")


def test_a_refresh_that_fails_keeps_the_roots_that_it_proved(office: Office, tmp_path: Path, mount: Path) -> None:
    office.signers[Targets.type] = [new_key()]
    office.publish_root()
    office.write(mount)
    files = TrustFiles(tmp_path)
    with pytest.raises(MetadataSignatureError):
        trust.refresh(files, office.first_root, DirectoryMedium(mount), ClockReading(START, trusted=True))
    assert files.root_versions() == (1, 2)


def test_a_folder_that_cannot_be_written_is_told_as_that(office: Office, tmp_path: Path, mount: Path) -> None:
    office.write(mount)
    (tmp_path / "file").touch()
    folder = MemoryTrust()
    folder.directory = str(tmp_path / "file/trust")
    with pytest.raises(OSError, match="trust"):
        trust.refresh(folder, office.first_root, DirectoryMedium(mount), ClockReading(START, trusted=True))
