"""Finds the device that a configuration describes, real or simulated, and gives its agent."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from usbupdate.device.configuration import BootLoaderType, load_configuration
from usbupdate.device.confirm import awaken, confirm_without_state
from usbupdate.device.lock import locked_after_waiting
from usbupdate.errors import NotProvisionedError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usbupdate.device.agent import Agent
    from usbupdate.device.configuration import Configuration
    from usbupdate.device.installer import Advance
    from usbupdate.device.machine import Machine
    from usbupdate.device.signals import DeviceAnnouncer


class Silent:
    """Shows no progress. Implements `device.installer.Advance`."""

    def began(self, what: str) -> None:
        """Show nothing."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Show nothing."""


def machine_of(configuration: Configuration, operator: str) -> Machine:
    """Return the device that a configuration describes."""
    if configuration.bootloader.type is BootLoaderType.SIMULATED:
        from usbupdate.simulate.bench import Bench  # noqa: PLC0415 - a board has no use for it
        from usbupdate.simulate.hardware import load  # noqa: PLC0415 - the same

        folder = configuration.path.absolute().parent
        return Bench(folder, show, Silent()).machine(load(folder), operator=operator)
    from usbupdate.device.board import join  # noqa: PLC0415 - a simulation has no use for it

    return join(configuration, show, operator)


@contextmanager
def agent_of(
    configuration_path: Path,
    operator: str = "unattended",
    progress: Advance | None = None,
    waiting: Callable[[], None] | None = None,
) -> Iterator[Agent]:
    """Give the agent of a device, not started, under the device's lock.

    Args:
        configuration_path: which device.
        operator: who acts.
        progress: is told how far an installation is.
        waiting: is called if another command is at work, before its end is waited for.

    Raises:
        NotReadyError: configuration or state are missing or unreadable.
        UnusableFileError: the lock cannot be opened. The boot is confirmed all the same, except without a configuration.
    """
    configuration = load_configuration(configuration_path)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_after_waiting(lock_folder(configuration), waiting))
        except (NotProvisionedError, UnusableFileError) as error:
            # The state partition is missing or read-only. A lock that cannot be opened is held by nobody either.
            confirm_without_state(machine_of(configuration, operator), error)
            raise
        yield awaken(machine_of(configuration, operator), progress or Silent())


def announcer_of(configuration_path: Path) -> DeviceAnnouncer:
    """Return what gives a device's signals, also for one who does not hold its lock."""
    configuration = load_configuration(configuration_path)
    if configuration.bootloader.type is BootLoaderType.SIMULATED:
        from usbupdate.simulate.bench import Bench  # noqa: PLC0415 - a board has no use for it

        return Bench(configuration.path.absolute().parent, show, Silent()).announcer()
    from usbupdate.device.board import board_announcer  # noqa: PLC0415 - a simulation has no use for it

    return board_announcer(configuration, show)


def lock_folder(configuration: Configuration) -> Path:
    """Return the folder whose lock a device's commands take."""
    is_simulated = configuration.bootloader.type is BootLoaderType.SIMULATED
    return configuration.path.absolute().parent if is_simulated else configuration.state_dir


def show_status_of(configuration_path: Path, *, as_json: bool) -> None:
    """Print how a device stands; takes no lock and changes nothing.

    Raises:
        NotReadyError: there is no such device.
    """
    from usbupdate.cli.status import show_status  # noqa: PLC0415 - needs typer

    configuration = load_configuration(configuration_path)
    if configuration.bootloader.type is BootLoaderType.SIMULATED:
        from usbupdate.simulate.bench import Bench  # noqa: PLC0415 - a board has no use for it

        table = Bench(configuration_path.absolute().parent, show, Silent()).status()
    else:
        from usbupdate.device.board import board_status  # noqa: PLC0415 - a simulation has no use for it

        table = board_status(configuration)
    show_status(table, as_json=as_json)


def show(line: str) -> None:
    """Print one line for the person at the device, at once: somebody waits for it beside the machine."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
