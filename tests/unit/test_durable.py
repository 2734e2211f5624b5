from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from usbupdate import durable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is done to the disk, in order, with the name of the file it is done to."""
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")  # noqa: PTH115, PTH119 - text of /proc
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        done.append(f"replace {target.name}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return done


def test_save_syncs_the_file_before_it_takes_its_name_and_the_folder_after(tmp_path: Path, journal: list[str]) -> None:
    durable.save(tmp_path / "state.json", b"new")
    assert journal == ["fsync state.json.part", "replace state.json", f"fsync {tmp_path.name}"]


def test_a_disk_that_takes_nothing_ends_a_save_instead_of_holding_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable.save(tmp_path / "state.json", b"old")
    monkeypatch.setattr(os, "write", lambda descriptor, contents: 0)
    for change in (durable.save, durable.append):
        with pytest.raises(OSError, match="took nothing"):
            change(tmp_path / "state.json", b"new")
    assert (tmp_path / "state.json").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_cannot_be_closed_is_closed_once_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, close = [], os.close

    def close_with_an_error(descriptor: int) -> None:
        close(descriptor)
        closed.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", close_with_an_error)
    with pytest.raises(OSError, match="Input/output"):
        durable.save(tmp_path / "state.json", b"new")
    # Closed again, the number could be that of a file which another thread has opened meanwhile.
    assert len(closed) == len(set(closed)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held", [None, b"", b"old", b"newer and", b"newer and newest and more"])
def test_rewrite_writes_in_place_and_changes_no_name(tmp_path: Path, journal: list[str], held: bytes | None) -> None:
    path = tmp_path / "receipts.jsonl"
    if held is not None:
        path.write_bytes(held)
    number = path.stat().st_ino if held is not None else None
    durable.rewrite(path, b"newer and newest", begin=9 if held is not None and held.startswith(b"newer and") else 0)
    assert path.read_bytes() == b"newer and newest"
    assert number in {None, path.stat().st_ino}
    assert journal == ["fsync receipts.jsonl", f"fsync {tmp_path.name}"]


def test_rewrite_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_bytes(b"root")
    (tmp_path / "log").symlink_to(tmp_path / "shadow")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        durable.rewrite(tmp_path / "log", b"new")
    assert (tmp_path / "shadow").read_bytes() == b"root"


def test_point_renames_a_whole_link_and_syncs_the_folder(tmp_path: Path, journal: list[str]) -> None:
    durable.point(tmp_path / "current", "7")
    durable.point(tmp_path / "current", "8")
    assert journal == ["replace current", f"fsync {tmp_path.name}"] * 2
    assert (tmp_path / "current").readlink().name == "8"


def test_append_syncs_the_folder_of_a_new_file_only(tmp_path: Path, journal: list[str]) -> None:
    durable.append(tmp_path / "ledger", b"one\n")
    durable.append(tmp_path / "ledger", b"two\n")
    assert journal == ["fsync ledger", f"fsync {tmp_path.name}", "fsync ledger"]
    assert (tmp_path / "ledger").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize("failing", ["fsync", "write", "replace"])
def test_a_failed_save_leaves_the_old_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "state.json"
    durable.save(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="No space left"):
            durable.save(path, b"new")
    assert path.read_bytes() == b"old"
    # What the failure left behind is no obstacle to the next attempt.
    durable.save(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_mode_is_as_asked_whatever_the_umask_and_the_old_file_say(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o666)
    old = os.umask(0o777)
    try:
        durable.save(path, b"secret", mode=durable.PRIVATE)
        durable.save(tmp_path / "page", b"text")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o644


def test_a_link_laid_in_place_of_the_part_file_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "state.json.part").symlink_to(victim)
    durable.save(tmp_path / "state.json", b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "state.json").is_symlink()


def test_a_link_in_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "state.json").symlink_to(victim)
    durable.save(tmp_path / "state.json", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "state.json").read_bytes() == b"new"


def test_overwrite_keeps_the_files_blocks_and_length(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_bytes(b"#" * 1024)
    before = path.stat().st_ino
    durable.overwrite(path, b"A" * 10)
    assert path.read_bytes() == b"A" * 10 + b"#" * 1014
    assert path.stat().st_ino == before


def test_overwrite_and_truncate_do_not_make_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.overwrite(tmp_path / "gone", b"x")
    with pytest.raises(FileNotFoundError):
        durable.truncate(tmp_path / "gone", 0)
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[int, bytes], int] = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    durable.save(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_truncate_keeps_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"whole\npar")
    durable.truncate(path, 6)
    assert path.read_bytes() == b"whole\n"


def test_remove_is_done_when_nothing_is_there(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    path.touch()
    durable.remove(path)
    durable.remove(path)
    assert not path.exists()


def test_make_directory_syncs_every_folder_that_got_a_new_name(tmp_path: Path, journal: list[str]) -> None:
    durable.make_directory(tmp_path / "a" / "b")
    durable.make_directory(tmp_path / "a" / "b")
    assert journal == [f"fsync {tmp_path.name}", "fsync a"]


@pytest.mark.parametrize("mode", [None, 0o777, 0o750])
def test_make_private_closes_a_folder_that_is_there_too(tmp_path: Path, mode: int | None) -> None:
    folder = tmp_path / "a" / "b"
    if mode is not None:
        folder.mkdir(parents=True)
        folder.chmod(mode)
    durable.make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_clone_is_as_open_as_what_it_was_made_from(tmp_path: Path) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    (tmp_path / "a" / "inner").chmod(0o700)
    (tmp_path / "a").chmod(0o700)
    before = os.umask(0)
    try:
        durable.clone_tree(tmp_path / "a", tmp_path / "b")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "b", tmp_path / "b" / "inner")] == [0o700, 0o700]


def test_sync_tree_reaches_every_file_and_folder_and_follows_no_link(tmp_path: Path, journal: list[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    (tmp_path / "in" / "dangling").symlink_to("/nowhere")
    durable.sync_tree(tmp_path / "in")
    assert journal == ["fsync file", "fsync in"]
