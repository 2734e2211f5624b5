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
from usbupdate.device.bootloaders.board import board_loader, told_by_loader
from usbupdate.device.clock import LinuxClock
from usbupdate.device.deadman import SystemDeadMan
from usbupdate.device.machine import ConfiguredGate, Machine, device_drafts, open_ledger
from usbupdate.device.notify import Notifier
from usbupdate.device.signals import DeviceAnnouncer
from usbupdate.device.slots import BlockSlots
from usbupdate.device.statestore import StateStore
from usbupdate.device.status import measured_status
from usbupdate.device.trial import TrialJudge, reach_boot_complete
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import Slot
    from usbupdate.device.configuration import Configuration
    from usbupdate.device.ports import BootLoader

_COMMAND_LINE: Final = Path("/proc/cmdline")
TRIAL_WORD: Final = "usbupdate.trial=1"
"""What our boot script puts on the kernel's line of a slot that it tries."""
_REBOOTS: Final = (("systemctl", "reboot"), ("systemctl", "--force", "reboot"), ("reboot",), ("reboot", "-f"))
"""The last two are for systems without systemd, or where it does not listen."""
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
        loader=boot_loader(configuration, slots),
        slots=slots,
        ledger=open_ledger(configuration),
        clock=clock,
        drafts=device_drafts(configuration, clock, store, operator),
        judge=TrialJudge(configuration, clock, reach_boot_complete),
        reboot_gate=ConfiguredGate(configuration),
        rebooter=SystemRebooter(),
        announcer=board_announcer(configuration, console),
        has_stick=BlockDevices().has_stick,
        may_be_on_trial=_is_tried(),
        dead_man=SystemDeadMan(),
    )


def board_announcer(configuration: Configuration, console: Callable[[str], None]) -> DeviceAnnouncer:
    """Return what gives the signals of a board; it may be used without the device's lock."""
    return DeviceAnnouncer(configuration.signals, console, notifier=Notifier.of_environment())


def board_slots(configuration: Configuration) -> BlockSlots:
    """Return the slots of a board."""
    paths = {
        slot: {name: str(path) for name, path in configured.devices.items()} for slot, configured in configuration.slots.items()
    }
    return BlockSlots(paths, usb_allowed=configuration.slots_behind_usb)


def boot_loader(configuration: Configuration, slots: BlockSlots) -> BootLoader:
    """Return the boot loader of a board, which finds out by itself which slot is running."""
    settings, bootnames = configuration.bootloader, configuration.bootnames

    def booted() -> Slot:
        try:
            command_line = _COMMAND_LINE.read_text("utf-8", errors="replace")
        except OSError as error:
            raise BootLoaderError(problem=f"{_COMMAND_LINE} cannot be read") from error
        root = BlockDevices().root()
        return booted_slot(
            command_line,
            bootnames,
            behind_root=None if root is None else slots.owner(root),
            told_by_loader=told_by_loader(settings, bootnames),
        )

    return board_loader(settings, bootnames, booted)


def running_slot(configuration: Configuration) -> Slot:
    """Return the slot that a device runs, before it is provisioned.

    Raises:
        BootLoaderError: nothing tells, or two sources disagree.
    """
    return boot_loader(configuration, board_slots(configuration)).booted()


def board_status(configuration: Configuration) -> dict[str, Json]:
    """Return how a board stands, as `status --json` prints it; always works and changes nothing.

    The boot loader of a board tells only on request what it holds of a slot, so `good` and `tries` are null.
    """
    booted = None
    with suppress(BootLoaderError):
        booted = running_slot(configuration)
    return measured_status(configuration, booted, None)


def _is_tried() -> bool:
    """Tell whether the boot loader says on the kernel's line that it tries this slot."""
    with suppress(OSError):
        return TRIAL_WORD in _COMMAND_LINE.read_text("utf-8", errors="replace").split()
    return False


class SystemRebooter:
    """Asks the system for a restart. Implements `device.ports.Rebooter`."""

    def reboot(self) -> None:
        """Ask for a restart at once, and by force where nobody listens; see `device.ports.Rebooter`."""
        for command in _REBOOTS:
            with suppress(OSError):
                if process.run(command, timeout_s=_REBOOT_S).succeeded:
                    return
