from __future__ import annotations

import contextlib
import os
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.attack.metadata_office import START, Office, new_key
from usbupdate import durable
from usbupdate.core.layout import metadata_path
from usbupdate.core.trust import ClockReading
from usbupdate.device.truststore import TrustStore
from usbupdate.errors import (
    ConfiguredRootError,
    MediumUnreadableError,
    MetadataMissingError,
    MetadataSignatureError,
    OlderStickError,
    StoredTrustError,
    TrustExistsError,
    TrustMissingError,
    TrustStorageError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.layout import MediumPath

CLOCK = ClockReading(START + timedelta(days=30), trusted=True)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "trust"


@pytest.fixture
def store(folder: Path, office: Office) -> TrustStore:
    store = TrustStore(folder)
    store.provision(office.first_root)
    return store


def test_provisioned_store_knows_its_root_and_believes_its_office(
    store: TrustStore, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    assert store.newest_root()[0] == 1
    office.publish_root()
    office.write(mount)
    trusted = store.refresh(medium, CLOCK, office.first_root)
    assert store.newest_root() == (2, trusted.root_sha256)


def test_provisioning_again_changes_nothing_and_never_to_another_root(store: TrustStore, office: Office) -> None:
    store.provision(office.first_root)
    with pytest.raises(TrustExistsError):
        store.provision(Office().first_root)
    assert store.newest_root()[0] == 1


@pytest.mark.parametrize("damage", ["link gone", "link dangling"])
def test_damaged_store_is_not_provisioned_over(
    damage: str, store: TrustStore, folder: Path, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    # What was revoked would be trusted again.
    office.write(mount)
    store.refresh(medium, CLOCK, office.first_root)
    (folder / "current").unlink()
    if damage == "link dangling":
        (folder / "2").rename(folder / "away")
        (folder / "current").symlink_to("2")
    before = sorted(folder.rglob("*"))
    with pytest.raises(TrustExistsError):
        store.provision(office.first_root)
    assert sorted(folder.rglob("*")) == before


def test_store_is_provisioned_with_a_root_only(folder: Path) -> None:
    with pytest.raises(ConfiguredRootError):
        TrustStore(folder).provision(b"{}")
    assert not folder.exists()


def test_store_that_was_never_provisioned_is_not_ready(folder: Path, office: Office, medium: DirectoryMedium) -> None:
    with pytest.raises(TrustMissingError):
        TrustStore(folder).refresh(medium, CLOCK, office.first_root)
    with pytest.raises(TrustMissingError):
        TrustStore(folder).newest_root()


@pytest.mark.parametrize("target", ["../elsewhere", "9", "..", "current"])
def test_link_that_names_no_generation_is_not_ready(target: str, store: TrustStore, folder: Path) -> None:
    durable.point(folder / "current", target)
    with pytest.raises(TrustMissingError):
        store.newest_root()


def test_one_generation_stays_after_a_refresh(
    store: TrustStore, folder: Path, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    office.write(mount)
    (folder / "77").mkdir()
    for _ in range(3):
        store.refresh(medium, CLOCK, office.first_root)
    assert sorted(entry.name for entry in folder.iterdir()) == ["4", "current"]
    assert (folder / "4" / "root.json").is_symlink()


def test_older_stick_is_told_what_is_newer_and_where_it_came_from(
    store: TrustStore, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    old = dict(office.files)
    office.publish()
    office.write(mount)
    store.refresh(medium, CLOCK, office.first_root, origin="stick \x1bACME-7\n" + "x" * 1000)
    office.files = old
    office.write(mount)
    for _ in range(2):
        newer = store.refresh(medium, CLOCK, office.first_root, origin="another stick").newer_than_medium
        assert newer.startswith("timestamp version 2 of 2026-01-01T00:00:00Z, brought by stick ACME-7x")
        assert len(newer) < 200


def test_older_stick_that_cannot_be_judged_is_refused_and_not_blamed(
    store: TrustStore, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    old = dict(office.files)
    office.publish()
    del office.files[metadata_path("snapshot", 2)]
    office.write(mount)
    with pytest.raises(MetadataMissingError):
        store.refresh(medium, CLOCK, office.first_root)
    office.files = old
    office.write(mount)
    with pytest.raises(OlderStickError, match="timestamp version 2"):
        store.refresh(medium, CLOCK, office.first_root)


def test_revocation_is_kept_when_the_rest_of_the_stick_is_bad(
    store: TrustStore, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    office.publish_root()
    del office.files[metadata_path("timestamp", None)]
    office.write(mount)
    with pytest.raises(MetadataMissingError):
        store.refresh(medium, CLOCK, office.first_root)
    assert store.newest_root()[0] == 2


def test_revocation_is_kept_when_the_stick_is_pulled(store: TrustStore, office: Office, mount: Path) -> None:
    office.publish_root()
    office.write(mount)

    class Pulled(DirectoryMedium):
        def read(self, path: MediumPath, limit: int) -> bytes:
            if path[-1] == "timestamp.json":
                raise MediumUnreadableError(name="timestamp.json", problem="Input/output error")
            return super().read(path, limit)

    with pytest.raises(MediumUnreadableError):
        store.refresh(Pulled(mount), CLOCK, office.first_root)
    assert store.newest_root()[0] == 2


def test_metadata_of_revoked_keys_do_not_stop_later_refreshes(
    store: TrustStore, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    office.write(mount)
    store.refresh(medium, CLOCK, office.first_root)
    stolen = office.signers
    office.signers = {role: [new_key()] for role in stolen}
    office.publish_root()
    office.write(mount)
    with pytest.raises(MetadataSignatureError):
        store.refresh(medium, CLOCK, office.first_root)
    office.publish()
    office.write(mount)
    assert store.refresh(medium, CLOCK, office.first_root).timestamp_version == 2


def test_broken_store_stays_as_it_is(
    store: TrustStore, folder: Path, office: Office, mount: Path, medium: DirectoryMedium
) -> None:
    office.write(mount)
    store.refresh(medium, CLOCK, office.first_root)
    timestamp = folder / "current" / "timestamp.json"
    timestamp.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoredTrustError):
            store.refresh(medium, CLOCK, office.first_root)
    assert timestamp.read_bytes() == b""


def test_full_disk_leaves_the_store_as_it_was(
    store: TrustStore, office: Office, mount: Path, medium: DirectoryMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.publish_root()
    office.write(mount)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_tree", full)
        with pytest.raises(TrustStorageError, match="No space"):
            store.refresh(medium, CLOCK, office.first_root)
    assert store.newest_root()[0] == 1
    assert store.refresh(medium, CLOCK, office.first_root).root_version == 2


class PowerCutError(BaseException):
    """The machine goes down."""


EFFECTS = ["replace", "fsync", "link", "symlink", "unlink", "mkdir", "rmdir", "rename", "remove"]


def _cut_at(step: int, patch: pytest.MonkeyPatch, *, after: bool) -> Callable[[], int]:
    """Make the call number `step` that changes the disk the last one; return how many there were."""
    calls = 0

    def cutting(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls > step or (calls == step and not after):
                raise PowerCutError
            result = real(*args, **kwargs)
            if calls == step:
                raise PowerCutError
            return result

        return call

    for name in EFFECTS:
        patch.setattr(os, name, cutting(getattr(os, name)))
    return lambda: calls


@pytest.mark.parametrize("is_stick_good", [True, False])
def test_power_cut_at_any_step_of_a_refresh_leaves_a_usable_store(
    is_stick_good: bool, office: Office, mount: Path, medium: DirectoryMedium, tmp_path: Path
) -> None:
    first = tmp_path / "first" / "trust"
    TrustStore(first).provision(office.first_root)
    office.write(mount)
    TrustStore(first).refresh(medium, CLOCK, office.first_root)
    office.signers["timestamp"] = [new_key()]
    office.publish_root()
    office.publish()
    good = office.files[metadata_path("snapshot", 2)]
    if not is_stick_good:
        del office.files[metadata_path("snapshot", 2)]
    office.write(mount)
    folder = first
    step = runs = 0
    seen = set()
    while True:
        step += 1
        ended = False
        for after in (False, True):
            folder = tmp_path / f"{step}-{after}" / "trust"
            shutil.copytree(first, folder, symlinks=True)
            with pytest.MonkeyPatch.context() as patch:
                count = _cut_at(step, patch, after=after)
                try:
                    TrustStore(folder).refresh(medium, CLOCK, office.first_root)
                except PowerCutError:
                    pass
                except MetadataMissingError:
                    assert not is_stick_good
                ended = count() < step
            runs += 1
            store = TrustStore(folder)
            seen.add(store.newest_root()[0])
            if is_stick_good:
                trusted = store.refresh(medium, CLOCK, office.first_root)
                assert (trusted.root_version, trusted.timestamp_version) == (2, 2)
            else:
                with pytest.raises(MetadataMissingError):
                    store.refresh(medium, CLOCK, office.first_root)
            assert store.newest_root()[0] == 2
            assert len(list(folder.iterdir())) == 2
        if ended:
            break
    assert seen == {1, 2}
    assert runs > 40
    if not is_stick_good:
        mount.joinpath(*metadata_path("snapshot", 2)).write_bytes(good)
        assert TrustStore(folder).refresh(medium, CLOCK, office.first_root).timestamp_version == 2


def test_power_cut_at_any_step_of_provisioning_can_be_repeated(office: Office, tmp_path: Path) -> None:
    step = 0
    ended = False
    while not ended:
        step += 1
        for after in (False, True):
            folder = tmp_path / f"{step}-{after}" / "trust"
            with pytest.MonkeyPatch.context() as patch:
                count = _cut_at(step, patch, after=after)
                with contextlib.suppress(PowerCutError):
                    TrustStore(folder).provision(office.first_root)
                ended = count() < step
            store = TrustStore(folder)
            store.provision(office.first_root)
            assert store.newest_root()[0] == 1
    assert step > 8


def test_everything_is_durable_before_it_becomes_current(
    store: TrustStore, folder: Path, office: Office, mount: Path, medium: DirectoryMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A power cut takes away what was not synced, which no kill of the process shows.
    office.publish_root()
    office.publish()
    office.write(mount)
    synced: set[int] = set()
    real_fsync, real_replace = os.fsync, os.replace
    lacking: list[Path] = []

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def replace(source: Path, target: Path) -> None:
        if str(target) == str(folder / "current"):
            everything = [folder, folder / "2", *(folder / "2").rglob("*")]
            lacking.extend(path for path in everything if not path.is_symlink() and path.stat().st_ino not in synced)
            lacking.append(folder / "checked")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    store.refresh(medium, CLOCK, office.first_root)
    assert lacking == [folder / "checked"]


def test_generation_before_stays_untouched_while_the_next_is_made(
    store: TrustStore, folder: Path, office: Office, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.write(mount)
    store.refresh(DirectoryMedium(mount), CLOCK, office.first_root)
    before = {path: path.read_bytes() for path in (folder / "2").rglob("*.json")}
    office.publish()
    office.write(mount)

    def cut(*_: object) -> None:
        raise PowerCutError

    monkeypatch.setattr(durable, "point", cut)
    with pytest.raises(PowerCutError):
        store.refresh(DirectoryMedium(mount), CLOCK, office.first_root)
    assert {path: path.read_bytes() for path in (folder / "2").rglob("*.json")} == before
