"""One installation by usbupdate in a process of its own: what the device does once it trusts a manifest.

Run: python ours.py STICK SLOT [--running FILE] [--no-read-back] [--unpack-here]
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from usbupdate.core import manifest as manifests
from usbupdate.core.chunks import unpack_here
from usbupdate.core.words import SlotClass
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import WORKERS, in_order
from usbupdate.device.placing import Placing
from usbupdate.device.slotimages import OpenImage
from usbupdate.device.supply import Base, open_supplies
from usbupdate.device.unpacking import unpacking_without_rights
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.manifest import Manifest
    from usbupdate.core.receipt import Traffic
    from usbupdate.core.unpack import Unpack

ROOTFS = SlotClass("rootfs")


class Nobody:
    """Listens to nothing."""

    def began(self, what: str) -> None:
        """Take no notice."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Take no notice."""

    def stopped(self, traffic: Traffic) -> None:
        """Take no notice."""

    def first_write(self) -> None:
        """Take no notice."""


def install(
    manifest: Manifest, medium: DirectoryMedium, slot: OpenImage, bases: Mapping[SlotClass, Base], unpack: Unpack
) -> Traffic:
    """Install as the device does, and return what was moved."""
    work = Installer(manifest, medium, {ROOTFS: slot}, bases, WORKERS, unpack)
    work.verify(Nobody())
    return work.install(Nobody())


def write_only(
    manifest: Manifest, medium: DirectoryMedium, slot: OpenImage, bases: Mapping[SlotClass, Base], unpack: Unpack
) -> None:
    """Do the same without what no peer does: reading everything back, and hashing it as one image."""
    for artifact, supply in open_supplies(manifest, medium, bases, unpack):
        placing = Placing(artifact, supply, slot)
        for proven in in_order(placing.proofs(), WORKERS):
            placing.note(proven)
        for placed in in_order(map(placing.placement, supply.index), WORKERS):
            placing.note(placed.look)
        slot.sync()


def main() -> None:
    """Install, and print what was moved."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stick", type=Path)
    parser.add_argument("slot", type=Path)
    parser.add_argument("--running", type=Path)
    parser.add_argument("--no-read-back", action="store_true")
    parser.add_argument("--unpack-here", action="store_true", help="for comparison: without the process that has no rights")
    given = parser.parse_args()

    (file,) = (given.stick / "usbupdate/targets").iterdir()
    manifest = manifests.decode(file.read_bytes())
    bases = {}
    if given.running:
        image = OpenImage(ROOTFS, os.open(given.running, os.O_RDONLY))
        (delta,) = manifest.artifacts[0].deltas
        bases[ROOTFS] = Base(delta, image)
    slot = OpenImage(ROOTFS, os.open(given.slot, os.O_RDWR), direct=True)
    medium = DirectoryMedium(given.stick)
    unpacking = nullcontext(unpack_here) if given.unpack_here else unpacking_without_rights()
    with medium.kept_open(), unpacking as unpack:
        if given.no_read_back:
            write_only(manifest, medium, slot, bases, unpack)
        else:
            print(json.dumps(asdict(install(manifest, medium, slot, bases, unpack))))
    slot.close()


if __name__ == "__main__":
    main()
