"""What `device check` says of a boot loader: whether it knows the slots, and whether a power cut can spoil what it knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import simulated
from usbupdate.device.bootloaders.board import board_loader
from usbupdate.device.bootloaders.settings import (
    BootLoaderConfiguration,
    GrubConfiguration,
    GrubScript,
    SimulatedConfiguration,
    UbootConfiguration,
)
from usbupdate.device.findings import Wrong
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.device.blockdevices import BlockDevices

_WITHOUT_JOURNAL: Final = frozenset({"vfat", "msdos", "ext2"})
_UBOOT_DEFAULT: Final = Path("/etc/fw_env.config")
_COPIES: Final = 2


def look_at_boot_loader(settings: BootLoaderConfiguration, bootnames: Mapping[Slot, str], devices: BlockDevices) -> str | Wrong:
    """Return where the boot loader keeps what it knows, or what is wrong with that.

    Raises:
        BootLoaderError: it cannot be read.
    """
    if isinstance(settings, SimulatedConfiguration):
        simulated.status(settings.environment)
        return str(settings.environment)
    loader = board_loader(settings, bootnames, lambda: Slot.A)
    unknown = [bootnames[slot] for slot in Slot if not loader.knows(slot)]
    if unknown:
        return Wrong(f"The boot loader does not know {' and '.join(unknown)}.", loader.advice)
    if isinstance(settings, GrubConfiguration):
        return _grub_environment(settings, devices)
    if isinstance(settings, UbootConfiguration):
        return _uboot_environment(settings.config or _UBOOT_DEFAULT)
    return str(settings.program)


def _grub_environment(settings: GrubConfiguration, devices: BlockDevices) -> str | Wrong:
    environment = settings.environment.resolve()
    if not os.access(environment, os.W_OK):
        return Wrong(f"{environment} cannot be written.", "Mount its file system read-write.")
    if environment.is_block_device():
        if settings.script is GrubScript.USBUPDATE:
            return Wrong(
                f"{environment} is a device, and the boot script usbupdate wants two files.", "Put the environment on FAT."
            )
        return str(environment)
    filesystem = devices.filesystem(environment)
    if filesystem not in _WITHOUT_JOURNAL:
        # GRUB replays no journal: it reads the old block there, and writes to where the file was.
        return Wrong(
            f"{environment} lies on {filesystem or 'an unknown file system'}, where GRUB may read and write old blocks.",
            "Put the environment on FAT, such as the EFI system partition.",
        )
    return f"{environment} on {filesystem}"


def _uboot_environment(config: Path) -> str | Wrong:
    try:
        lines = [line.strip() for line in config.read_text("utf-8", errors="replace").splitlines()]
    except OSError as error:
        raise BootLoaderError(problem=f"{config} could not be read: {error.strerror}") from error
    if len([line for line in lines if line and not line.startswith("#")]) < _COPIES:
        return Wrong(
            f"{config} names one copy of the environment, and a power cut while it is written loses it.",
            "Give U-Boot a redundant environment, and name both copies there.",
        )
    return str(config)
