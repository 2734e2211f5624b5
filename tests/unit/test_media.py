from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import MediumFacts
from usbupdate.device import process
from usbupdate.device.clock import LinuxClock
from usbupdate.device.facts import FACT_MAX, FileSystem, StickDevice, medium_facts, probe, was_in_at_start
from usbupdate.device.media import insertion_of, opened
from usbupdate.errors import (
    FileSystemNotAllowedError,
    ForeignStickError,
    LogStickFullError,
    MediumUnreadableError,
    MountedElsewhereError,
    MountFailedError,
    StickReadOnlyError,
    TwoSticksError,
    UnusableFileError,
)

from .test_configuration import SMALL, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbupdate.device.configuration import Configuration

TIMESTAMP = ("usbupdate", "metadata", "timestamp.json")
RECEIPTS = "usbupdate/logs/gw-1/receipts.jsonl"
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
LOSETUP = shutil.which("losetup", path=PATH)
BOTH = '\n[media]\nfilesystems = ["vfat", "ext4"]\n'


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """Return a configuration that allows ext4 too, which every kernel that runs the tests can mount."""
    return load(tmp_path, BOTH)


def load(folder: Path, more: str = "") -> Configuration:
    from usbupdate.device.configuration import load_configuration  # noqa: PLC0415  # beside its only use

    return load_configuration(write(folder, SMALL + more))


@pytest.fixture
def contents(tmp_path: Path) -> Path:
    """Return what stands on a stick, as a folder."""
    folder = tmp_path / "contents"
    file = folder.joinpath(*TIMESTAMP)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"{}")
    return folder


def tool(*argv: str | Path) -> str:
    environment = {"PATH": PATH, "LC_ALL": "C"}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout


# --- Folders ---


def test_a_folder_is_read_and_written_as_it_is(contents: Path, configuration: Configuration) -> None:
    with opened(contents, configuration) as medium:
        assert medium.reader.read(TIMESTAMP, 10) == b"{}"
        assert medium.facts() == MediumFacts()
        with medium.writable() as folder:
            assert folder == contents


@pytest.mark.parametrize("kind", ["nothing", "file", "link"])
def test_a_foreign_stick_is_never_written_to(mount: Path, configuration: Configuration, kind: str) -> None:
    if kind == "file":
        (mount / "usbupdate").touch()
    if kind == "link":
        (mount / "usbupdate").symlink_to("/")
    with opened(mount, configuration) as medium, pytest.raises(ForeignStickError), medium.writable():
        pass


def test_what_is_no_stick_at_all_is_named(tmp_path: Path, configuration: Configuration) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in (tmp_path / "fifo", tmp_path / "none", Path("/dev/null")):
        with pytest.raises(UnusableFileError), opened(source, configuration):
            pass


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEDIUM, errno.ENXIO, errno.ENODEV])
def test_a_stick_that_cannot_be_looked_at_is_an_error_of_the_stick(
    contents: Path, configuration: Configuration, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "stat", failing(Path.stat, contents, number))
    with pytest.raises(MediumUnreadableError, match=os.strerror(number)), opened(contents, configuration):
        pass


def failing(real: Callable[..., os.stat_result], place: Path, number: int) -> Callable[..., os.stat_result]:
    """Return a `stat` in whose eyes one place fails."""

    def stat(self: Path, **keywords: bool) -> os.stat_result:
        if self == place:
            raise OSError(number, os.strerror(number), str(self))
        return real(self, **keywords)

    return stat


def test_a_stick_of_which_nothing_can_be_read_does_not_pass_for_a_blank_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "reader-without-a-card"
    # What blkid says of a blank disk, and of one that it cannot open.
    monkeypatch.setattr(process, "run", lambda *_, **__: process.Finished(2, b""))
    with pytest.raises(MediumUnreadableError):
        probe(stick)
    stick.write_bytes(bytes(4096))
    assert probe(stick) == FileSystem()


def test_a_folder_that_is_gone_says_nothing_of_itself(contents: Path, configuration: Configuration) -> None:
    with opened(contents, configuration) as medium:
        shutil.rmtree(contents)
        assert medium.facts() == MediumFacts()
        with pytest.raises(ForeignStickError), medium.writable():
            pass


# --- Images ---


@pytest.fixture
def image(tmp_path: Path, contents: Path) -> Path:
    for name in ("mcopy", "mkfs.vfat"):
        if shutil.which(name, path=PATH) is None:
            pytest.skip(f"{name} is not installed")
    path = tmp_path / "stick.img"
    with path.open("wb") as file:
        file.truncate(40 << 20)
    tool("mkfs.vfat", "-F", "32", "-n", "STICK", "-i", "1234abcd", path)
    tool("mcopy", "-s", "-i", path, contents / "usbupdate", "::/")
    return path


def test_an_image_is_read_and_gets_its_log_back(image: Path, configuration: Configuration) -> None:
    for text in ("one\n", "one\ntwo\n"):
        with opened(image, configuration) as medium:
            assert medium.reader.read(TIMESTAMP, 10) == b"{}"
            assert medium.facts() == MediumFacts(filesystem_uuid="1234-ABCD", label="STICK")
            copy = medium.reader.mount
            with medium.writable() as folder:
                (folder / RECEIPTS).parent.mkdir(parents=True, exist_ok=True)
                (folder / RECEIPTS).write_text(text)
        assert tool("mtype", "-i", image, f"::/{RECEIPTS}") == text
        assert not copy.exists()


def test_the_copy_that_a_killed_command_left_is_removed_and_one_in_use_is_not(
    image: Path, tmp_path: Path, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "usbupdate-image-left"
    (left / "usbupdate").mkdir(parents=True)
    os.utime(left, (0, 0))
    with opened(image, configuration) as first:
        assert not left.exists()
        os.utime(first.reader.mount, (0, 0))
        with opened(image, configuration):
            assert first.reader.read(TIMESTAMP, 10) == b"{}"
    assert not list(tmp_path.glob("usbupdate-*"))


def test_a_full_image_says_that_it_did_not_take_the_log(image: Path, configuration: Configuration) -> None:
    def write_too_much() -> None:
        with medium.writable() as folder:
            (folder / RECEIPTS).parent.mkdir(parents=True)
            (folder / RECEIPTS).touch()
            os.truncate(folder / RECEIPTS, 50 << 20)

    with opened(image, configuration) as medium, pytest.raises(LogStickFullError):
        write_too_much()


def test_an_image_with_foreign_files_only_is_not_written_to(image: Path, configuration: Configuration) -> None:
    tool("mdeltree", "-i", image, "::/usbupdate")
    before = image.read_bytes()
    with opened(image, configuration) as medium, pytest.raises(ForeignStickError), medium.writable():
        pass
    assert image.read_bytes() == before


def test_a_file_that_is_no_image_is_named(tmp_path: Path, configuration: Configuration) -> None:
    (tmp_path / "x.img").write_bytes(os.urandom(4096))
    with pytest.raises(UnusableFileError, match=r"x\.img"), opened(tmp_path / "x.img", configuration):
        pass


# --- Block devices ---


@contextmanager
def looped(image: Path, *options: str) -> Iterator[Path]:
    """Yield a loop device over an image, or skip the test where this machine gives none."""
    if os.geteuid() != 0 or LOSETUP is None:
        pytest.skip("loop devices need root and losetup")
    try:
        device = tool(LOSETUP, "--find", "--show", *options, image).strip()
    except subprocess.CalledProcessError:
        pytest.skip("this machine gives no loop device")
    try:
        yield Path(device)
    finally:
        tool(LOSETUP, "--detach", device)


def make_ext4(path: Path, contents: Path, label: str) -> Path:
    with path.open("wb") as file:
        file.truncate(8 << 20)
    tool("mke2fs", "-q", "-t", "ext4", "-L", label, "-d", contents, path)
    return path


@pytest.fixture
def disk(tmp_path: Path, contents: Path) -> Iterator[Path]:
    with looped(make_ext4(tmp_path / "disk.img", contents, "ODD\x1bLABEL")) as device:
        yield device


def options_of(folder: Path) -> set[str]:
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    (options,) = [fields[5] for fields in lines if fields[4] == str(folder)]
    return set(options.split(","))


def test_a_block_device_is_mounted_harmlessly_and_taken_away(disk: Path, tmp_path: Path, configuration: Configuration) -> None:
    run_dir = tmp_path / "run"
    with opened(disk, configuration, run_dir=run_dir) as medium:
        folder = medium.reader.mount
        assert options_of(folder) >= {"ro", "nosuid", "nodev", "noexec"}
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert medium.reader.read(TIMESTAMP, 10) == b"{}"
        assert "\x1b" not in medium.facts().label
        assert len(medium.facts().filesystem_uuid) == 36
        with medium.writable() as top:
            assert options_of(folder) >= {"rw", "nosuid", "nodev", "noexec"}
            (top / "usbupdate" / "log").write_text("kept")
        assert "ro" in options_of(folder)
    assert not list(run_dir.iterdir())
    with opened(disk, configuration, run_dir=run_dir) as medium:
        assert medium.reader.read(("usbupdate", "log"), 10) == b"kept"


def test_a_write_protected_stick_is_read_and_says_that_it_cannot_be_written(
    tmp_path: Path, contents: Path, configuration: Configuration
) -> None:
    image = make_ext4(tmp_path / "disk.img", contents, "STICK")
    before = image.read_bytes()
    with looped(image, "--read-only") as device, opened(device, configuration, run_dir=tmp_path / "run") as medium:
        assert medium.reader.read(TIMESTAMP, 10) == b"{}"
        with pytest.raises(StickReadOnlyError, match=str(device)), medium.writable():
            pass
        assert medium.reader.read(TIMESTAMP, 10) == b"{}"
    assert image.read_bytes() == before


def test_a_folder_that_is_mounted_read_only_says_so_and_what_it_is(
    disk: Path, mount: Path, configuration: Configuration
) -> None:
    tool("mount", "-o", "ro", disk, mount)
    try:
        with opened(mount, configuration) as medium:
            assert len(medium.facts().filesystem_uuid) == 36
            with pytest.raises(StickReadOnlyError), medium.writable():
                pass
    finally:
        tool("umount", mount)


def test_a_folder_and_a_disk_that_is_not_usb_count_as_put_in_just_now(disk: Path, contents: Path) -> None:
    assert [insertion_of(source, LinuxClock()) for source in (disk, contents, contents / "none")] == [Insertion.NEW] * 3


def test_a_stick_is_taken_away_at_control_c(disk: Path, tmp_path: Path, configuration: Configuration) -> None:
    with pytest.raises(KeyboardInterrupt), opened(disk, configuration, run_dir=tmp_path / "run"):
        raise KeyboardInterrupt
    assert not list((tmp_path / "run").iterdir())


def test_a_mount_that_a_killed_command_left_is_taken_away(disk: Path, tmp_path: Path, configuration: Configuration) -> None:
    left = tmp_path / "run" / "stick-left"
    left.mkdir(parents=True)
    tool("mount", "-o", "ro", disk, left)
    with opened(disk, configuration, run_dir=tmp_path / "run"):
        assert not left.exists()
    assert not list((tmp_path / "run").iterdir())


def test_a_stick_that_is_mounted_elsewhere_is_refused_by_naming_the_mount(
    disk: Path, mount: Path, tmp_path: Path, configuration: Configuration
) -> None:
    tool("mount", "-o", "ro", disk, mount)
    try:
        with pytest.raises(MountedElsewhereError, match=str(mount)), opened(disk, configuration, run_dir=tmp_path / "run"):
            pass
    finally:
        tool("umount", mount)


def test_a_place_where_nothing_can_be_mounted_is_an_error_and_no_traceback(
    disk: Path, tmp_path: Path, configuration: Configuration
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MountFailedError), opened(disk, configuration, run_dir=tmp_path / "file" / "run"):
        pass


def test_a_file_system_that_is_not_allowed_is_never_mounted(disk: Path, tmp_path: Path) -> None:
    with pytest.raises(FileSystemNotAllowedError, match="ext4"), opened(disk, load(tmp_path), run_dir=tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_blank_disk_is_refused(tmp_path: Path, configuration: Configuration) -> None:
    with (tmp_path / "blank.img").open("wb") as file:
        file.truncate(1 << 20)
    with (
        looped(tmp_path / "blank.img") as device,
        pytest.raises(FileSystemNotAllowedError, match="no file system"),
        opened(device, configuration, run_dir=tmp_path / "run"),
    ):
        pass


@contextmanager
def partitioned(tmp_path: Path, *partitions: Path) -> Iterator[Path]:
    """Yield a loop device whose partitions hold these images of 8 MiB; no kernel is asked to read a partition table."""
    if shutil.which("addpart", path=PATH) is None:
        pytest.skip("addpart is not installed")
    whole = tmp_path / "whole.img"
    whole.write_bytes(bytes(1 << 20) + b"".join(partition.read_bytes() for partition in partitions))
    with looped(whole) as device:
        for number in range(len(partitions)):
            tool("addpart", device, str(number + 1), str(2048 + number * 16384), "16384")
        try:
            if not Path(f"{device}p1").exists():
                pytest.skip("this machine shows no partitions of loop devices")
            yield device
        finally:
            for number in range(len(partitions)):
                tool("delpart", device, str(number + 1))


def test_a_disk_with_partitions_of_which_none_is_allowed_is_refused(tmp_path: Path, contents: Path) -> None:
    with (
        partitioned(tmp_path, make_ext4(tmp_path / "one", contents, "one")) as disk,
        pytest.raises(FileSystemNotAllowedError, match="ext4"),
        opened(disk, load(tmp_path), run_dir=tmp_path / "run"),
    ):
        pass


def test_two_partitions_with_our_folder_are_refused(tmp_path: Path, contents: Path, configuration: Configuration) -> None:
    both = [make_ext4(tmp_path / name, contents, name) for name in ("one", "two")]
    with partitioned(tmp_path, *both) as disk:
        for source in (disk, Path(f"{disk}p1"), Path(f"{disk}p2")):
            with pytest.raises(TwoSticksError), opened(source, configuration, run_dir=tmp_path / "run"):
                pass
    assert not list((tmp_path / "run").iterdir())


def test_of_two_partitions_the_one_with_our_folder_is_taken(
    tmp_path: Path, contents: Path, mount: Path, configuration: Configuration
) -> None:
    with partitioned(tmp_path, make_ext4(tmp_path / "one", mount, "one"), make_ext4(tmp_path / "two", contents, "two")) as disk:
        for source in (disk, Path(f"{disk}p1"), Path(f"{disk}p2")):
            with opened(source, configuration, run_dir=tmp_path / "run") as medium:
                assert medium.facts().label == "two"


# --- Facts ---


def test_what_a_stick_says_of_itself_is_cleaned(tmp_path: Path) -> None:
    usb = tmp_path / "usb1" / "1-1"
    sys = usb / "host" / "block" / "sda" / "sda1"
    sys.mkdir(parents=True)
    (usb / "idVendor").write_text("0951\n")
    (usb / "idProduct").write_text("1666\n")
    (usb / "serial").write_bytes(b"\x1b[2J\xff" + b"x" * 1000)
    facts = medium_facts(FileSystem(type="vfat", uuid="U", label="L"), StickDevice(Path("/dev/sda1"), "8:1", sys))
    assert (facts.usb_id, facts.filesystem_uuid, facts.label) == ("0951:1666", "U", "L")
    assert facts.serial.isprintable()
    assert len(facts.serial) <= FACT_MAX


@pytest.mark.parametrize(
    ("connected_ms", "announced_us", "now_ms", "expected"),
    [
        ("298000", None, 300_000, True),
        ("5000", None, 300_000, False),
        # The kernel's word counts more than udev's, which may have started late.
        ("298000", "200000000", 300_000, True),
        (None, "4000000", 300_000, True),
        (None, "200000000", 300_000, False),
        (None, None, 300_000, False),
        ("garbage", "garbage", 300_000, False),
    ],
)
def test_a_stick_that_stayed_in_over_a_restart_is_told_from_one_that_was_put_in(
    tmp_path: Path, connected_ms: str | None, announced_us: str | None, now_ms: int, expected: bool
) -> None:
    sys = tmp_path / "1-1" / "block" / "sda" / "sda1"
    sys.mkdir(parents=True)
    (tmp_path / "1-1" / "idVendor").write_text("0951\n")
    if connected_ms is not None:
        (tmp_path / "1-1" / "power").mkdir()
        (tmp_path / "1-1" / "power" / "connected_duration").write_text(f"{connected_ms}\n")
    if announced_us is not None:
        (tmp_path / "b8:1").write_text(f"S:disk/by-uuid/1\nI:{announced_us}\nE:ID_BUS=usb\n")
    device = StickDevice(Path("/dev/sda1"), "8:1", sys)
    assert was_in_at_start(device, now_ms, udev_data=tmp_path) is expected
