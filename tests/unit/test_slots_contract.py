"""What every slot promises, on files and on real block devices."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.board import loop_device
from usbupdate.core.words import Slot, SlotClass
from usbupdate.device.blockdevices import BlockDevices
from usbupdate.device.slotfiles import FileSlots
from usbupdate.device.slotimages import close_all
from usbupdate.device.slots import BlockSlots
from usbupdate.errors import SlotReadError, SlotUnusableError, SlotWriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.device.ports import SlotImage, Slots

ROOTFS = SlotClass("rootfs")
APP = SlotClass("app")
SIZE = 64 << 10


@pytest.fixture(params=["files", "block devices"])
def slots(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Slots]:
    for name in (ROOTFS, APP):
        (tmp_path / name).write_bytes(b"\xaa" * SIZE)
    if request.param == "files":
        yield FileSlots(tmp_path, {Slot.B: {ROOTFS: ROOTFS, APP: APP}})
        return
    with ExitStack() as stack:
        paths = {each: stack.enter_context(loop_device(tmp_path / each)) for each in (ROOTFS, APP)}
        yield BlockSlots({Slot.B: paths}, BlockDevices())


@pytest.fixture
def image(slots: Slots) -> Iterator[SlotImage]:
    images = slots.open(Slot.B)
    yield images[ROOTFS]
    close_all(images)


def test_classes_and_capacity_are_known_without_opening(slots: Slots) -> None:
    assert slots.classes() == (ROOTFS, APP)
    assert slots.capacity(Slot.B) == {ROOTFS: SIZE, APP: SIZE}


@pytest.mark.parametrize(("offset", "size"), [(4095, 5), (4096, 8192), (4096, 5000)], ids=["ordinary", "direct", "odd size"])
def test_what_is_written_is_kept_and_the_rest_left_alone(image: SlotImage, offset: int, size: int) -> None:
    image.write_at(offset, b"p" * size)
    image.sync()

    assert image.size == SIZE
    assert image.read_at(offset, size) == b"p" * size
    assert image.read_at(0, offset) == b"\xaa" * offset
    assert image.read_at(offset + size, 4096) == b"\xaa" * 4096


def test_the_last_byte_can_be_written_and_none_beyond_it(image: SlotImage) -> None:
    image.write_at(SIZE - 1, b"z")

    with pytest.raises(SlotWriteError, match="rootfs"):
        image.write_at(SIZE - 1, b"zz")
    with pytest.raises(SlotReadError, match="rootfs"):
        image.read_at(SIZE - 1, 2)
    assert image.read_at(SIZE - 1, 1) == b"z"


def test_a_slot_is_open_once_at_a_time(slots: Slots, image: SlotImage) -> None:
    with pytest.raises(SlotUnusableError):
        slots.open(Slot.B)


def test_a_closed_slot_can_be_opened_again(slots: Slots) -> None:
    close_all(slots.open(Slot.B))
    close_all(slots.open(Slot.B))
