"""Sticks as the office writes them: cut at every moment, damaged in every byte, too small, laid with traps."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.matrix import By, On, attack
from tests.office import NOW, Bench, open_bench
from usbupdate import durable
from usbupdate.errors import (
    ExpiresSoonError,
    ForeignStickError,
    NotSignedError,
    OfficeFileError,
    RejectedError,
    StickDidNotKeepError,
    StickFullError,
    StickWriteError,
    UnusableFileError,
    UsbupdateError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import bundle, inspection, office, stick, upkeep
from usbupdate.packager.metadata import Role
from usbupdate.packager.office import Hands
from usbupdate.packager.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - the shape that shutil gives


UPPER_CASE = 5


class PowerCutError(BaseException):
    """The machine is gone: nothing catches this."""


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A power cut leaves them behind.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return an office that has written a stick with gw-1 and pump-1, and knows gw-2 and a new root since."""
    bench = open_bench(tmp_path_factory.mktemp("office"))
    bench.release(1)
    bench.release(1, "pump", compatible=("acme,pump",), images={"rootfs": bench.image(1)})
    bench.stick("old")
    bench.release(2)
    bench.office, _ = office.rotate(bench.office, NOW, Hands({Role.TARGETS: [bench.key("new")]}))
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = open_bench(tmp_path)
    made.release(1)
    return made


def targets(mount: Path, root: bytes) -> set[str]:
    return {each.target for each in verify(DirectoryMedium(mount), root, NOW).bundles}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Disk:
    """Lets some operations on files happen, and then none any more; renames as FAT does, which is in two steps."""

    def __init__(self, patch: pytest.MonkeyPatch, allowed: int) -> None:
        self.left = allowed
        self.done = 0
        for owner, name in ((os, "write"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir"), (Path, "rmdir"), (os, "open")):
            self._count(patch, owner, name)
        real_replace, real_unlink = Path.replace, os.unlink

        def replace(source: Path, target: Path) -> Path:
            self.step()
            if target.exists():
                real_unlink(target)
                self.step()
            return real_replace(source, target)

        patch.setattr(Path, "replace", replace)

    def step(self) -> None:
        if self.left <= 0:
            raise PowerCutError
        self.left -= 1
        self.done += 1

    def _count(self, patch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def counted(*arguments: object, **options: object) -> object:
            self.step()
            return real(*arguments, **options)

        patch.setattr(owner, name, counted)


def cuts(what: stick.Plan, old: Path, folder: Path, stride: int = 1) -> Iterator[Path]:
    """Yield the stick as each cut leaves it, the last time as no cut leaves it."""
    allowed = 0
    while True:
        mount = folder / "cut"
        shutil.rmtree(mount, ignore_errors=True)
        shutil.copytree(old, mount)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, allowed)
            try:
                stick.write(what, mount)
            except PowerCutError:
                is_cut = True
            else:
                is_cut = False
            disk.left = 1 << 30
        yield mount
        if not is_cut:
            return
        allowed += stride


@attack(By.CHANCE, On.STICK, "a power cut while a stick is written", "metadata last, and then one name")
def test_a_cut_at_any_moment_leaves_the_old_stick_the_new_one_or_one_that_is_rejected(before: Bench, tmp_path: Path) -> None:
    old, new = {"gw-1.json", "pump-1.json"}, {"gw-2.json", "pump-1.json"}
    what = stick.plan(before.office, NOW)
    seen: set[str] = set()
    for mount in cuts(what, before.folder / "old", tmp_path, stride=3):
        try:
            found = targets(mount, before.root)
        except RejectedError:
            seen.add("rejected")
            continue
        assert found in (old, new, old | new)
        seen.add("old" if found == old else "new")
        stick.write(what, mount)
        assert targets(mount, before.root) == new
    assert seen == {"old", "new", "rejected"}


def test_where_old_and_new_do_not_fit_side_by_side_a_cut_leaves_no_mixture(
    before: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 20, 1 << 20, 980_000))
    new = {"gw-2.json", "pump-1.json"}
    what = stick.plan(before.office, NOW)
    accepted = []
    for mount in cuts(what, before.folder / "old", tmp_path, stride=3):
        try:
            accepted.append(targets(mount, before.root))
        except RejectedError:
            continue
    old = {"gw-1.json", "pump-1.json"}
    first_new = accepted.index(new)
    assert all(each == old for each in accepted[:first_new])
    assert all(each == new for each in accepted[first_new:])


@attack(By.NETWORK, On.STICK, "a bit of a stick flips in the office", "sticks are read back and verified as a device would")
def test_any_flipped_bit_is_found(bench: Bench) -> None:
    mount = bench.stick()
    noise = random.Random(3)  # noqa: S311 - which bits are tried
    files = [path for path in (mount / "usbupdate").rglob("*") if path.is_file() and path.name != "READ-ME.txt"]
    for path in files:
        good = path.read_bytes()
        for _ in range(4):
            bit = noise.randrange(len(good) * 8)
            if path.name == "timestamp.json" and bit % 8 == UPPER_CASE:
                # Hexadecimal digits of its signature mean the same in both cases, and nothing vouches for its bytes.
                continue
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            with pytest.raises(UsbupdateError):
                verify(DirectoryMedium(mount), bench.root, NOW)
        for other in (good[:-1], good + b"?", b""):
            path.write_bytes(other)
            with pytest.raises(UsbupdateError):
                verify(DirectoryMedium(mount), bench.root, NOW)
        path.unlink()
        if path.parent.name != "targets" and path.name != "1.root.json":
            with pytest.raises(RejectedError):
                verify(DirectoryMedium(mount), bench.root, NOW)
        path.write_bytes(good)
    assert targets(mount, bench.root) == {"gw-1.json"}


def test_writing_again_mends_a_damaged_stick(bench: Bench) -> None:
    mount = bench.stick()
    good = tree(mount)
    for path in list((mount / "usbupdate").rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    bench.write(mount)
    assert tree(mount) == good


def test_what_technicians_and_devices_left_on_the_stick_stays(bench: Bench) -> None:
    mount = bench.stick()
    logs = mount / "usbupdate" / "logs" / "gw-0001"
    logs.mkdir(parents=True)
    (logs / "receipts.jsonl").write_bytes(b"{}\n")
    (mount / "holiday.jpg").write_bytes(b"photo")
    (mount / "usbupdate" / "old.txt").write_bytes(b"not ours")
    (mount / "usbupdate" / "payload" / "zz").mkdir()
    (mount / "usbupdate" / "payload" / "zz" / "left.part").write_bytes(b"half")
    bench.write(mount)
    assert (logs / "receipts.jsonl").read_bytes() == b"{}\n"
    assert (mount / "holiday.jpg").exists()
    assert not (mount / "usbupdate" / "old.txt").exists()
    assert not (mount / "usbupdate" / "payload" / "zz").exists()


@attack(By.STICK, On.OFFICE, "a stick comes back with links into the office's files", "nothing on a stick is followed")
def test_a_link_on_the_stick_leads_neither_writing_nor_removing_elsewhere(bench: Bench) -> None:
    precious = bench.folder / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"keep")
    mount = bench.stick()
    (mount / "usbupdate" / "old").symlink_to(precious)
    bench.write(mount)
    assert not (mount / "usbupdate" / "old").is_symlink()
    shutil.rmtree(mount / "usbupdate" / "payload")
    (mount / "usbupdate" / "payload").symlink_to(precious)
    with pytest.raises(UnusableFileError):
        bench.write(mount)
    assert tree(precious) == {"file": b"keep"}


def test_a_link_in_place_of_a_payload_folder_is_replaced_and_not_followed(bench: Bench) -> None:
    precious = bench.folder / "precious"
    precious.mkdir()
    mount = bench.stick()
    for folder in list((mount / "usbupdate" / "payload").iterdir()):
        shutil.rmtree(folder)
        folder.symlink_to(precious)
    bench.write(mount)
    assert list(precious.iterdir()) == []
    assert targets(mount, bench.root) == {"gw-1.json"}


def test_equal_payload_is_written_once(bench: Bench) -> None:
    bench.release(1, "pump", compatible=("acme,pump",), images={"rootfs": bench.image(1)})
    mount = bench.stick()
    assert targets(mount, bench.root) == {"gw-1.json", "pump-1.json"}
    assert len([path for path in (mount / "usbupdate" / "payload").rglob("*") if path.is_file()]) == 2


def test_a_stick_that_is_too_small_is_said_so_before_anything_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = bench.folder / "small"
    mount.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 20, 1 << 20, 100))
    with pytest.raises(StickFullError) as caught:
        bench.write(mount)
    assert caught.value.free == 100
    assert caught.value.needed > 2 * (256 << 10)
    assert list(mount.iterdir()) == []


def test_a_stick_that_runs_full_or_read_only_keeps_what_it_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = bench.stick()
    bench.release(2)

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StickWriteError, match="No space left"):
            bench.write(mount)
    assert targets(mount, bench.root) == {"gw-1.json"}


@attack(By.CHANCE, On.STICK, "a counterfeit stick in the office", "read back past the cache")
def test_a_stick_that_forgets_what_was_written_is_found_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = durable.forget_cached

    def forget(path: Path) -> None:
        if path.parent.parent.name == "payload":
            path.write_bytes(bytes(path.stat().st_size))
        real(path)

    monkeypatch.setattr(durable, "forget_cached", forget)
    mount = bench.folder / "fake"
    mount.mkdir()
    with pytest.raises(StickDidNotKeepError):
        bench.write(mount)


@attack(By.NETWORK, On.OFFICE, "payload in the repository is changed", "digests are compared before a stick is written")
def test_damage_in_the_repository_is_not_blamed_on_the_stick(bench: Bench) -> None:
    pack = max((path for path in bench.office.payload.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    pack.write_bytes(pack.read_bytes()[:-1] + b"?")
    mount = bench.folder / "new"
    mount.mkdir()
    with pytest.raises(OfficeFileError):
        bench.write(mount)
    assert not (mount / "usbupdate" / "metadata").exists()


@attack(
    By.NETWORK,
    On.STICK,
    "a bundle that nobody signed is put into the repository",
    "only what is signed by all who must is written",
)
def test_an_unsigned_bundle_does_not_reach_a_stick(bench: Bench) -> None:
    (bench.office.path / "keys" / "targets.pem").rename(bench.folder / "at-home.pem")
    assert bench.release(2).missing != ()
    with pytest.raises(NotSignedError):
        stick.plan(bench.office, NOW)


def test_a_root_that_waits_does_not_stop_sticks(bench: Bench) -> None:
    absent = bench.key("absent")
    (bench.folder / "absent.pem").unlink()
    bench.office, missing = office.rotate(bench.office, NOW, Hands({Role.ROOT: [f"{absent}.pub"]}))
    assert missing != ()
    assert targets(bench.stick(), bench.root) == {"gw-1.json"}


def test_a_stick_without_bundles_carries_trust_and_room_for_logs(bench: Bench) -> None:
    mount = bench.folder / "logs"
    mount.mkdir()
    stick.write(stick.plan(bench.office, NOW, stick.Wishes(log_only=True)), mount)
    checked = verify(DirectoryMedium(mount), bench.root, NOW)
    assert checked.bundles == ()
    assert checked.elsewhere == ("gw-1.json",)


def test_every_root_is_on_every_stick(bench: Bench) -> None:
    for _ in range(3):
        bench.office, _missing = office.rotate(bench.office, NOW, Hands())
    names = {path.name for path in (bench.stick() / "usbupdate" / "metadata").iterdir()}
    assert {f"{number}.root.json" for number in range(1, 5)} < names
    assert targets(bench.folder / "stick", bench.root) == {"gw-1.json"}


def test_a_withdrawn_bundle_is_offered_no_more(bench: Bench) -> None:
    bench.release(2)
    bundle.withdraw(bench.office, "gw", 2, NOW)
    assert targets(bench.stick(), bench.root) == {"gw-1.json"}


def test_a_stick_that_would_end_soon_is_not_written(bench: Bench) -> None:
    late = NOW + timedelta(days=352)
    with pytest.raises(ExpiresSoonError) as caught:
        stick.plan(bench.office, late)
    assert caught.value.role in {"snapshot", "timestamp"}
    stick.plan(bench.office, late, stick.Wishes(margin_days=5))
    upkeep.refresh(bench.office, late)
    stick.plan(bench.office, late)


def test_several_sticks_are_written_and_one_that_fails_stops_no_other(bench: Bench) -> None:
    mounts = [bench.folder / name for name in ("one", "nowhere", "two")]
    mounts[0].mkdir()
    mounts[2].mkdir()
    results = dict(stick.write_all(stick.plan(bench.office, NOW), mounts))
    assert isinstance(results[mounts[1]], UnusableFileError)
    assert tree(mounts[0]) == tree(mounts[2])
    assert targets(mounts[2], bench.root) == {"gw-1.json"}


def test_another_offices_stick_is_rejected_under_a_given_root_and_only_measured_without_one(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = open_bench(tmp_path_factory.mktemp("other"))
    medium = DirectoryMedium(other.stick())
    with pytest.raises(RejectedError):
        inspection.inspect(medium, bench.office.path / "metadata" / "1.root.json", NOW)
    found = inspection.inspect(medium, None, NOW)
    assert not found.is_root_given
    with pytest.raises(UnusableFileError):
        inspection.inspect(medium, bench.folder / "no-root.json", NOW)


def test_a_foreign_stick_is_called_foreign(mount: Path) -> None:
    (mount / "holiday.jpg").write_bytes(b"photo")
    with pytest.raises(ForeignStickError):
        inspection.inspect(DirectoryMedium(mount), None, NOW)


def test_an_expired_stick_is_rejected(bench: Bench) -> None:
    with pytest.raises(RejectedError):
        inspection.inspect(DirectoryMedium(bench.stick()), None, NOW + timedelta(days=400))


@attack(By.STICK, On.OFFICE, "folders nested without end", "a limit on depth")
def test_folders_nested_without_end_are_no_crash(bench: Bench) -> None:
    mount = bench.stick("deep")
    folder = mount / "usbupdate" / "payload"
    for _ in range(40):
        folder /= "d"
        folder.mkdir()
    with pytest.raises(StickWriteError, match="without end"):
        bench.write(mount)
