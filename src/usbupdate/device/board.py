"""A real device, joined from its parts.

Source: design, section 9.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.device import process
from usbupdate.device.blockdevices import BlockDevices
from usbupdate.device.booted import booted_slot
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.clock import LinuxClock
from usbupdate.device.machine import ConfiguredGate, ConfiguredJudge, Machine, device_drafts, open_ledger
from usbupdate.device.signals import DeviceAnnouncer
from usbupdate.device.slots import BlockSlots
from usbupdate.device.statestore import StateStore
from usbupdate.device.status import measured_status
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import Slot
    from usbupdate.device.configuration import Configuration

_COMMAND_LINE: Final = Path("/proc/cmdline")
_REBOOT: Final = ("systemctl", "reboot")
_REBOOT_BY_FORCE: Final = ("systemctl", "--force", "reboot")
_REBOOT_S: Final = 30.0


def join(configuration: Configuration, console: Callable[[str], None], operator: str) -> Machine:
    """Return the device that this program runs on.

    Args:
        configuration: what the image says of the model.
        console: prints one line.
        operator: who acts: a person's name, or "unattended".
    """
    clock = LinuxClock()
    store = StateStore(configuration.state_dir)
    slots = board_slots(configuration)
    return Machine(
        configuration=configuration,
        store=store,
        loader=grub_loader(configuration, slots),
        slots=slots,
        ledger=open_ledger(configuration),
        clock=clock,
        drafts=device_drafts(configuration, clock, store, operator),
        judge=ConfiguredJudge(configuration, clock),
        reboot_gate=ConfiguredGate(configuration),
        rebooter=SystemRebooter(),
        announcer=DeviceAnnouncer(configuration.signals, console),
    )


def board_slots(configuration: Configuration) -> BlockSlots:
    """Return the slots of a board."""
    paths = {
        slot: {name: str(path) for name, path in configured.devices.items()} for slot, configured in configuration.slots.items()
    }
    return BlockSlots(paths, usb_allowed=configuration.slots_behind_usb)


def grub_loader(configuration: Configuration, slots: BlockSlots) -> GrubLoader:
    """Return the boot loader of a board, which finds out by itself which slot is running."""
    bootnames = {slot: configured.bootname for slot, configured in configuration.slots.items()}

    def booted() -> Slot:
        try:
            command_line = _COMMAND_LINE.read_text("utf-8", errors="replace")
        except OSError as error:
            raise BootLoaderError(problem=f"{_COMMAND_LINE} cannot be read") from error
        root = BlockDevices().root()
        return booted_slot(command_line, bootnames, None if root is None else slots.owner(root))

    return GrubLoader(configuration.bootloader.environment, bootnames, booted)


def running_slot(configuration: Configuration) -> Slot:
    """Return the slot that a device runs, before it is provisioned.

    Raises:
        BootLoaderError: nothing tells, or two sources disagree.
    """
    return grub_loader(configuration, board_slots(configuration)).booted()


def board_status(configuration: Configuration) -> dict[str, Json]:
    """Return how a board stands, as `status --json` prints it; always works and changes nothing.

    The boot loader of a board tells only on request what it holds of a slot, so `good` and `tries` are null.
    """
    booted = None
    with suppress(BootLoaderError):
        booted = running_slot(configuration)
    return measured_status(configuration, booted, None)


class SystemRebooter:
    """Asks systemd for a restart. Implements `device.ports.Rebooter`."""

    def reboot(self) -> None:
        """Ask for a restart at once, and by force where nobody listens; see `device.ports.Rebooter`."""
        for command in (_REBOOT, _REBOOT_BY_FORCE):
            with suppress(OSError):
                if process.run([*command], timeout_s=_REBOOT_S).succeeded:
                    return
