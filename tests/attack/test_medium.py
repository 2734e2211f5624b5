"""What lies on a stick in place of a file: nothing of it is followed, waited for, believed or crashed over."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
import unicodedata
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.matrix import By, On, attack
from usbupdate import medium as medium_module
from usbupdate.core.layout import NAMES_MAX, MediumPath, require_no_folding_names
from usbupdate.errors import (
    FoldingNamesError,
    MediumError,
    MediumFileKindError,
    MediumFileMissingError,
    MediumFileSizeError,
    RejectedError,
    TooManyNamesError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbupdate.medium import DirectoryMedium

FOLDER = ("usbupdate", "metadata")
FILE = (*FOLDER, "timestamp.json")
LIMIT = 1 << 20


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file outside the stick that a link could betray."""
    path = tmp_path / "secret"
    path.write_bytes(b"private")
    return path


@pytest.fixture
def place(mount: Path) -> Path:
    """Return where the file should be; its folder is there."""
    path = mount.joinpath(*FILE)
    path.parent.mkdir(parents=True)
    return path


def _readings(medium: DirectoryMedium, path: MediumPath) -> list[Callable[[], object]]:
    return [lambda: medium.read(path, LIMIT), lambda: medium.read_at(path, 0, 1), lambda: medium.size(path)]


def _assert_rejected_as_kind(medium: DirectoryMedium, path: MediumPath = FILE) -> None:
    for reading in _readings(medium, path):
        with pytest.raises(MediumFileKindError, match="not an ordinary file"):
            reading()


@attack(By.STICK, On.TRUST, "a link to a file of the device", "O_NOFOLLOW, beneath the stick's folder only")
def test_link_to_a_file_of_the_device(medium: DirectoryMedium, place: Path, secret: Path) -> None:
    place.symlink_to(secret)
    _assert_rejected_as_kind(medium)


def test_link_to_a_file_on_the_same_stick(medium: DirectoryMedium, place: Path) -> None:
    place.with_name("other.json").write_bytes(b"{}")
    place.symlink_to("other.json")
    _assert_rejected_as_kind(medium)


def test_dangling_link_is_not_taken_for_a_missing_file(medium: DirectoryMedium, place: Path) -> None:
    place.symlink_to("/nowhere/at/all")
    _assert_rejected_as_kind(medium)


def test_link_to_itself(medium: DirectoryMedium, place: Path) -> None:
    place.symlink_to(place)
    _assert_rejected_as_kind(medium)


@attack(By.STICK, On.TRUST, "a link in place of a folder", "every folder of a path is opened without following")
def test_link_in_place_of_a_folder(medium: DirectoryMedium, mount: Path, secret: Path) -> None:
    outside = secret.parent / "outside"
    (outside / "metadata").mkdir(parents=True)
    (outside / "metadata" / "timestamp.json").write_bytes(b"{}")
    (mount / "usbupdate").symlink_to(outside)
    _assert_rejected_as_kind(medium)
    with pytest.raises(MediumFileKindError):
        medium.names(FOLDER)


def test_link_in_place_of_the_last_folder(medium: DirectoryMedium, mount: Path, secret: Path) -> None:
    (mount / "usbupdate").mkdir()
    (mount / "usbupdate" / "metadata").symlink_to(secret.parent)
    with pytest.raises(MediumFileKindError):
        medium.read((*FOLDER, "secret"), LIMIT)
    with pytest.raises(MediumFileKindError):
        medium.names(FOLDER)


@attack(By.STICK, On.SERVICE, "a FIFO that nobody writes to", "O_NONBLOCK, and only ordinary files")
def test_fifo_does_not_hang(medium: DirectoryMedium, place: Path) -> None:
    os.mkfifo(place)
    # A hang would hang the run: look from a thread that may be left behind.
    found: list[BaseException | None] = []

    def look() -> None:
        try:
            _assert_rejected_as_kind(medium)
        except BaseException as error:  # noqa: BLE001 - carried to the test's own thread
            found.append(error)
        else:
            found.append(None)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert found == [None]


@attack(By.STICK, On.SERVICE, "a socket in place of a file", "only ordinary files")
def test_socket(medium: DirectoryMedium, mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mount / "usbupdate").mkdir()
    monkeypatch.chdir(mount / "usbupdate")  # the address of a socket may have 107 bytes
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind("s")
        _assert_rejected_as_kind(medium, ("usbupdate", "s"))


@attack(By.STICK, On.SERVICE, "a device node in place of a file", "nodev, and only ordinary files")
@pytest.mark.parametrize(("kind", "major", "minor"), [(stat.S_IFCHR, 1, 5), (stat.S_IFBLK, 7, 200)], ids=["character", "block"])
def test_device_node(medium: DirectoryMedium, place: Path, kind: int, major: int, minor: int) -> None:
    try:
        os.mknod(place, kind | 0o600, os.makedev(major, minor))
    except PermissionError:
        pytest.skip("this account may not make device nodes")
    # A system that does not let the node be opened at all is as good, but reads as a stick that fails.
    for reading in _readings(medium, FILE):
        with pytest.raises((MediumFileKindError, MediumError)):
            reading()


def test_folder_in_place_of_a_file(medium: DirectoryMedium, place: Path) -> None:
    place.mkdir()
    _assert_rejected_as_kind(medium)


def test_file_in_place_of_a_folder(medium: DirectoryMedium, mount: Path) -> None:
    (mount / "usbupdate").write_bytes(b"I am a file")
    _assert_rejected_as_kind(medium)
    with pytest.raises(MediumFileKindError):
        medium.names(("usbupdate",))


@attack(By.STICK, On.SERVICE, "a file of terabytes", "sizes are compared before anything is read")
def test_huge_file_is_not_read(medium: DirectoryMedium, place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MediumFileSizeError) as caught:
        medium.read(FILE, LIMIT)
    assert caught.value.size == 1 << 40
    assert caught.value.allowed == LIMIT


@attack(By.STICK, On.SERVICE, "a file that grows while it is read", "no byte more than announced is believed")
def test_file_that_grows_while_it_is_read(medium: DirectoryMedium, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write_bytes(b"x" * 100)

    def read_a_moment_later(descriptor: int, size: int) -> bytes:
        with place.open("ab") as file:
            file.write(b"y")
        return os.pread(descriptor, size, 0)

    monkeypatch.setattr(medium_module, "_read_up_to", read_a_moment_later)
    with pytest.raises(MediumFileSizeError):
        medium.read(FILE, LIMIT)


@attack(By.STICK, On.SERVICE, "a file that shrinks while it is read", "exact sizes")
def test_file_that_shrinks_while_it_is_read(medium: DirectoryMedium, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joined = medium_module._joined

    def read_a_moment_later(read: Callable[[int, int], bytes], size: int) -> bytes:
        os.truncate(place, 40)
        return joined(read, size)

    monkeypatch.setattr(medium_module, "_joined", read_a_moment_later)
    for reading in (partial(medium.read, FILE, LIMIT), partial(medium.read_at, FILE, 0, 100)):
        place.write_bytes(b"x" * 100)
        with pytest.raises(MediumFileSizeError):
            reading()
        place.write_bytes(b"x" * 100)
        with medium.kept_open(), pytest.raises(MediumFileSizeError):
            reading()


def test_files_are_kept_open_for_as_long_as_it_was_asked_and_no_longer(medium: DirectoryMedium, place: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as plain as can be

    place.write_bytes(b"abc")
    before = open_files()
    with medium.kept_open():
        assert [medium.read_at(FILE, at, 1) for at in (0, 2, 1)] == [b"a", b"c", b"b"]
        assert open_files() == before + 1
        # What was opened is what goes on being read: a file that is put in its place is another one.
        place.unlink()
        assert medium.read_at(FILE, 0, 3) == b"abc"
    assert open_files() == before
    with pytest.raises(MediumFileMissingError):
        medium.read_at(FILE, 0, 3)


@attack(By.SIGNER, On.SERVICE, "more packs than a process may have files open", "a limit on files that are kept open")
def test_a_stick_of_very_many_packs_does_not_take_all_descriptors(
    medium: DirectoryMedium, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(medium_module, "_KEPT_MAX", 1)
    other = place.with_name("other")
    place.write_bytes(b"abc")
    other.write_bytes(b"xyz")
    with medium.kept_open():
        assert medium.read_at(FILE, 0, 3) == b"abc"
        before = os.listdir("/proc/self/fd")  # noqa: PTH208 - as plain as can be
        assert medium.read_at((*FILE[:-1], "other"), 0, 3) == b"xyz"
        assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208 - the same


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_the_mediums_fault_and_proves_nothing(medium: DirectoryMedium, place: Path) -> None:
    place.write_bytes(b"{}")
    place.chmod(0)
    with pytest.raises(MediumError):
        medium.read(FILE, LIMIT)


@attack(By.STICK, On.SERVICE, "a folder of a hundred thousand names", "listing stops at a limit")
def test_folder_of_very_many_names_is_not_listed_to_its_end(medium: DirectoryMedium, place: Path) -> None:
    source = place.with_name("0")
    source.touch()
    for number in range(1, 12_000):
        os.link(source, place.with_name(str(number)))
    with pytest.raises(TooManyNamesError) as caught:
        medium.names(FOLDER)
    assert caught.value.allowed == NAMES_MAX
    with pytest.raises(TooManyNamesError):
        require_no_folding_names(medium)


def test_hundred_thousand_foreign_names_beside_ours_end_in_an_error_of_the_tree(
    medium: DirectoryMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = 0

    class Entry:
        def __init__(self, number: int) -> None:
            self.name = f"DSC{number:06}.JPG"

    class Entries:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Self:
            return self

        def __next__(self) -> Entry:
            nonlocal listed
            listed += 1
            if listed > 100_000:
                raise StopIteration
            return Entry(listed)

    monkeypatch.setattr(os, "scandir", lambda _: Entries())
    with pytest.raises(TooManyNamesError):
        medium.names(())
    assert listed == NAMES_MAX + 1


@attack(By.STICK, On.SLOT, "names that differ in case only", "names that fold together are rejected")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("timestamp.json", "TIMESTAMP.JSON"),
        ("timestamp.json", "time\u017ftamp.json"),
        ("1.root.json", "\uff11.root.json"),
        (unicodedata.normalize("NFC", "é.json"), unicodedata.normalize("NFD", "é.json")),
        ("straße.json", "STRASSE.json"),
    ],
    ids=["case", "long-s", "full-width", "nfc-nfd", "sharp-s"],
)
def test_two_names_that_fold_together(medium: DirectoryMedium, place: Path, first: str, second: str) -> None:
    for name in (first, second):
        place.with_name(name).touch()
    with pytest.raises(FoldingNamesError) as caught:
        require_no_folding_names(medium)
    assert {caught.value.first, caught.value.second} == {first, second}


def test_two_tops_that_fold_together(medium: DirectoryMedium, mount: Path) -> None:
    (mount / "usbupdate").mkdir()
    (mount / "USBUPDATE").mkdir()
    with pytest.raises(FoldingNamesError):
        require_no_folding_names(medium)


def test_two_folders_of_ours_that_fold_together(medium: DirectoryMedium, mount: Path) -> None:
    for name in ("metadata", "Metadata"):
        (mount / "usbupdate" / name).mkdir(parents=True)
    with pytest.raises(FoldingNamesError):
        require_no_folding_names(medium)


HOSTILE_NAMES = [
    b"\xff\xfe not utf-8",
    b"\xc0\xaf\xc0\xaf",
    b"\xed\xa0\x80 surrogate",
    b"\x1b]0;owned\x07",
    b"two\nlines",
    b"%s%n{0.__class__}",
    b"$(reboot)`reboot`;reboot",
    b"-rf",
    "\u202egnp.exe".encode(),
    b"x" * 255,
]


@attack(
    By.STICK,
    On.SERVICE,
    "names that are no UTF-8, overlong or full of control characters",
    "names are bytes until they match our grammar",
)
@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_hostile_names_are_listed_and_folded_without_a_crash(medium: DirectoryMedium, place: Path) -> None:
    for name in HOSTILE_NAMES:
        Path(os.fsdecode(os.fsencode(place.parent) + b"/" + name)).touch()
    assert {os.fsencode(name) for name in medium.names(FOLDER)} == set(HOSTILE_NAMES)
    require_no_folding_names(medium)


@attack(By.STICK, On.RECORD, "escape sequences in names, for whoever reads the log", "only printable characters are shown")
@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_hostile_names_are_printed_safely(medium: DirectoryMedium, place: Path, name: bytes) -> None:
    shown = os.fsdecode(name)
    Path(os.fsdecode(os.fsencode(place.parent) + b"/" + name)).mkdir()
    with pytest.raises(MediumFileKindError) as caught:
        medium.read((*FOLDER, shown), LIMIT)
    assert str(caught.value).isprintable()
    str(caught.value).encode("utf-8")


@attack(By.STICK, On.TRUST, "a name with slashes and dots", "no name with a separator is asked for")
@pytest.mark.parametrize(
    "name", ["..", ".", "", "../secret", "/etc/passwd", "a/b", "a\\b", "C:", "a:stream", "nul\0byte"], ids=repr
)
def test_a_name_that_is_a_path_does_not_climb_out(
    medium: DirectoryMedium, place: Path, mount: Path, secret: Path, name: str
) -> None:
    for path in ((name,), (*FOLDER, name), ("usbupdate", name, "secret"), ("usbupdate", "..", "..", "secret")):
        for reading in _readings(medium, path):
            with pytest.raises(RejectedError):
                reading()
        with pytest.raises(RejectedError):
            medium.names(path)


@pytest.mark.parametrize("name", ["\ud800", "x" * 256, "x" * 100_000], ids=["surrogate", "overlong", "very-overlong"])
def test_a_name_that_no_file_can_have_is_an_error_of_the_tree(medium: DirectoryMedium, place: Path, name: str) -> None:
    for reading in _readings(medium, (*FOLDER, name)):
        with pytest.raises(MediumFileMissingError):
            reading()
