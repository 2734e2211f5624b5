"""Whether a release fits into a slot, decided before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.errors import ImageTooLargeError, SlotClassMissingError, SlotClassUnknownError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.manifest import Manifest
    from usbupdate.core.words import SlotClass


def require_fits(manifest: Manifest, capacity: Mapping[SlotClass, int]) -> None:
    """Refuse a release that could not be installed whole.

    Args:
        manifest: the release.
        capacity: the size in bytes of each block device of the slot that it is to go into.

    Raises:
        SlotClassMissingError: a class of the device would keep what it holds now, which belongs to another release.
        SlotClassUnknownError: a part of the release would be left out.
        ImageTooLargeError: an image is larger than its block device.

    Source: design, section 4, "Manifest".
    """
    offered = {artifact.slot_class for artifact in manifest.artifacts}
    for slot_class in capacity:
        if slot_class not in offered:
            raise SlotClassMissingError(slot_class=slot_class)
    for artifact in manifest.artifacts:
        if artifact.slot_class not in capacity:
            raise SlotClassUnknownError(slot_class=artifact.slot_class)
        slot_size = capacity[artifact.slot_class]
        if artifact.image.size > slot_size:
            raise ImageTooLargeError(slot_class=artifact.slot_class, image_size=artifact.image.size, slot_size=slot_size)
