"""`device check`: everything around the agent that an update needs, looked at one by one, with what to do where it is wrong.

It only reads, and it goes on after a finding: whoever builds the image wants to see all of them.

Source: design, sections 9 and 10.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from usbupdate.core.words import Slot
from usbupdate.device import identity
from usbupdate.device.booted import booted_slot
from usbupdate.device.bootloaders.board import told_by_loader
from usbupdate.device.bootloaders.look import look_at_boot_loader
from usbupdate.device.configuration import BootLoaderType, Configuration, load_configuration, read_configured_root
from usbupdate.device.findings import Finding, Look, Wrong
from usbupdate.device.health import folder_problem
from usbupdate.device.machine import TRUST_FOLDER
from usbupdate.device.reliance import exposed_release, exposed_state
from usbupdate.device.slots import BlockSlots
from usbupdate.device.statestore import StateStore
from usbupdate.device.surroundings import Surroundings, looks_at_signals, looks_at_system
from usbupdate.device.unit import load_unit
from usbupdate.device.unitfiles import read_small
from usbupdate.errors import NotProvisionedError, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_device(configuration_path: Path, surroundings: Surroundings | None = None) -> list[Finding]:
    """Return a finding for each thing that an update needs, in the order in which one mends them."""
    try:
        configuration = load_configuration(configuration_path)
    except UsbupdateError as error:
        return [Finding("configuration", ok=False, text=str(error), advice=error.hint)]
    around = surroundings or Surroundings()
    looks = [
        *_looks_everywhere(configuration),
        Look("boot loader", lambda: _boot_loader(configuration, around)),
        *(() if configuration.bootloader.type is BootLoaderType.SIMULATED else _looks_on_a_board(configuration, around)),
    ]
    return [Finding("configuration", ok=True, text=str(configuration_path)), *(look.found() for look in looks)]


def _looks_everywhere(configuration: Configuration) -> Iterator[Look]:
    state_dir = configuration.state_dir
    yield Look("state folder", lambda: _state_folder(state_dir))
    yield Look("privacy", lambda: _privacy(configuration))
    yield Look("release's files", lambda: _release(configuration))
    yield Look("marker and state", lambda: f"format {StateStore(state_dir).load().format}")
    yield Look("key", lambda: identity.load_signer(state_dir).public_key.keyid)
    yield Look("unit", lambda: _unit(state_dir))
    yield Look("configured root", lambda: _configured_root(configuration))
    yield Look("stored root", lambda: _stored_root(state_dir))
    for name, folder in (
        ("health checks", configuration.health.checks),
        ("install gates", configuration.gates.install),
        ("reboot gates", configuration.gates.reboot),
    ):
        yield Look(name, partial(_folder, folder))
    yield Look("unpacking", _unpacking)
    yield from looks_at_signals(configuration)


def _looks_on_a_board(configuration: Configuration, surroundings: Surroundings) -> Iterator[Look]:
    slots = BlockSlots(
        {slot: {name: str(path) for name, path in each.devices.items()} for slot, each in configuration.slots.items()},
        surroundings.block_devices,
        usb_allowed=configuration.slots_behind_usb,
    )
    yield Look("slots", lambda: _slots(slots))
    yield Look("booted slot", lambda: _booted(configuration, slots, surroundings))
    yield from looks_at_system(configuration, surroundings)


def _state_folder(state_dir: Path) -> str:
    if not state_dir.is_dir():
        raise NotProvisionedError(path=str(state_dir))
    return str(state_dir)


def _privacy(configuration: Configuration) -> str | Wrong:
    if not configuration.state_dir.is_dir():
        raise NotProvisionedError(path=str(configuration.state_dir))
    found = exposed_state(configuration)
    return Wrong(found.text, found.advice) if found else "only root looks into the state folder"


def _release(configuration: Configuration) -> str | Wrong:
    found = exposed_release(configuration)
    return Wrong(found.text, found.advice) if found else "only root changes them"


def _unit(state_dir: Path) -> str | Wrong:
    unit = load_unit(state_dir)
    stated = identity.load(state_dir).device
    if stated != unit.id:
        return Wrong(
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


def _unpacking() -> str:
    from usbupdate.device.unpacking import Unpacker  # noqa: PLC0415  # needs zstandard, which may be what is broken

    unpacker = Unpacker()
    unpacker.close()
    return "in a process without rights" + ("" if unpacker.is_filtered else ", whose system calls this kernel does not filter")


def _folder(folder: Path | None) -> str | Wrong:
    if folder is None:
        return "none configured"
    if problem := folder_problem(folder):
        return Wrong(f"{folder} would not be run: {problem}", "Make it and what is in it root's, and writable by root only.")
    return str(folder) if folder.is_dir() else f"{folder} is not there, so there are none"


def _slots(slots: BlockSlots) -> str | Wrong:
    sizes = {slot: slots.capacity(slot) for slot in Slot}
    for name, size in sizes[Slot.A].items():
        if sizes[Slot.B][name] != size:
            return Wrong(
                f"{name} has {size} bytes in slot a and {sizes[Slot.B][name]} in slot b.",
                "Make both the same size, or a release fits one slot only.",
            )
    return ", ".join(sizes[Slot.A])


def _booted(configuration: Configuration, slots: BlockSlots, surroundings: Surroundings) -> str:
    root = surroundings.block_devices.root()
    return booted_slot(
        read_small(surroundings.command_line),
        configuration.bootnames,
        behind_root=slots.owner(root) if root else None,
        told_by_loader=told_by_loader(configuration.bootloader, configuration.bootnames),
    )


def _boot_loader(configuration: Configuration, surroundings: Surroundings) -> str | Wrong:
    return look_at_boot_loader(configuration.bootloader, configuration.bootnames, surroundings.block_devices)
