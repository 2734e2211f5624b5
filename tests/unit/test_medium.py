from __future__ import annotations

import contextlib
import errno
import os
import pickle
import sys
from pathlib import Path

import pytest

from usbupdate.core.layout import MediumReader, require_no_folding_names
from usbupdate.errors import MediumFileKindError, MediumFileMissingError, MediumFileSizeError, UsbupdateError
from usbupdate.medium import DirectoryMedium

FILE = ("usbupdate", "metadata", "timestamp.json")


@pytest.fixture
def file(mount: Path) -> Path:
    path = mount.joinpath(*FILE)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0123456789")
    return path


def test_reads_a_whole_file_of_exactly_the_limit(file: Path, medium: DirectoryMedium) -> None:
    assert medium.read(FILE, 10) == b"0123456789"
    assert medium.size(FILE) == 10


def test_what_was_read_counts_although_it_cannot_be_closed(
    file: Path, medium: DirectoryMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def close_with_an_error(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", close_with_an_error)
    with medium.kept_open():
        assert medium.read(FILE, 10) == medium.read_at(FILE, 0, 10) == b"0123456789"


def test_reads_an_empty_file(file: Path, medium: DirectoryMedium) -> None:
    file.write_bytes(b"")
    assert medium.read(FILE, 0) == b""


def test_reads_a_range_up_to_the_last_byte_and_not_beyond(file: Path, medium: DirectoryMedium) -> None:
    assert medium.read_at(FILE, 0, 10) == b"0123456789"
    assert medium.read_at(FILE, 7, 3) == b"789"
    assert medium.read_at(FILE, 10, 0) == b""
    with pytest.raises(MediumFileSizeError):
        medium.read_at(FILE, 7, 4)
    with pytest.raises(MediumFileSizeError):
        medium.read_at(FILE, 11, 0)


def test_files_of_one_folder_are_read_as_each_by_its_path(file: Path, mount: Path, medium: DirectoryMedium) -> None:
    (file.parent / "link").symlink_to(file)
    with medium.held(FILE[:-1]) as folder:
        assert folder.read(FILE[-1], 10) == b"0123456789"
        for name in ("link", "gone", "..", "a/b", FILE[-1]):
            with pytest.raises(UsbupdateError) as held:
                folder.read(name, 9)
            with pytest.raises(UsbupdateError) as by_path:
                medium.read((*FILE[:-1], name), 9)
            assert (type(held.value), str(held.value)) == (type(by_path.value), str(by_path.value))
    with pytest.raises(MediumFileMissingError), medium.held(("usbupdate", "gone")):
        pass


def test_a_folder_tells_without_opening_anything_which_files_it_cannot_hold(file: Path, medium: DirectoryMedium) -> None:
    (file.parent / "UPPER.TXT").touch()
    (file.parent / "link").symlink_to("nowhere")
    with medium.held(FILE[:-1]) as folder:
        # On FAT a name is found in whatever case it was written.
        names = (FILE[-1], "upper.txt", "Upper.txt", "link", "gone")
        assert [folder.may_hold(name) for name in names] == [True, True, True, True, False]


def test_a_name_beyond_ascii_may_be_found_by_others_too(file: Path, medium: DirectoryMedium) -> None:
    """Which ones is up to the file system: a long s folds to an s on some."""
    (file.parent / "receipt\u017f.jsonl").touch()
    with medium.held(FILE[:-1]) as folder:
        assert folder.may_hold("receipts.jsonl")


def test_of_a_folder_that_cannot_be_listed_any_file_may_be_there(
    file: Path, medium: DirectoryMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_folder: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", failing)
    with medium.held(FILE[:-1]) as folder:
        assert folder.may_hold("anything")
        assert folder.read(FILE[-1], 10) == b"0123456789"


def test_a_system_that_reads_a_piece_at_a_time_gives_the_whole(
    file: Path, medium: DirectoryMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_at = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 3)))
    monkeypatch.setattr(os, "pread", lambda descriptor, size, offset: read_at(descriptor, min(size, 3), offset))
    assert medium.read(FILE, 10) == b"0123456789"
    assert medium.read_at(FILE, 1, 8) == b"12345678"
    assert medium.read_at(FILE, 1, 0) == b""


def test_what_is_wrong_with_the_stick_itself_is_said_of_the_stick(mount: Path, medium: DirectoryMedium) -> None:
    with pytest.raises(MediumFileKindError, match=r"^the stick "):
        medium.read(("",), 10)
    with pytest.raises(MediumFileMissingError, match=r"the file the stick\.$"):
        DirectoryMedium(mount / "gone").names(())


def test_of_a_folder_with_many_names_any_file_may_be_there(file: Path, medium: DirectoryMedium) -> None:
    for number in range(63):
        (file.parent / f"{number}").touch()
    with medium.held(FILE[:-1]) as folder:
        assert not folder.may_hold("gone")
    (file.parent / "one-more").touch()
    with medium.held(FILE[:-1]) as folder:
        assert folder.may_hold("gone")
        assert folder.read(FILE[-1], 10) == b"0123456789"


def test_names_but_those_of_ordinary_files(file: Path, mount: Path, medium: DirectoryMedium) -> None:
    (file.parent / "link").symlink_to(file)
    (file.parent / "folder").mkdir()
    assert medium.names_but_files(FILE[:-1]) == ("folder", "link")


def test_another_process_gets_the_same_stick(file: Path, medium: DirectoryMedium) -> None:
    assert pickle.loads(pickle.dumps(medium)).read(FILE, 10) == b"0123456789"  # noqa: S301 - its own


def test_missing_file_or_folder_is_named(mount: Path, medium: DirectoryMedium) -> None:
    for path in (FILE, ("usbupdate",)):
        with pytest.raises(MediumFileMissingError, match="/".join(path)):
            medium.read(path, 10)
    with pytest.raises(MediumFileMissingError):
        medium.names(("usbupdate",))


def test_missing_mount_is_an_error_of_the_tree(tmp_path: Path) -> None:
    with pytest.raises(MediumFileMissingError):
        DirectoryMedium(tmp_path / "gone").names(())


def test_names_are_sorted_and_the_stick_itself_has_some(file: Path, mount: Path, medium: DirectoryMedium) -> None:
    (mount / "aaa").mkdir()
    (mount / "zzz.txt").touch()
    assert medium.names(()) == ("aaa", "usbupdate", "zzz.txt")
    assert medium.names(FILE[:-1]) == ("timestamp.json",)


def test_a_mount_may_itself_be_reached_through_a_link(file: Path, mount: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(mount)
    assert DirectoryMedium(link).read(FILE, 10) == b"0123456789"


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_no_descriptor_stays_open_whatever_happens(file: Path, mount: Path, medium: DirectoryMedium) -> None:
    (mount / "usbupdate" / "link").symlink_to(file)
    before = _open_descriptors()
    for path in (FILE, ("usbupdate", "link"), ("usbupdate", "gone"), ("usbupdate", "metadata"), (*FILE, "below")):
        with contextlib.suppress(UsbupdateError):
            medium.read(path, 3)
        with contextlib.suppress(UsbupdateError):
            medium.read_at(path, 5, 50)
        with contextlib.suppress(UsbupdateError):
            medium.names(path)
        with contextlib.suppress(UsbupdateError), medium.held(path[:-1]) as folder:
            folder.read(path[-1], 3)
    assert _open_descriptors() == before


def test_ordinary_stick_has_no_folding_names(file: Path, mount: Path, medium: DirectoryMedium) -> None:
    (mount / "Photos").mkdir()
    (mount / "PHOTOS").mkdir()
    reader: MediumReader = medium
    require_no_folding_names(reader)
