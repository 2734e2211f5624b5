from __future__ import annotations

import errno
import fcntl
import os
import threading
import tracemalloc
from concurrent.futures import Future
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.board import loop_device
from tests.matrix import By, On, attack
from tests.payload import APP, CHUNK, ROOTFS, PassingOn, SlotFile, Told, an_image, packed
from tests.threads import give_threads
from usbupdate.core.layout import payload_path
from usbupdate.core.receipt import Traffic
from usbupdate.device import installer as installer_module, placing, zeros
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import WORKERS, unfinished_max
from usbupdate.device.slotimages import OpenImage
from usbupdate.device.supply import open_supplies
from usbupdate.errors import (
    ImageTooLargeError,
    ReadBackError,
    SlotClassMissingError,
    SlotClassUnknownError,
    SlotReadError,
    SlotWriteError,
    StoredBytesDifferError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.words import SlotClass
    from usbupdate.device.ports import SlotImage

IMAGE = an_image(7, zero=frozenset({2, 5}), last=1234)
PAYLOAD = packed({ROOTFS: IMAGE})
STORED = sum(pack.size for pack in PAYLOAD.artifact.packs)
INDEX = PAYLOAD.artifact.index.size


class WatchedImage(PassingOn):
    """An image that tells what is done with it."""

    def __init__(self, image: OpenImage, told: Told) -> None:
        super().__init__(image)
        self._told = told

    def write_at(self, offset: int, contents: bytes) -> None:
        self._told.steps.append("write")
        super().write_at(offset, contents)

    def sync(self) -> None:
        self._told.steps.append("sync")
        super().sync()


@pytest.fixture
def stick(mount: Path, medium: DirectoryMedium) -> DirectoryMedium:
    PAYLOAD.write(mount)
    return medium


def a_slot(folder: Path, contents: bytes = b"\xaa" * len(IMAGE)) -> SlotFile:
    return SlotFile(folder / "slot", contents)


def test_a_slot_with_other_contents_gets_the_whole_image(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path)

    traffic = Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}).install(Told())

    assert slot.contents == IMAGE
    assert traffic == Traffic(read=INDEX + STORED, written=len(IMAGE), zero=2, full=5)


def test_installing_the_same_again_writes_nothing(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path, IMAGE)
    told = Told()

    traffic = Installer(PAYLOAD.manifest, stick, {ROOTFS: WatchedImage(slot.open(), told)}).install(told)

    assert traffic == Traffic(read=INDEX, skipped=len(IMAGE), equal=7)
    assert "write" not in told.steps
    assert "first write" not in told.steps


def test_zeros_that_the_slot_already_holds_are_not_written(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path, bytes(len(IMAGE)))

    traffic = Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}).install(Told())

    assert slot.contents == IMAGE
    assert (traffic.equal, traffic.zero, traffic.full) == (2, 0, 5)


def test_a_machine_too_busy_to_look_for_zeros_meanwhile_installs_all_the_same(
    stick: DirectoryMedium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy:
        def submit(self, _task: object) -> Future[None]:
            never_begun: Future[None] = Future()
            never_begun.cancel()
            return never_begun

    monkeypatch.setattr(zeros, "threads", lambda *_: nullcontext(Busy()))
    slot = a_slot(tmp_path, bytes(len(IMAGE)))
    installer = Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}, workers=2)

    installer.verify(Told())
    installer.install(Told())

    assert slot.contents == IMAGE


def test_bytes_of_the_slot_beyond_the_image_are_left_alone(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path, b"\xaa" * (len(IMAGE) + 2 * CHUNK))

    Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}).install(Told())

    assert slot.contents == IMAGE + b"\xaa" * (2 * CHUNK)


def test_every_class_gets_its_own_image(mount: Path, medium: DirectoryMedium, tmp_path: Path) -> None:
    images = {ROOTFS: IMAGE, APP: an_image(2, seed=9, last=1)}
    both = packed(images)
    both.write(mount)
    slots = {each: SlotFile(tmp_path / each, bytes(8 * CHUNK), each) for each in images}
    told = Told()

    Installer(both.manifest, medium, {each: slots[each].open() for each in images}).install(told)

    for each, image in images.items():
        assert slots[each].contents[: len(image)] == image
    assert told.steps.count("first write") == 1


def test_progress_rises_to_its_total(stick: DirectoryMedium, tmp_path: Path) -> None:
    told = Told()

    Installer(PAYLOAD.manifest, stick, {ROOTFS: a_slot(tmp_path).open()}).install(told)

    assert [done for done, _ in told.advances] == sorted({done for done, _ in told.advances})
    assert {total for _, total in told.advances} == {2 * len(IMAGE)}
    assert told.advances[-1] == (2 * len(IMAGE), 2 * len(IMAGE))


def test_the_first_write_is_told_once_and_after_it_is_durable(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path, IMAGE[:CHUNK] + bytes(len(IMAGE) - CHUNK))
    told = Told()

    Installer(PAYLOAD.manifest, stick, {ROOTFS: WatchedImage(slot.open(), told)}).install(told)

    words = [step for step in told.steps if isinstance(step, str)]
    assert words == ["write", "sync", "first write", "write", "write", "write", "sync"]


def test_a_sector_that_cannot_be_read_is_written_anew(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path, IMAGE)

    class Weak(WatchedImage):
        mended = False

        def read_at(self, offset: int, size: int) -> bytes:
            if offset == CHUNK and not self.mended:
                raise SlotReadError(slot_class=ROOTFS, problem="Input/output error")
            return super().read_at(offset, size)

        def write_at(self, offset: int, contents: bytes) -> None:
            super().write_at(offset, contents)
            self.mended = True

    traffic = Installer(PAYLOAD.manifest, stick, {ROOTFS: Weak(slot.open(), Told())}).install(Told())

    assert (traffic.equal, traffic.full) == (6, 1)


def refusing(monkeypatch: pytest.MonkeyPatch, problem: int) -> list[int]:
    """Let every direct write end with an error, and return where that happened."""
    pwrite = os.pwrite
    refused: list[int] = []

    def refuse(descriptor: int, contents: bytes, offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(offset)
            raise OSError(problem, os.strerror(problem))
        return pwrite(descriptor, contents, offset)

    monkeypatch.setattr(os, "pwrite", refuse)
    return refused


@pytest.mark.usefixtures("_direct_io")
def test_a_device_that_opens_for_direct_writes_and_takes_none_is_written_in_the_ordinary_way(
    stick: DirectoryMedium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refusing(monkeypatch, errno.EINVAL)
    slot = a_slot(tmp_path)

    Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}, workers=1).install(Told())

    # The last chunk is no multiple of a block.
    assert refused == [number * CHUNK for number in range(6)]
    assert slot.contents == IMAGE


@pytest.mark.usefixtures("_direct_io")
def test_a_direct_write_that_fails_ends_the_installation(
    stick: DirectoryMedium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refusing(monkeypatch, errno.EIO)
    slot = a_slot(tmp_path)

    with pytest.raises(SlotWriteError):
        Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}, workers=1).install(Told())
    assert refused == [0]
    assert slot.contents == slot.before


@attack(
    By.CHANCE,
    On.SLOT,
    "flash that forgets the last page, which memory still has",
    "what is read back comes from the device, to the last byte",
)
@pytest.mark.parametrize("last", [1536, 512])
def test_the_end_of_an_image_that_the_device_did_not_keep_is_not_read_from_memory(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, last: int
) -> None:
    """The device ends within the image's last page, which cannot be read past the cache."""
    image = an_image(3, last=last)
    payload = packed({ROOTFS: image})
    payload.write(mount)
    backing = tmp_path / "backing"
    backing.write_bytes(b"\xaa" * (2 * CHUNK + 1536))

    class Losing(OpenImage):
        def sync(self) -> None:
            super().sync()
            with backing.open("r+b") as file:
                file.seek(2 * CHUNK)
                file.write(b"\xaa" * last)
                os.fsync(file.fileno())

    with loop_device(backing) as device:
        opened = Losing(ROOTFS, os.open(device, os.O_RDWR | os.O_EXCL), direct=True)
        with pytest.raises(ReadBackError):
            Installer(payload.manifest, medium, {ROOTFS: opened}).install(Told())
        opened.close()


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_what_is_wrong_with_an_earlier_chunk_is_said_and_not_the_later_fault_of_the_slot(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(placing, "_SEGMENT", 8 * CHUNK)
    payload = packed({ROOTFS: an_image(40)}, chunks_per_pack=1)
    payload.write(mount)
    # The last one that is begun before the second sync.
    damaged = payload.artifact.packs[max(8, unfinished_max(workers) + 1) - 1]
    payload.file(mount, damaged).write_bytes(bytes(damaged.size))

    class Failing(PassingOn):
        syncs = 0

        def sync(self) -> None:
            self.syncs += 1
            if self.syncs > 1:
                raise SlotWriteError(slot_class=ROOTFS, problem="Input/output error")

    slot = SlotFile(tmp_path / "slot", b"\xaa" * (40 * CHUNK))
    with pytest.raises(StoredBytesDifferError):
        Installer(payload.manifest, medium, {ROOTFS: Failing(slot.open())}, workers=workers).install(Told())


def test_an_installation_that_is_done_again_looks_at_everything_again(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path)
    installer = Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}, workers=WORKERS)
    installer.verify(Told())
    installer.install(Told())
    slot.file.write_bytes(b"\x55" * len(IMAGE))

    assert installer.install(Told()).written == len(IMAGE)
    assert slot.contents == IMAGE


@attack(
    By.CHANCE,
    On.SERVICE,
    "a system that gives the agent no more threads",
    "what threads do the agent does itself, one after the other",
)
@pytest.mark.parametrize("given", [0, 1, 3])
def test_an_installation_goes_on_with_as_many_threads_as_the_system_gives(
    stick: DirectoryMedium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int
) -> None:
    give_threads(given, monkeypatch)
    slot = a_slot(tmp_path)
    installer = Installer(PAYLOAD.manifest, stick, {ROOTFS: slot.open()}, workers=WORKERS)
    installer.verify(Told())
    installer.install(Told())

    assert slot.contents == IMAGE


def test_large_chunks_are_worked_on_one_after_the_other(
    stick: DirectoryMedium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer_module, "_CHUNKS_MAX", 8 * CHUNK)
    writers: set[int] = set()

    class Watched(PassingOn):
        def write_at(self, offset: int, contents: bytes) -> None:
            writers.add(threading.get_ident())
            super().write_at(offset, contents)

    Installer(PAYLOAD.manifest, stick, {ROOTFS: Watched(a_slot(tmp_path).open())}, workers=WORKERS).install(Told())

    assert writers == {threading.get_ident()}


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ({ROOTFS: len(IMAGE) - 1}, ImageTooLargeError),
        ({ROOTFS: len(IMAGE), APP: CHUNK}, SlotClassMissingError),
        ({APP: len(IMAGE)}, SlotClassMissingError),
        ({}, SlotClassUnknownError),
    ],
)
def test_a_release_that_does_not_fit_changes_nothing(
    stick: DirectoryMedium, tmp_path: Path, sizes: Mapping[SlotClass, int], error: type[Exception]
) -> None:
    slots = {each: SlotFile(tmp_path / each, b"\xaa" * size, each) for each, size in sizes.items()}
    images: dict[SlotClass, SlotImage] = {each: slot.open() for each, slot in slots.items()}

    with pytest.raises(error):
        Installer(PAYLOAD.manifest, stick, images).install(Told())
    assert all(slot.contents == slot.before for slot in slots.values())


def test_before_anything_else_the_indexes_are_read_and_nothing_more(stick: DirectoryMedium) -> None:
    class Counted(DirectoryMedium):
        got = 0

        def read(self, path: MediumPath, limit: int) -> bytes:
            contents = super().read(path, limit)
            self.got += len(contents)
            return contents

        def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
            self.got += size
            return super().read_at(path, offset, size)

    counted = Counted(stick.mount)
    ((_, supply),) = open_supplies(PAYLOAD.manifest, counted)

    assert (counted.got, supply.read) == (INDEX, INDEX)


def test_verifying_beforehand_writes_nothing_and_tells_how_far_it_is(stick: DirectoryMedium, tmp_path: Path) -> None:
    slot = a_slot(tmp_path)
    told = Told()

    Installer(PAYLOAD.manifest, stick, {ROOTFS: WatchedImage(slot.open(), told)}).verify(told)

    assert told.steps == told.advances
    assert [done for done, _ in told.advances] == sorted(done for done, _ in told.advances)
    assert told.advances[-1] == (len(IMAGE), len(IMAGE))
    assert slot.contents == slot.before


def test_what_the_slot_holds_already_is_not_read_from_the_stick(mount: Path, medium: DirectoryMedium, tmp_path: Path) -> None:
    PAYLOAD.write(mount)
    for pack in PAYLOAD.artifact.packs:
        PAYLOAD.file(mount, pack).write_bytes(bytes(pack.size))
    slot = a_slot(tmp_path, IMAGE)

    Installer(PAYLOAD.manifest, medium, {ROOTFS: slot.open()}).verify(Told())
    Installer(PAYLOAD.manifest, medium, {ROOTFS: slot.open()}).install(Told())


def test_an_image_of_zeros_needs_no_packs(mount: Path, medium: DirectoryMedium, tmp_path: Path) -> None:
    image = bytes(2 * CHUNK + 1)
    payload = packed({ROOTFS: image})
    payload.write(mount)
    slot = a_slot(tmp_path, b"\xaa" * len(image))

    assert payload.artifact.packs == ()
    Installer(payload.manifest, medium, {ROOTFS: slot.open()}).verify(Told())
    assert Installer(payload.manifest, medium, {ROOTFS: slot.open()}).install(Told()).zero == 3
    assert slot.contents == image


def test_memory_holds_a_few_chunks_whatever_the_image_is_large(mount: Path, medium: DirectoryMedium, tmp_path: Path) -> None:
    image = an_image(3) * 32
    payload = packed({ROOTFS: image}, chunks_per_pack=1000)
    payload.write(mount)
    slot = a_slot(tmp_path, bytes(len(image)))
    opened = slot.open()
    assert mount.joinpath(*payload_path(payload.artifact.index.sha256)).exists()

    tracemalloc.start()
    try:
        Installer(payload.manifest, medium, {ROOTFS: opened}).install(Told())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(image) == 96 * CHUNK
    assert peak < 6 * CHUNK
