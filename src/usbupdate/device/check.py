"""`device check`: everything around the agent that an update needs, looked at one by one, with what to do where it is wrong.

It only reads, and it goes on after a finding: whoever builds the image wants to see all of them.

Source: design, sections 9 and 10.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device import identity, process
from usbupdate.device.blockdevices import BlockDevices
from usbupdate.device.booted import booted_slot
from usbupdate.device.bootloaders import simulated
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.configuration import BootLoaderType, Configuration, load_configuration, read_configured_root
from usbupdate.device.health import folder_problem
from usbupdate.device.machine import TRUST_FOLDER
from usbupdate.device.slots import BlockSlots
from usbupdate.device.statestore import StateStore
from usbupdate.device.unit import load_unit
from usbupdate.errors import NotProvisionedError, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RULE: Final = "90-usbupdate.rules"
UNITS: Final = ("usbupdate@.service", "usbupdate-boot.service", "usbupdate-deadman.service", "usbupdate-deadman.timer")
ENABLED: Final = ("multi-user.target.wants/usbupdate-boot.service", "sysinit.target.wants/usbupdate-deadman.timer")
PROGRAMS: Final = ("blkid", "mount", "umount", "systemctl")
_OTHERS: Final = 0o007


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is right, what it is or what is wrong, and what to do."""

    name: str
    ok: bool
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the system keeps what is looked at; other places only in tests."""

    command_line: Path = Path("/proc/cmdline")
    rule_folders: tuple[Path, ...] = (
        Path("/etc/udev/rules.d"),
        Path("/usr/lib/udev/rules.d"),
        Path("/lib/udev/rules.d"),
    )
    unit_folders: tuple[Path, ...] = (
        Path("/etc/systemd/system"),
        Path("/usr/lib/systemd/system"),
        Path("/lib/systemd/system"),
    )
    block_devices: BlockDevices = BlockDevices()  # noqa: RUF009  # frozen, and only says where the kernel is asked


@dataclass(frozen=True, slots=True)
class _Wrong:
    """What is wrong, and what to do."""

    text: str
    advice: str


def check_device(configuration_path: Path, surroundings: Surroundings | None = None) -> list[Finding]:
    """Return a finding for each thing that an update needs, in the order in which one mends them."""
    try:
        configuration = load_configuration(configuration_path)
    except UsbupdateError as error:
        return [Finding("configuration", ok=False, text=str(error), advice=error.hint)]
    looks = [
        *_looks_everywhere(configuration),
        *(
            [("boot loader", lambda: _simulated_loader(configuration))]
            if configuration.bootloader.type is BootLoaderType.SIMULATED
            else _looks_on_a_board(configuration, surroundings or Surroundings())
        ),
    ]
    findings = [Finding("configuration", ok=True, text=str(configuration_path))]
    return findings + [_looked(name, look) for name, look in looks]


_Look = tuple[str, "Callable[[], str | _Wrong]"]


def _looked(name: str, look: Callable[[], str | _Wrong]) -> Finding:
    try:
        answer = look()
    except UsbupdateError as error:
        return Finding(name, ok=False, text=str(error), advice=error.hint)
    if isinstance(answer, _Wrong):
        return Finding(name, ok=False, text=answer.text, advice=answer.advice)
    return Finding(name, ok=True, text=answer)


def _looks_everywhere(configuration: Configuration) -> Iterator[_Look]:
    state_dir = configuration.state_dir
    yield "state folder", lambda: _state_folder(state_dir)
    yield "marker and state", lambda: f"format {StateStore(state_dir).load().format}"
    yield "key", lambda: identity.load_signer(state_dir).public_key.keyid
    yield "unit", lambda: _unit(state_dir)
    yield "configured root", lambda: _configured_root(configuration)
    yield "stored root", lambda: _stored_root(state_dir)
    for name, folder in (
        ("health checks", configuration.health.checks),
        ("install gates", configuration.gates.install),
        ("reboot gates", configuration.gates.reboot),
    ):
        yield name, partial(_folder, folder)


def _looks_on_a_board(configuration: Configuration, surroundings: Surroundings) -> Iterator[_Look]:
    slots = BlockSlots(
        {slot: {name: str(path) for name, path in each.devices.items()} for slot, each in configuration.slots.items()},
        surroundings.block_devices,
        usb_allowed=configuration.slots_behind_usb,
    )
    yield "slots", lambda: _slots(slots)
    yield "booted slot", lambda: _booted(configuration, slots, surroundings)
    yield "boot loader", lambda: _grub(configuration)
    yield "kernel command line", lambda: _command_line(surroundings.command_line)
    yield "udev rule", lambda: _installed(surroundings.rule_folders, (RULE,), "udev-rules")
    yield "units", lambda: _installed(surroundings.unit_folders, UNITS, "systemd")
    yield "units enabled", lambda: _installed(surroundings.unit_folders, ENABLED, "systemd")
    yield "programs", _programs


def _state_folder(state_dir: Path) -> str | _Wrong:
    try:
        status = state_dir.stat()
    except OSError as error:
        raise NotProvisionedError(path=str(state_dir)) from error
    if status.st_mode & _OTHERS:
        return _Wrong(f"{state_dir} is open to every user.", f"Run 'chmod o= {state_dir}'.")
    return str(state_dir)


def _unit(state_dir: Path) -> str | _Wrong:
    unit = load_unit(state_dir)
    stated = identity.load(state_dir).device
    if stated != unit.id:
        return _Wrong(
            f"The unit is {unit.id}, but its key was made for {stated}.",
            "Put back the unit's own device.toml into the state folder.",
        )
    return unit.id + (f" in {', '.join(unit.groups)}" if unit.groups else "")


def _configured_root(configuration: Configuration) -> str:
    from usbupdate.core.truststate import check_configured_root  # noqa: PLC0415  # needs tuf, which may be what is broken

    return f"version {check_configured_root(read_configured_root(configuration)).version}"


def _stored_root(state_dir: Path) -> str:
    from usbupdate.device.truststore import TrustStore  # noqa: PLC0415  # needs tuf, which may be what is broken

    version, digest = TrustStore(state_dir / TRUST_FOLDER).newest_root()
    return f"version {version}, sha256 {digest}"


def _folder(folder: Path | None) -> str | _Wrong:
    if folder is None:
        return "none configured"
    if problem := folder_problem(folder):
        return _Wrong(f"{folder} would not be run: {problem}", "Make it and what is in it root's, and writable by root only.")
    return str(folder) if folder.is_dir() else f"{folder} is not there, so there are none"


def _slots(slots: BlockSlots) -> str | _Wrong:
    sizes = {slot: slots.capacity(slot) for slot in Slot}
    for name, size in sizes[Slot.A].items():
        if sizes[Slot.B][name] != size:
            return _Wrong(
                f"{name} has {size} bytes in slot a and {sizes[Slot.B][name]} in slot b.",
                "Make both the same size, or a release fits one slot only.",
            )
    return ", ".join(sizes[Slot.A])


def _booted(configuration: Configuration, slots: BlockSlots, surroundings: Surroundings) -> str:
    root = surroundings.block_devices.root()
    bootnames = {slot: each.bootname for slot, each in configuration.slots.items()}
    return booted_slot(_read(surroundings.command_line), bootnames, slots.owner(root) if root else None)


def _grub(configuration: Configuration) -> str | _Wrong:
    bootnames = {slot: each.bootname for slot, each in configuration.slots.items()}
    environment = configuration.bootloader.environment
    loader = GrubLoader(environment, bootnames, lambda: Slot.A)
    unknown = [bootnames[slot] for slot in Slot if loader.was_tried(slot) is Tried.UNKNOWN]
    if unknown:
        return _Wrong(
            f"{environment} does not know {' and '.join(unknown)}.",
            "Set ORDER, <name>_OK and <name>_TRY there, with the bootnames of the configuration.",
        )
    return str(environment)


def _simulated_loader(configuration: Configuration) -> str:
    simulated.status(configuration.bootloader.environment)
    return str(configuration.bootloader.environment)


def _command_line(path: Path) -> str | _Wrong:
    words = _read(path).partition(" -- ")[0].split()
    for word in words:
        if word.startswith(("root=LABEL=", "root=UUID=")):
            return _Wrong(
                f"{word} may name both slots, for they can hold the same image.", "Use root=PARTUUID= or root=/dev/…."
            )
    if not any(word.startswith("panic=") and word != "panic=0" for word in words):
        return _Wrong("A kernel that panics on trial would stand still.", "Add panic=10 to the kernel command line.")
    return "root and panic are right"


def _installed(folders: tuple[Path, ...], names: tuple[str, ...], source: str) -> str | _Wrong:
    missing = [
        name for name in names if not any((folder / name).exists() or (folder / name).is_symlink() for folder in folders)
    ]
    if missing:
        return _Wrong(f"Not installed: {', '.join(missing)}.", f"See {source}/README.md of usbupdate.")
    return ", ".join(names)


def _programs() -> str | _Wrong:
    path = process.BARE_ENVIRONMENT["PATH"]
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return _Wrong(f"Missing: {', '.join(missing)}.", "Add util-linux and systemd to the image.")
    return ", ".join(PROGRAMS)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
