"""Makes a simulated device: `simulate new`.

Source: design, section 11.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core.manifest import Blob
from usbupdate.core.record import Installed
from usbupdate.core.words import COMPATIBLE, SLOT_CLASS, VERSION, DeviceId, Digest, Slot, SlotClass
from usbupdate.device.bootloaders import simulated
from usbupdate.device.configuration import load_configuration
from usbupdate.device.provision import Request, provision
from usbupdate.errors import UnusableFileError, UnusableValueError
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import BOOT_LOADER_FILE, CONFIGURATION_FILE
from usbupdate.simulate.hardware import HardwareClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from usbupdate.core.identity import Identity

ROOTFS: Final = SlotClass("rootfs")
STATE_FOLDER: Final = "state"
HEALTH_FOLDER: Final = "health.d"
INSTALL_GATES_FOLDER: Final = "install.d"
REBOOT_GATES_FOLDER: Final = "reboot.d"
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What a simulated device is to be; an unknown version is an empty string, with sequence 0."""

    images: Mapping[SlotClass, Path]
    compatible: str
    root: Path
    device: DeviceId | None = None
    groups: tuple[str, ...] = ()
    version: str = ""
    sequence: int = 0


def create(folder: Path, plan: Plan) -> Identity:
    """Make a simulated device that runs the given images in slot a; slot b is as large, empty and bad.

    The folder gets its name when all is done; only a cut before leaves a folder `<name>.part`, which the next try removes.

    Raises:
        InputError: something given cannot be used; nothing was made.
        NotReadyError: the root is no root.
    """
    _require_usable(folder, plan)
    part = folder.absolute().with_name(folder.absolute().name + ".part")
    try:
        durable.remove_tree(part)
        durable.make_directory(part / "slots")
        for each in (HEALTH_FOLDER, INSTALL_GATES_FOLDER, REBOOT_GATES_FOLDER, "run"):
            durable.make_directory(part / each)
        images = {name: _lay_down(part, name, path) for name, path in plan.images.items()}
        durable.save(part / "root.json", plan.root.read_bytes())
        durable.save(part / CONFIGURATION_FILE, _configuration(plan).encode())
        simulated.lay_down(part / BOOT_LOADER_FILE, Slot.A)
        here = hardware.fresh(Slot.A)
        hardware.save(part, here)
        configuration = load_configuration(part / CONFIGURATION_FILE)
        running = Installed(Slot.A, plan.version, plan.sequence, images)
        identity = provision(configuration, running, Request(plan.device, plan.groups), HardwareClock(here))
        durable.sync_tree(part)
        if folder.is_dir():
            durable.remove_tree(folder)
        durable.rename(part, folder.absolute())
    except OSError as error:
        raise UnusableFileError(path=str(error.filename or folder), problem=error.strerror or "it failed") from error
    finally:
        # When all went well it bears another name by now.
        with suppress(OSError):
            durable.remove_tree(part)
    return identity


def _require_usable(folder: Path, plan: Plan) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnusableFileError(path=str(folder), problem="it exists already and is not an empty folder")
    if not COMPATIBLE.fullmatch(plan.compatible):
        raise UnusableValueError(what="The compatible", value=plan.compatible, problem="not of the form 'acme,gw-100'")
    if plan.version and not VERSION.fullmatch(plan.version):
        raise UnusableValueError(what="The version", value=plan.version, problem="letters, digits and . + ~ _ - only")
    for name, path in plan.images.items():
        if not SLOT_CLASS.fullmatch(name):
            raise UnusableValueError(what="The slot class", value=name, problem="not lower-case letters, digits and -")
        if not path.is_file() or path.stat().st_size == 0:
            raise UnusableFileError(path=str(path), problem="it is no image file, or an empty one")


def _lay_down(folder: Path, slot_class: SlotClass, image: Path) -> Blob:
    """Copy an image into slot a and make an empty slot b of the same size."""
    digest = hashlib.sha256()
    place = folder / _slot_file(Slot.A, slot_class)
    with image.open("rb") as source, durable.Growing(place.with_name(place.name + ".part")) as copy:
        while piece := source.read(_PIECE):
            copy.write(piece)
            digest.update(piece)
        copy.become(place)
    size = place.stat().st_size
    empty = folder / _slot_file(Slot.B, slot_class)
    durable.save(empty, b"")
    durable.truncate(empty, size)
    return Blob(sha256=Digest(digest.hexdigest()), size=size)


def _slot_file(slot: Slot, slot_class: SlotClass) -> str:
    return f"slots/{slot}.img" if slot_class == ROOTFS else f"slots/{slot}-{slot_class}.img"


def _configuration(plan: Plan) -> str:
    slots = "".join(
        f'\n[slots.{slot}]\nbootname = "{slot.upper()}"\n'
        + "".join(f'{name} = "{_slot_file(slot, name)}"\n' for name in plan.images)
        for slot in Slot
    )
    return f"""# A simulated device: an ordinary configuration, whose paths are relative to this file.
[device]
compatible = "{plan.compatible}"
state_dir = "{STATE_FOLDER}"

[trust]
root = "root.json"
clock = "system"
{slots}
[bootloader]
type = "simulated"
environment = "{BOOT_LOADER_FILE}"

[health]
checks = "{HEALTH_FOLDER}"
timeout_s = 120

[gates]
install = "{INSTALL_GATES_FOLDER}"
reboot = "{REBOOT_GATES_FOLDER}"

[policy]
reboot = "automatic"

[logs]
export = true
"""
