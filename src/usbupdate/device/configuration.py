"""What the image says about the model of the device: `/etc/usbupdate/device.toml`, read strictly.

It speaks of trust and of compatibility, so it comes with the image; what is particular to one unit stands in `device.unit`.

Source: design, section 9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import plainfile
from usbupdate.core.words import COMPATIBLE, SLOT_CLASS, Slot, SlotClass
from usbupdate.device.bootloaders.settings import (
    BootLoaderConfiguration,
    BootLoaderType as BootLoaderType,  # noqa: PLC0414  # who asks what is configured need not know where it is read
    read_bootloader,
)
from usbupdate.device.toml import Table, load_table
from usbupdate.errors import ConfiguredRootError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH: Final = Path("/etc/usbupdate/device.toml")
DEFAULT_FILESYSTEMS: Final = ("vfat", "exfat")
ROOT_SIZE_MAX: Final = 512_000
"""In bytes; what `core.rootrules` allows a root, said here for those who only read it and need no tuf for that."""
HEALTH_TIMEOUT_MAX_S: Final = 900
"""Below the limit of `usbupdate-deadman.timer`, or the dead man would end trials that are still being judged."""
_HEALTH_TIMEOUT_DEFAULT_S: Final = 120

_BOOT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_FILESYSTEM: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,15}")
_LED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,63}")
_ARGUMENT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_SLOT_CLASSES_MAX: Final = 16
_FILESYSTEMS_MAX: Final = 8
_ARGUMENTS_MAX: Final = 16


class ClockTrust(StrEnum):
    """Whether the system clock may be believed at all; what that means is decided in `core.trust`."""

    SYSTEM = "system"
    UNTRUSTED = "untrusted"


class RebootPolicy(StrEnum):
    """Who decides when an installed release is started."""

    AUTOMATIC = "automatic"
    GATED = "gated"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class SlotConfiguration:
    """One boot group: the boot loader's name of it, and its block device for each slot class."""

    bootname: str
    devices: Mapping[SlotClass, Path]


@dataclass(frozen=True, slots=True)
class HealthConfiguration:
    """The folder of checks on trial, and the seconds from the start of the boot within which all must have passed."""

    checks: Path | None
    timeout_s: int


@dataclass(frozen=True, slots=True)
class GatesConfiguration:
    """The folders of gates before an installation and before a restart."""

    install: Path | None
    reboot: Path | None


@dataclass(frozen=True, slots=True)
class SignalsConfiguration:
    """Where the five signals go besides console, journal and status file: a command, and a LED under /sys/class/leds."""

    command: tuple[str, ...]
    led: str | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A device's model. `path` is the file that it was read from; all other paths are absolute."""

    path: Path
    compatible: str
    state_dir: Path
    slots_behind_usb: bool
    root: Path
    clock: ClockTrust
    slots: Mapping[Slot, SlotConfiguration]
    bootloader: BootLoaderConfiguration
    filesystems: tuple[str, ...]
    health: HealthConfiguration
    gates: GatesConfiguration
    reboot: RebootPolicy
    export_logs: bool
    signals: SignalsConfiguration

    @property
    def bootnames(self) -> Mapping[Slot, str]:
        """What the boot loader calls each slot."""
        return {slot: each.bootname for slot, each in self.slots.items()}


def read_configured_root(configuration: Configuration) -> bytes:
    """Return the configured root's bytes, unproven; of a file that is too large for a root only the beginning, which is none.

    Raises:
        ConfiguredRootError: it cannot be read.
    """
    try:
        return plainfile.read(configuration.root, ROOT_SIZE_MAX + 1)
    except OSError as error:
        problem = f"{configuration.root}: {error.strerror or 'it cannot be read'}"
        raise ConfiguredRootError(problem=problem) from error


def load_configuration(path: Path) -> Configuration:
    """Return the configuration in the file at `path`, or say which key is wrong.

    Raises:
        ConfigurationError: naming the file and the key; nothing may be installed then.
    """
    whole = load_table(path)
    device = whole.inner("device")
    trust = whole.inner("trust")
    media = whole.optional("media")
    policy = whole.optional("policy")
    logs = whole.optional("logs")
    slots = _slots(whole.inner("slots"))
    configuration = Configuration(
        path=path,
        compatible=device.text("compatible", COMPATIBLE),
        state_dir=device.place("state_dir"),
        slots_behind_usb=device.flag("slots_behind_usb", default=False),
        root=trust.place("root"),
        clock=trust.choice("clock", ClockTrust, ClockTrust.SYSTEM),
        slots=slots,
        bootloader=read_bootloader(whole.inner("bootloader"), [each.bootname for each in slots.values()]),
        filesystems=_filesystems(media),
        health=_health(whole.optional("health")),
        gates=_gates(whole.optional("gates")),
        reboot=policy.choice("reboot", RebootPolicy, RebootPolicy.AUTOMATIC),
        export_logs=logs.flag("export", default=True),
        signals=_signals(whole.optional("signals")),
    )
    for table in (device, trust, media, policy, logs, whole):
        table.done()
    return configuration


def _slots(table: Table) -> Mapping[Slot, SlotConfiguration]:
    slots = {slot: _slot(table.inner(slot)) for slot in Slot}
    table.done()
    first, second = slots[Slot.A], slots[Slot.B]
    if first.bootname == second.bootname:
        table.fail("b.bootname", "the same as that of slot a")
    if set(first.devices) != set(second.devices):
        table.fail("b", "not the same slot classes as slot a")
    places = [*first.devices.values(), *second.devices.values()]
    # One device under two names would be written while it runs.
    if len(set(places)) != len(places):
        table.fail("b", "a device stands twice")
    return slots


def _slot(table: Table) -> SlotConfiguration:
    bootname = table.text("bootname", _BOOT_NAME)
    devices = {}
    for key in table.names():
        if key == "bootname":
            continue
        if not SLOT_CLASS.fullmatch(key):
            table.fail(key, "not the name of a slot class")
        devices[SlotClass(key)] = table.place(key)
    if not 1 <= len(devices) <= _SLOT_CLASSES_MAX:
        table.fail("*", f"not 1 to {_SLOT_CLASSES_MAX} slot classes, such as rootfs")
    return SlotConfiguration(bootname=bootname, devices=devices)


def _filesystems(table: Table) -> tuple[str, ...]:
    if "filesystems" not in table:
        return DEFAULT_FILESYSTEMS
    filesystems = table.texts("filesystems", _FILESYSTEM, limit=_FILESYSTEMS_MAX)
    if not filesystems:
        table.fail("filesystems", "an empty list would allow no stick at all")
    return filesystems


def _health(table: Table) -> HealthConfiguration:
    health = HealthConfiguration(
        checks=table.optional_place("checks"),
        timeout_s=table.integer("timeout_s", low=1, high=HEALTH_TIMEOUT_MAX_S, default=_HEALTH_TIMEOUT_DEFAULT_S),
    )
    table.done()
    return health


def _gates(table: Table) -> GatesConfiguration:
    gates = GatesConfiguration(install=table.optional_place("install"), reboot=table.optional_place("reboot"))
    table.done()
    return gates


def _signals(table: Table) -> SignalsConfiguration:
    command = table.texts("command", _ARGUMENT, limit=_ARGUMENTS_MAX) if "command" in table else ()
    if command and not command[0].startswith("/"):
        table.fail("command", "the program is not named by an absolute path")
    signals = SignalsConfiguration(command=command, led=table.text("led", _LED) if "led" in table else None)
    table.done()
    return signals
