"""Looking at a slot is worth while only where it holds something of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.payload import APP, CHUNK, ROOTFS, PassingOn, SlotFile, Told, an_image, packed
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import WORKERS, unfinished_max

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.words import SlotClass
    from usbupdate.device.slotimages import OpenImage
    from usbupdate.medium import DirectoryMedium

COUNT = 96
IMAGE = an_image(3) * (COUNT // 3)
PAYLOAD = packed({ROOTFS: IMAGE}, chunks_per_pack=1000)


class Counting(PassingOn):
    """An image that counts its readings and writings."""

    def __init__(self, image: OpenImage) -> None:
        super().__init__(image)
        self.reads = 0
        self.writes = 0

    def read_at(self, offset: int, size: int) -> bytes:
        self.reads += 1
        return super().read_at(offset, size)

    def write_at(self, offset: int, contents: bytes) -> None:
        self.writes += 1
        super().write_at(offset, contents)


def installed(mount: Path, medium: DirectoryMedium, slot: SlotFile, workers: int, *, verified: bool) -> tuple[int, int]:
    """Return how many chunks more than all were read of the slot, and how many were written to it."""
    PAYLOAD.write(mount)
    image = Counting(slot.open())
    installer = Installer(PAYLOAD.manifest, medium, {ROOTFS: image}, workers=workers)
    if verified:
        installer.verify(Told())
    installer.install(Told())
    assert slot.contents == IMAGE
    image.close()
    return image.reads - COUNT, image.writes


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_a_slot_with_something_else_is_soon_looked_at_rarely(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, workers: int, verified: bool
) -> None:
    looked, written = installed(mount, medium, SlotFile(tmp_path / "slot", b"\xaa" * len(IMAGE)), workers, verified=verified)

    assert written == COUNT
    # Sixteen in vain, perhaps a few that were asked for meanwhile, then one in eight.
    assert 16 + (COUNT - 32) // 8 <= looked <= 17 + unfinished_max(workers) + (COUNT - 16) // 8


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_a_slot_that_holds_it_is_read_once_and_not_written(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, workers: int, verified: bool
) -> None:
    assert installed(mount, medium, SlotFile(tmp_path / "slot", IMAGE), workers, verified=verified) == (0, 0)


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_what_an_interrupted_installation_wrote_is_not_written_again(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, workers: int
) -> None:
    begun = IMAGE[: 40 * CHUNK] + b"\xaa" * (len(IMAGE) - 40 * CHUNK)

    _, written = installed(mount, medium, SlotFile(tmp_path / "slot", begun), workers, verified=True)

    assert written == COUNT - 40


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_after_a_long_difference_looking_begins_again_with_the_first_hit(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, workers: int
) -> None:
    middle = b"\xaa" * (48 * CHUNK)
    slot = SlotFile(tmp_path / "slot", middle + IMAGE[len(middle) :])

    _, written = installed(mount, medium, slot, workers, verified=True)

    assert 48 <= written <= 48 + 8 + unfinished_max(workers)


def test_any_number_of_threads_makes_the_image_and_none_by_chance(mount: Path, medium: DirectoryMedium, tmp_path: Path) -> None:
    images: dict[SlotClass, bytes] = {
        ROOTFS: an_image(90, zero=frozenset({3, *range(20, 60)}), last=777),
        APP: an_image(40, seed=4, last=1),
    }
    both = packed(images)
    both.write(mount)
    moved = []
    for number, workers in enumerate((1, 2, WORKERS, WORKERS)):
        before = {each: image[: len(image) // 3].ljust(len(image), b"\x55") for each, image in images.items()}
        slots = {each: SlotFile(tmp_path / f"{each}-{number}", before[each], each) for each in images}
        installer = Installer(both.manifest, medium, {each: slot.open() for each, slot in slots.items()}, workers=workers)
        installer.verify(Told())
        moved.append(installer.install(Told()))
        assert all(slots[each].contents == image for each, image in images.items())

    # How soon looking becomes rare depends on how far ahead is asked; chance has no part in it.
    assert moved[-1] == moved[-2]
    assert {(each.read > 0, each.written + each.skipped) for each in moved} == {(True, sum(map(len, images.values())))}
