from __future__ import annotations

import pytest

from tests.payload import APP, CHUNK, ROOTFS, an_image, packed
from usbupdate.core.fit import require_fits
from usbupdate.errors import ImageTooLargeError, SlotClassMissingError, SlotClassUnknownError

MANIFEST = packed({ROOTFS: an_image(2, last=1000)}).manifest
SIZE = CHUNK + 1000


@pytest.mark.parametrize("slot_size", [SIZE, SIZE + 1, 1 << 40])
def test_an_image_as_large_as_the_slot_or_smaller_fits(slot_size: int) -> None:
    require_fits(MANIFEST, {ROOTFS: slot_size})


@pytest.mark.parametrize("slot_size", [0, SIZE - 1])
def test_an_image_one_byte_larger_than_the_slot_is_refused(slot_size: int) -> None:
    with pytest.raises(ImageTooLargeError) as caught:
        require_fits(MANIFEST, {ROOTFS: slot_size})
    assert (caught.value.image_size, caught.value.slot_size) == (SIZE, slot_size)


def test_a_bundle_without_an_image_for_one_of_the_classes_is_refused() -> None:
    with pytest.raises(SlotClassMissingError, match="app"):
        require_fits(MANIFEST, {ROOTFS: SIZE, APP: SIZE})


def test_a_bundle_with_an_image_that_has_no_place_is_refused() -> None:
    both = packed({ROOTFS: an_image(1), APP: an_image(1, seed=2)}).manifest

    with pytest.raises(SlotClassUnknownError, match="app"):
        require_fits(both, {ROOTFS: CHUNK})
