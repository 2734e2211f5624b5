from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.board import USB, Board, gateway, loop_device
from usbupdate.core.words import Slot, SlotClass
from usbupdate.device.blockdevices import BlockDevices, Number
from usbupdate.device.slots import BlockSlots
from usbupdate.errors import SlotUnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOTFS = SlotClass("rootfs")
APP = SlotClass("app")
BY_LABEL = {Slot.A: {ROOTFS: "/dev/disk/by-partlabel/rootfs-a"}, Slot.B: {ROOTFS: "/dev/disk/by-partlabel/rootfs-b"}}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return gateway(tmp_path)


def slots_b(board: Board, path: str, **options: bool) -> BlockSlots:
    return BlockSlots({Slot.A: {ROOTFS: "/dev/mmcblk0p2"}, Slot.B: {ROOTFS: path}}, board.devices, **options)


def refusal(board: Board, path: str, **options: bool) -> str:
    with pytest.raises(SlotUnusableError) as caught:
        slots_b(board, path, **options).capacity(Slot.B)
    return caught.value.problem


def test_slots_on_the_disk_of_the_running_system_are_found_by_partition_label(board: Board) -> None:
    slots = BlockSlots(BY_LABEL, board.devices)

    assert slots.classes() == (ROOTFS,)
    assert slots.capacity(Slot.A) == {ROOTFS: 64 << 20}
    assert slots.capacity(Slot.B) == {ROOTFS: 32 << 20}
    assert slots.device(Slot.B, ROOTFS).number == Number(179, 3)


@pytest.mark.parametrize("linked", ["mmcblk0p3", "sda2"])
def test_a_stick_that_bears_a_slots_label_is_not_the_slot_and_keeps_it_from_being_written(board: Board, linked: str) -> None:
    board.partition("sda2", "8:2", on=board.sysfs / "devices" / USB / "block" / "sda", label="rootfs-b")
    board.link("disk/by-partlabel/rootfs-b", linked)
    slots = BlockSlots(BY_LABEL, board.devices)

    # A release on trial is not judged by what else is plugged in.
    assert slots.device(Slot.B, ROOTFS).number == Number(179, 3)
    assert slots.device(Slot.B, ROOTFS).path == board.devices.devfs / "mmcblk0p3"
    assert slots.owner(Number(179, 3)) is Slot.B
    with pytest.raises(SlotUnusableError) as caught:
        slots.open(Slot.B)
    assert caught.value.problem == "more than one device claims that name"


def test_two_partitions_of_the_own_disk_with_one_label_are_no_slot(board: Board) -> None:
    board.partition("mmcblk0p9", "179:9", on=(board.devices.sysfs / "dev/block/179:0").resolve(), label="rootfs-b")
    with pytest.raises(SlotUnusableError):
        BlockSlots(BY_LABEL, board.devices).open(Slot.B)


def test_a_label_that_only_another_disk_bears_is_not_the_slot(board: Board) -> None:
    other = board.disk("sdb", "8:16", bus="platform/soc/ata1")
    board.partition("sdb1", "8:17", on=other, label="spare")

    assert refusal(board, "/dev/disk/by-partlabel/spare") == "it is not on the disk of the running system"


def test_another_disk_may_be_named_by_its_path(board: Board) -> None:
    other = board.disk("sdb", "8:16", bus="platform/soc/ata1")
    board.partition("sdb1", "8:17", on=other)
    board.link("disk/by-path/platform-soc-ata1-part1", "sdb1")

    assert slots_b(board, "/dev/sdb1").device(Slot.B, ROOTFS).number == Number(8, 17)
    assert slots_b(board, "/dev/disk/by-path/platform-soc-ata1-part1").device(Slot.B, ROOTFS).number == Number(8, 17)


def test_a_slot_behind_usb_is_unusable_unless_the_board_states_it(board: Board) -> None:
    assert refusal(board, "/dev/sda1") == "it is behind USB"
    assert slots_b(board, "/dev/sda1", usb_allowed=True).device(Slot.B, ROOTFS).number == Number(8, 1)


def test_a_stick_is_told_from_the_disk_that_runs_and_from_an_empty_reader(board: Board, tmp_path: Path) -> None:
    assert board.devices.has_stick()

    without = Board(tmp_path / "without")
    without.partition("sda1", "8:1", on=without.disk("sda", "8:0", bus=USB))
    without.mount("8:1", "/", source="/dev/root")
    (without.disk("sdb", "8:16", bus=USB) / "size").write_text("0\n")
    assert not without.devices.has_stick()


def test_a_mapping_onto_a_stick_is_behind_usb_too(board: Board) -> None:
    board.mapping("dm-0", "254:0", on=board.sysfs / "devices" / USB / "block" / "sda" / "sda1")
    board.link("mapper/slot-b", "dm-0")

    assert refusal(board, "/dev/mapper/slot-b") == "it is behind USB"


@pytest.mark.parametrize("folder", ["by-label", "by-uuid"])
def test_names_that_come_from_the_contents_are_unusable(board: Board, folder: str) -> None:
    board.link(f"disk/{folder}/system", "mmcblk0p3")

    assert "contents" in refusal(board, f"/dev/disk/{folder}/system")


@pytest.mark.parametrize("name", ["ubi0_1", "ubiblock0_1", "mtd3", "mtdblock3", "mmcblk0boot0", "mmcblk1boot1", "mmcblk0rpmb"])
def test_flash_of_other_kinds_is_refused_by_name(board: Board, name: str) -> None:
    assert "not supported" in refusal(board, f"/dev/{name}")


def test_a_link_to_an_emmc_boot_partition_is_refused_too(board: Board) -> None:
    board.link("disk/by-path/platform-mmc0-boot0", "mmcblk0boot0")

    assert "boot partitions" in refusal(board, "/dev/disk/by-path/platform-mmc0-boot0")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/dev/mmcblk0p9", "it does not exist"),
        ("/dev/disk/by-partlabel/rootfs-c", "it does not exist"),
        ("/dev/../etc/passwd", "it is not a path under /dev"),
        ("/etc/passwd", "it is not a path under /dev"),
        ("mmcblk0p3", "it is not a path under /dev"),
        ("", "it is not a path under /dev"),
        ("/dev/disk", "it is not a block device"),
        ("/dev", "it is not a block device"),
    ],
)
def test_what_is_no_block_device_is_unusable(board: Board, path: str, problem: str) -> None:
    assert refusal(board, path) == problem


def test_a_link_out_of_dev_and_a_link_to_itself_are_unusable(board: Board, tmp_path: Path) -> None:
    (tmp_path / "mmcblk0p3").touch()
    (board.devfs / "outside").symlink_to(tmp_path / "mmcblk0p3")
    (board.devfs / "loop").symlink_to(board.devfs / "loop")

    assert refusal(board, "/dev/outside") == "it is not a block device"
    assert refusal(board, "/dev/loop") == "it does not exist"


def test_an_unknown_root_disk_leaves_only_slots_that_are_named_by_path(tmp_path: Path) -> None:
    board = gateway(tmp_path)
    board.mount("0:40", "/", kind="tmpfs", source="tmpfs")

    assert refusal(board, "/dev/disk/by-partlabel/rootfs-b") == "the disk of the running system is not known"
    assert slots_b(board, "/dev/mmcblk0p3").capacity(Slot.B)


def test_the_disk_beneath_an_overlay_is_known(board: Board) -> None:
    board.mount("179:2", "/media/root-ro")
    board.mount("0:40", "/", kind="overlay", source="overlay", options="rw,lowerdir=/media/root-ro/x,upperdir=/u,workdir=/w")

    assert board.devices.root() == Number(179, 2)
    assert slots_b(board, "/dev/disk/by-partlabel/rootfs-b").capacity(Slot.B)


def test_the_disk_of_a_file_system_that_hides_its_number_is_known(board: Board) -> None:
    board.mount("0:40", "/", kind="btrfs", source="/dev/mmcblk0p2")

    assert board.devices.root() == Number(179, 2)


def test_the_owner_of_the_mounted_root_is_its_slot_also_through_a_mapping(board: Board) -> None:
    slots = BlockSlots(BY_LABEL, board.devices)
    board.mapping("dm-0", "254:0", on=board.sysfs / "class" / "block" / "mmcblk0p2")

    assert slots.owner(Number(179, 2)) is Slot.A
    assert slots.owner(Number(254, 0)) is Slot.A
    assert slots.owner(Number(179, 3)) is Slot.B
    assert slots.owner(Number(8, 1)) is None


@pytest.mark.parametrize("point", ["/mnt", "/with\\040blank"])
def test_a_mounted_slot_is_not_opened(board: Board, point: str) -> None:
    board.mount("179:3", point)

    with pytest.raises(SlotUnusableError, match="it is mounted"):
        BlockSlots(BY_LABEL, board.devices).open(Slot.B)


def test_a_slot_that_is_mounted_under_a_hidden_number_is_not_opened(board: Board) -> None:
    board.mount("0:41", "/mnt", kind="btrfs", source="/dev/disk/by-partlabel/rootfs-b")

    with pytest.raises(SlotUnusableError, match="it is mounted"):
        BlockSlots(BY_LABEL, board.devices).open(Slot.B)


def test_the_running_slot_is_not_opened(board: Board) -> None:
    with pytest.raises(SlotUnusableError, match="it is mounted"):
        BlockSlots(BY_LABEL, board.devices).open(Slot.A)


def test_a_slot_under_a_mapping_is_not_opened(board: Board) -> None:
    board.mapping("dm-0", "254:0", on=board.sysfs / "devices/platform/soc/mmc0/block/mmcblk0/mmcblk0p3")

    with pytest.raises(SlotUnusableError, match="another device is built on it"):
        BlockSlots(BY_LABEL, board.devices).open(Slot.B)


def test_one_device_for_two_slots_or_classes_is_not_opened(board: Board) -> None:
    board.link("disk/by-path/again", "mmcblk0p2")
    for path in ("/dev/mmcblk0p2", "/dev/disk/by-path/again"):
        with pytest.raises(SlotUnusableError, match="the same device"):
            slots_b(board, path).open(Slot.B)


def test_a_file_in_place_of_a_device_is_not_opened(board: Board) -> None:
    # In this board's /dev are ordinary files: what was examined in sysfs is not what is opened.
    with pytest.raises(SlotUnusableError, match="it changed"):
        BlockSlots(BY_LABEL, board.devices).open(Slot.B)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """Yield a real block device of 1 MiB."""
    backing = tmp_path / "backing"
    backing.write_bytes(bytes(1 << 20))
    with loop_device(backing) as device:
        yield device


def test_a_real_block_device_is_written_synced_and_read_back(loop: str, tmp_path: Path) -> None:
    slots = BlockSlots({Slot.A: {}, Slot.B: {APP: loop}}, BlockDevices())
    assert slots.capacity(Slot.B) == {APP: 1 << 20}

    image = slots.open(Slot.B)[APP]
    assert image.size == 1 << 20
    image.write_at((1 << 20) - 5, b"proof")
    image.sync()
    assert image.read_at((1 << 20) - 5, 5) == b"proof"
    image.close()
    assert (tmp_path / "backing").read_bytes()[-5:] == b"proof"


def test_a_real_block_device_is_opened_once_at_a_time(loop: str) -> None:
    slots = BlockSlots({Slot.A: {}, Slot.B: {APP: loop}}, BlockDevices())
    image = slots.open(Slot.B)[APP]

    with pytest.raises(SlotUnusableError, match="busy"):
        slots.open(Slot.B)
    image.close()
    slots.open(Slot.B)[APP].close()


def test_another_device_that_took_the_name_meanwhile_is_not_opened(board: Board, loop: str) -> None:
    node = board.devfs / "mmcblk0p3"
    node.unlink()
    os.mknod(node, stat.S_IFBLK | 0o600, Path(loop).stat().st_rdev)

    with pytest.raises(SlotUnusableError, match="it changed"):
        BlockSlots(BY_LABEL, board.devices).open(Slot.B)
