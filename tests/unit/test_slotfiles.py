from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from usbupdate.core.words import Slot, SlotClass
from usbupdate.device.slotfiles import FileSlots
from usbupdate.device.slotimages import close_all
from usbupdate.errors import SlotReadError, SlotUnusableError, SlotWriteError

ROOTFS = SlotClass("rootfs")
APP = SlotClass("app")
OPEN = Path("/proc/self/fd")


@pytest.fixture
def slots(tmp_path: Path) -> FileSlots:
    (tmp_path / "slots").mkdir()
    for name, size in (("a", 1000), ("b", 1000), ("a-app", 200), ("b-app", 300)):
        (tmp_path / "slots" / f"{name}.img").write_bytes(bytes(size))
    return FileSlots(
        tmp_path,
        {
            Slot.A: {ROOTFS: "slots/a.img", APP: "slots/a-app.img"},
            Slot.B: {ROOTFS: "slots/b.img", APP: "slots/b-app.img"},
        },
    )


def test_capacity_is_the_size_of_each_file(slots: FileSlots) -> None:
    assert slots.classes() == (ROOTFS, APP)
    assert slots.capacity(Slot.B) == {ROOTFS: 1000, APP: 300}


def test_a_slot_that_cannot_be_looked_at_is_an_error_of_the_tree(slots: FileSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    before = len(list(OPEN.iterdir()))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fail)
        for look in (slots.capacity, slots.open):
            with pytest.raises(SlotUnusableError, match="Input/output"):
                look(Slot.B)
        with pytest.raises(SlotUnusableError, match="Input/output"):
            slots.open_running(Slot.A, ROOTFS)
    assert len(list(OPEN.iterdir())) == before


def test_what_is_written_is_read_back(slots: FileSlots, tmp_path: Path) -> None:
    images = slots.open(Slot.B)

    images[ROOTFS].write_at(990, b"0123456789")
    images[ROOTFS].sync()

    assert images[ROOTFS].read_at(989, 11) == b"\x000123456789"
    close_all(images)
    assert (tmp_path / "slots" / "b.img").stat().st_size == 1000


def test_a_file_never_grows_as_a_disk_would_not(slots: FileSlots, tmp_path: Path) -> None:
    image = slots.open(Slot.B)[ROOTFS]

    with pytest.raises(SlotWriteError, match="ends at byte 1000"):
        image.write_at(995, b"0123456789")
    assert (tmp_path / "slots" / "b.img").read_bytes() == bytes(1000)


def test_reading_beyond_the_end_is_an_error(slots: FileSlots) -> None:
    with pytest.raises(SlotReadError, match="ends at byte 1000"):
        slots.open(Slot.B)[ROOTFS].read_at(995, 10)


def test_a_closed_image_says_so_with_its_class(slots: FileSlots) -> None:
    image = slots.open(Slot.B)[APP]
    image.close()

    with pytest.raises(SlotReadError, match="app"):
        image.read_at(0, 1)
    with pytest.raises(SlotWriteError, match="app"):
        image.write_at(0, b"x")
    with pytest.raises(SlotWriteError, match="app"):
        image.sync()


def test_a_slot_is_open_once_at_a_time(slots: FileSlots) -> None:
    images = slots.open(Slot.B)

    with pytest.raises(SlotUnusableError, match="in use"):
        slots.open(Slot.B)
    close_all(images)
    close_all(slots.open(Slot.B))


def test_a_slot_of_which_one_file_is_missing_keeps_nothing_open(slots: FileSlots, tmp_path: Path) -> None:
    app = tmp_path / "slots" / "b-app.img"
    app.unlink()
    with pytest.raises(SlotUnusableError):
        slots.open(Slot.B)

    app.write_bytes(bytes(300))
    close_all(slots.open(Slot.B))


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "missing"])
def test_only_an_ordinary_file_stands_for_a_disk(slots: FileSlots, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "slots" / "b.img"
    file.unlink()
    match kind:
        case "link":
            file.symlink_to(tmp_path / "slots" / "a.img")
        case "folder":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case _:
            assert kind == "missing"

    for act in (slots.capacity, slots.open):
        with pytest.raises(SlotUnusableError):
            act(Slot.B)


@pytest.mark.parametrize("name", ["/etc/passwd", "../b.img", "slots/../../b.img"])
def test_a_name_that_leads_out_of_the_folder_is_unusable(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlotUnusableError, match="not inside"):
        FileSlots(tmp_path, {Slot.B: {ROOTFS: name}}).open(Slot.B)
