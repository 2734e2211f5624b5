from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, strategies as st

from refdevice.partitiontable import Table, read_table
from refdevice.stickdamage import Damage, damage
from refdevice.stickimage import MIB, FileSystem, Fill, Partition, make_disk, make_stick, open_partition, read_stick
from refdevice.volume import copy_out
from tests.office import NOW, open_bench
from usbupdate.device.process import BARE_ENVIRONMENT
from usbupdate.errors import (
    MediumFileMissingError,
    MediumUnreadableError,
    StickFullError,
    UnusableFileError,
    UnusableValueError,
    UsbupdateError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import stick
from usbupdate.packager.duplicate import write_image
from usbupdate.packager.verification import verify

PATH = BARE_ENVIRONMENT["PATH"]
TOOLS = ("mkfs.fat", "mcopy", "fsck.fat", "mkfs.exfat", "fsck.exfat", "mke2fs", "e2fsck", "debugfs", "sfdisk")
BOTH = pytest.mark.parametrize("filesystem", [FileSystem.FAT32, FileSystem.EXFAT])
EACH = pytest.mark.parametrize("filesystem", list(FileSystem))

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool, path=PATH) is None for tool in TOOLS), reason=f"needs all of {', '.join(TOOLS)}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "folder"
    _fill(top)
    return top


def _fill(top: Path) -> None:
    for inside in ("metadata", "targets", "payload/ab", "payload/cd", "logs/gw-0001", "logs/gw-0002"):
        (top / "usbupdate" / inside).mkdir(parents=True)
    for name, contents in _files().items():
        (top / name).write_bytes(contents)


def _files() -> dict[str, bytes]:
    many = {f"usbupdate/payload/ab/{number:064x}": str(number).encode() for number in range(300)}
    return {
        "another file.txt": b"a person's own",
        "usbupdate/READ-ME.txt": b"what this stick is",
        "usbupdate/metadata/1.root.json": b"{}",
        f"usbupdate/targets/{'d' * 200} a long name, with Ümläuts.json": b"[]",
        "usbupdate/payload/cd/large": b"0123456789abcdef" * (5 * MIB // 16),
        "usbupdate/logs/gw-0001/summary.txt": b"",
        "usbupdate/logs/gw-0001/CHECKP": b"capitals",
        **many,
    }


def _found(top: Path) -> dict[str, bytes]:
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def _run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, env=dict(BARE_ENVIRONMENT), check=False)


def _require_sound(image: Path, partition: int, filesystem: FileSystem) -> None:
    """Let the file system's own checker look at a partition."""
    with image.open("rb") as disk:
        extent = read_table(disk, image.stat().st_size)[partition - 1]
        disk.seek(extent.start)
        alone = image.with_suffix(".partition")
        alone.write_bytes(disk.read(extent.size))
    checkers = {
        FileSystem.FAT32: ("fsck.fat", "-n"),
        FileSystem.EXFAT: ("fsck.exfat", "-n"),
        FileSystem.EXT4: ("e2fsck", "-f", "-n"),
    }
    done = _run(*checkers[filesystem], alone)
    assert done.returncode == 0, done.stdout + done.stderr


@BOTH
@pytest.mark.parametrize("table", list(Table))
def test_what_was_put_onto_a_stick_comes_back(folder: Path, tmp_path: Path, filesystem: FileSystem, table: Table) -> None:
    image = tmp_path / "stick.img"
    make_stick(image, folder, filesystem=filesystem, table=table)
    assert image.stat().st_size == 64 * MIB
    assert image.stat().st_blocks * 512 < 16 * MIB
    _require_sound(image, 1, filesystem)
    read_stick(image, tmp_path / "all", only=None)
    assert _found(tmp_path / "all") == _files()
    assert (tmp_path / "all/usbupdate/logs/gw-0002").is_dir()
    read_stick(image, tmp_path / "ours")
    assert _found(tmp_path / "ours") == {name: data for name, data in _files().items() if name.startswith("usbupdate/")}


def test_another_program_finds_the_same_on_a_fat32_stick(folder: Path, tmp_path: Path) -> None:
    image, copy = tmp_path / "stick.img", tmp_path / "copy"
    make_stick(image, folder)
    copy.mkdir()
    done = _run("mcopy", "-s", "-i", f"{image}@@1M", "::/usbupdate", copy)
    assert done.returncode == 0, done.stderr
    assert _found(copy) == {name: data for name, data in _files().items() if name.startswith("usbupdate/")}


@EACH
def test_the_same_folder_gives_the_same_bytes_wherever_and_whenever(tmp_path: Path, filesystem: FileSystem) -> None:
    for number, name in enumerate(("one", "other")):
        _fill(tmp_path / name)
        for path in (tmp_path / name).rglob("*"):
            os.utime(path, (number * 10**9, number * 10**9))
        make_stick(tmp_path / f"{name}.img", tmp_path / name, filesystem=filesystem)
    assert (tmp_path / "one.img").read_bytes() == (tmp_path / "other.img").read_bytes()


@BOTH
def test_two_sticks_can_be_told_from_each_other(tmp_path: Path, filesystem: FileSystem) -> None:
    for number in (1, 2):
        make_stick(tmp_path / f"{number}.img", None, filesystem=filesystem, volume_id=number)
        _require_sound(tmp_path / f"{number}.img", 1, filesystem)
    assert (tmp_path / "1.img").read_bytes() != (tmp_path / "2.img").read_bytes()


@BOTH
def test_a_full_stick_has_no_free_cluster_and_its_files_are_whole(folder: Path, tmp_path: Path, filesystem: FileSystem) -> None:
    image = tmp_path / "stick.img"
    make_stick(image, folder, filesystem=filesystem, fill=Fill.TAKE_ALL)
    with open_partition(image) as volume:
        assert volume.free_clusters() == 0
    _require_sound(image, 1, filesystem)
    read_stick(image, tmp_path / "copy")
    assert _found(tmp_path / "copy").items() <= _files().items()


@BOTH
def test_files_in_the_root_may_need_more_than_its_first_cluster(tmp_path: Path, filesystem: FileSystem) -> None:
    top = tmp_path / "folder"
    top.mkdir()
    for number in range(300):
        (top / f"a file of somebody else {number}").touch()
    make_stick(tmp_path / "stick.img", top, filesystem=filesystem)
    _require_sound(tmp_path / "stick.img", 1, filesystem)
    read_stick(tmp_path / "stick.img", tmp_path / "copy", only=None)
    assert len(_found(tmp_path / "copy")) == 300


@BOTH
def test_a_folder_that_does_not_fit_is_refused_and_the_image_of_before_stays(tmp_path: Path, filesystem: FileSystem) -> None:
    image, top = tmp_path / "stick.img", tmp_path / "folder"
    image.write_bytes(b"before")
    top.mkdir()
    (top / "large").write_bytes(bytes(40 * MIB))
    with pytest.raises(StickFullError):
        make_stick(image, top, filesystem=filesystem, size=36 * MIB)
    assert image.read_bytes() == b"before"
    assert {path.name for path in tmp_path.iterdir()} == {"stick.img", "folder"}


@pytest.mark.parametrize("name", ["colon:", "end.", "back\\slash", 'quota"tion', "line\nfeed"])
def test_a_name_that_fat_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    top = tmp_path / "folder"
    top.mkdir()
    (top / name).touch()
    with pytest.raises(UnusableFileError):
        make_stick(tmp_path / "stick.img", top)


def test_links_and_names_that_fold_together_are_refused(tmp_path: Path) -> None:
    for number, link in enumerate((True, False)):
        top = tmp_path / str(number)
        top.mkdir()
        (top / "a").touch()
        if link:
            (top / "b").symlink_to("a")
        else:
            (top / "A").touch()
        with pytest.raises(UnusableFileError):
            make_stick(tmp_path / "stick.img", top)


@pytest.mark.parametrize(
    "wrong",
    [
        Partition(None, 20 * MIB),
        Partition(None, 64 * MIB + 512),
        Partition(None, 64 * MIB, label="TWELVE CHARS"),
        Partition(None, 64 * MIB, name="n" * 37),
        Partition(None, 64 * MIB, volume_id=1 << 32),
        Partition(None, 64 * MIB, FileSystem.EXT4, fill=Fill.TAKE_ALL),
    ],
)
def test_what_no_stick_can_be_is_refused(tmp_path: Path, wrong: Partition) -> None:
    with pytest.raises(UnusableValueError):
        make_disk(tmp_path / "stick.img", [wrong])


@pytest.mark.parametrize(("table", "number"), [(Table.NONE, 2), (Table.MBR, 5), (Table.MBR, 0)])
def test_a_table_takes_as_many_partitions_as_it_can(tmp_path: Path, table: Table, number: int) -> None:
    with pytest.raises(UnusableValueError):
        make_disk(tmp_path / "stick.img", [Partition(None, 8 * MIB, FileSystem.EXFAT)] * number, table=table)


def test_a_stick_can_pose_as_the_disk_of_a_device(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "stick.img"
    slots = [
        Partition(folder, 32 * MIB, FileSystem.EXT4, name, name.replace("-", ""), number)
        for number, name in enumerate(("rootfs-a", "rootfs-b", "state"))
    ]
    make_disk(image, [*slots, Partition(folder, 48 * MIB, name="usb")])
    listed = _run("sfdisk", "--list", "--output", "Start,Sectors,Name", image).stdout.splitlines()[-4:]
    assert [line.split() for line in listed] == [
        ["2048", "65536", "rootfs-a"],
        ["67584", "65536", "rootfs-b"],
        ["133120", "65536", "state"],
        ["198656", "98304", "usb"],
    ]
    assert "No errors" in _run("sfdisk", "--verify", image).stdout
    _require_sound(image, 1, FileSystem.EXT4)
    read_stick(image, tmp_path / "copy", partition=4)
    assert _found(tmp_path / "copy").items() <= _files().items()
    with pytest.raises(MediumUnreadableError):
        read_stick(image, tmp_path / "copy", partition=1)


@pytest.mark.parametrize("table", [Table.MBR, Table.GPT])
def test_two_partitions_can_both_carry_our_folder(folder: Path, tmp_path: Path, table: Table) -> None:
    image = tmp_path / "stick.img"
    make_disk(image, [Partition(folder, 40 * MIB), Partition(folder, 40 * MIB, FileSystem.EXFAT)], table=table)
    for number, filesystem in ((1, FileSystem.FAT32), (2, FileSystem.EXFAT)):
        _require_sound(image, number, filesystem)
        read_stick(image, tmp_path / str(number), partition=number)
    assert _found(tmp_path / "1") == _found(tmp_path / "2") != {}
    assert "No errors" in _run("sfdisk", "--verify", image).stdout
    with pytest.raises(MediumUnreadableError):
        read_stick(image, tmp_path / "3", partition=3)


def test_a_small_partition_beside_a_large_one_can_be_filled(folder: Path, tmp_path: Path) -> None:
    # mkfs.fat once chose its clusters by the size of the whole rest of the image, and made no FAT32 that others take for one.
    make_disk(tmp_path / "stick", [Partition(folder, 64 * MIB), Partition(None, 300 * MIB, volume_id=2)])
    read_stick(tmp_path / "stick", tmp_path / "back", only=None)
    assert _found(tmp_path / "back") == _files()


@BOTH
def test_a_stick_of_the_office_verifies_after_it_was_an_image(tmp_path: Path, filesystem: FileSystem) -> None:
    bench = open_bench(tmp_path)
    bench.release(1)
    make_stick(tmp_path / "stick.img", bench.stick(), filesystem=filesystem)
    read_stick(tmp_path / "stick.img", tmp_path / "copy")
    checked = verify(DirectoryMedium(tmp_path / "copy"), bench.root, NOW)
    assert [each.target for each in checked.bundles] == ["gw-1.json"]


def test_an_image_for_a_duplicator_is_read_too(tmp_path: Path) -> None:
    bench = open_bench(tmp_path)
    bench.release(1)
    write_image(stick.plan(bench.office, NOW), tmp_path / "stick.img")
    read_stick(tmp_path / "stick.img", tmp_path / "copy")
    assert _found(tmp_path / "copy") == _found(bench.stick())


def test_reading_back_replaces_nothing(folder: Path, tmp_path: Path) -> None:
    make_stick(tmp_path / "stick.img", folder)
    read_stick(tmp_path / "stick.img", tmp_path / "copy")
    with pytest.raises(UnusableFileError):
        read_stick(tmp_path / "stick.img", tmp_path / "copy")


def test_a_stick_without_our_folder_has_nothing_to_read_back(tmp_path: Path) -> None:
    make_stick(tmp_path / "stick.img", None)
    with pytest.raises(MediumFileMissingError):
        read_stick(tmp_path / "stick.img", tmp_path / "copy")
    read_stick(tmp_path / "stick.img", tmp_path / "copy", only=None)
    assert _found(tmp_path / "copy") == {}


@BOTH
@pytest.mark.parametrize("kind", list(Damage))
def test_damage_never_varies_and_is_found(folder: Path, tmp_path: Path, filesystem: FileSystem, kind: Damage) -> None:
    for name in ("one", "other"):
        make_stick(tmp_path / f"{name}.img", folder, filesystem=filesystem)
        damage(tmp_path / f"{name}.img", kind)
    assert (tmp_path / "one.img").read_bytes() == (tmp_path / "other.img").read_bytes()
    with pytest.raises(MediumUnreadableError):
        read_stick(tmp_path / "one.img", tmp_path / "copy")
    with pytest.raises(AssertionError):
        _require_sound(tmp_path / "one.img", 1, filesystem)


def test_a_spoilt_table_of_fat32_leaves_the_folders_readable(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "stick.img"
    make_stick(image, folder)
    damage(image, Damage.TABLE_GARBAGE)
    with open_partition(image) as volume:
        assert [node.name for node in volume.nodes(volume.root)] == ["usbupdate", "another file.txt"]


@dataclass(frozen=True)
class Small:
    """A stick with one file; `sectors` are those of its image that hold anything, by their offsets."""

    image: Path
    sectors: dict[int, bytes]


@pytest.fixture(scope="module", params=[FileSystem.FAT32, FileSystem.EXFAT])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    place = tmp_path_factory.mktemp("small")
    (place / "folder/usbupdate/metadata").mkdir(parents=True)
    (place / "folder/usbupdate/metadata/1.root.json").write_bytes(b"{}" * 5000)
    make_stick(place / "stick.img", place / "folder", filesystem=request.param, size=36 * MIB)
    contents = (place / "stick.img").read_bytes()
    sectors = {at: contents[at : at + 512] for at in range(0, len(contents), 512)}
    return Small(place / "stick.img", {at: sector for at, sector in sectors.items() if any(sector)})


@given(data=st.data())
def test_reading_ends_whatever_lies_on_a_stick(small: Small, data: st.DataObject) -> None:
    change = st.tuples(st.sampled_from(sorted(small.sectors)), st.integers(0, 500), st.binary(min_size=1, max_size=12))
    changes = data.draw(st.lists(change, min_size=1, max_size=4))
    with small.image.open("r+b") as disk:
        for sector, offset, contents in changes:
            disk.seek(sector + offset)
            disk.write(contents)
    with TemporaryDirectory() as copy, contextlib.suppress(UsbupdateError, OSError), open_partition(small.image) as volume:
        volume.free_clusters()
        copy_out(volume, volume.root, Path(copy))
    with small.image.open("r+b") as disk:
        for sector, _, _ in changes:
            disk.seek(sector)
            disk.write(small.sectors[sector] + small.sectors.get(sector + 512, bytes(512)))


@given(st.binary(max_size=100), st.integers(0, 511), st.sampled_from([b"", b"\xee"]))
def test_a_table_of_partitions_never_names_what_is_not_on_the_disk(contents: bytes, at: int, kind: bytes) -> None:
    size = 4 * MIB
    head = bytearray(2048)
    head[at : at + len(contents)] = contents
    head[450 : 450 + len(kind)] = kind
    head[510:512] = b"\x55\xaa"
    for extent in read_table(io.BytesIO(head), size):
        assert 0 <= extent.start < extent.end <= size
