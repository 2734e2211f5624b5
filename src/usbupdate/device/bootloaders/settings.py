"""What the configuration says of the boot loader: its table `[bootloader]`, whose keys depend on the type.

Source: design, section 9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from usbupdate.device.toml import Table

_SCRIPT_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_LATER: Final = frozenset({"systemd-boot"})


class BootLoaderType(StrEnum):
    """Which boot loader keeps the slots' order and tries."""

    GRUB = "grub"
    UBOOT = "uboot"
    CUSTOM = "custom"
    SIMULATED = "simulated"


class GrubScript(StrEnum):
    """Whose names and whose way of counting GRUB's boot script has."""

    RAUC = "rauc"
    USBUPDATE = "usbupdate"


@dataclass(frozen=True, slots=True)
class GrubConfiguration:
    """GRUB: the file of its environment block, and which boot script reads it."""

    environment: Path
    script: GrubScript
    type: ClassVar = BootLoaderType.GRUB


@dataclass(frozen=True, slots=True)
class UbootConfiguration:
    """U-Boot: what tells `fw_setenv` where the environment lies; None for that program's own default."""

    config: Path | None
    type: ClassVar = BootLoaderType.UBOOT


@dataclass(frozen=True, slots=True)
class CustomConfiguration:
    """Any other boot loader: the program that speaks for it."""

    program: Path
    type: ClassVar = BootLoaderType.CUSTOM


@dataclass(frozen=True, slots=True)
class SimulatedConfiguration:
    """The simulated boot loader: the file in which it keeps what it knows."""

    environment: Path
    type: ClassVar = BootLoaderType.SIMULATED


BootLoaderConfiguration = GrubConfiguration | UbootConfiguration | CustomConfiguration | SimulatedConfiguration


def read_bootloader(table: Table, bootnames: Iterable[str]) -> BootLoaderConfiguration:
    """Return what the table `[bootloader]` says.

    Args:
        table: nothing of it was taken apart yet.
        bootnames: what the slots are called.

    Raises:
        ConfigurationError: naming the key that is wrong.
    """
    wanted = table.free_text("type")
    if wanted in _LATER:
        table.fail("type", f"the boot loader {wanted} is not supported yet; this version knows {', '.join(BootLoaderType)}")
    if wanted not in {str(each) for each in BootLoaderType}:
        table.fail("type", f"not one of: {', '.join(BootLoaderType)}")
    configuration = _bootloader_of(BootLoaderType(wanted), table)
    table.done()
    if isinstance(configuration, GrubConfiguration) and configuration.script is GrubScript.USBUPDATE:
        for bootname in bootnames:
            # The names of variables are made from it.
            if not _SCRIPT_NAME.fullmatch(bootname):
                table.fail("script", f"the bootname {bootname} holds more than letters, digits and '_'")
    return configuration


def _bootloader_of(wanted: BootLoaderType, table: Table) -> BootLoaderConfiguration:
    match wanted:
        case BootLoaderType.GRUB:
            return GrubConfiguration(table.place("environment"), table.choice("script", GrubScript, GrubScript.RAUC))
        case BootLoaderType.UBOOT:
            return UbootConfiguration(table.optional_place("config"))
        case BootLoaderType.CUSTOM:
            if not table.free_text("program").startswith("/"):
                table.fail("program", "not an absolute path")
            return CustomConfiguration(table.place("program"))
        case BootLoaderType.SIMULATED:
            return SimulatedConfiguration(table.place("environment"))
    assert_never(wanted)
