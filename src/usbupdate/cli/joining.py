"""Finds the device that a configuration describes, real or simulated, and gives its agent."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usbupdate.device.agent import Agent
from usbupdate.device.configuration import BootLoaderType, load_configuration
from usbupdate.device.confirm import confirm_without_state
from usbupdate.device.lock import locked_after_waiting
from usbupdate.device.statestore import StateStore
from usbupdate.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.device.installer import Advance
    from usbupdate.device.machine import Machine


class Silent:
    """Shows no progress. Implements `device.installer.Advance`."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Show nothing."""


def machine_of(configuration_path: Path, operator: str) -> Machine:
    """Return the device that a configuration describes.

    Raises:
        NotReadyError: configuration, key or unit file are missing or unreadable.
    """
    configuration = load_configuration(configuration_path)
    if configuration.bootloader.type is BootLoaderType.SIMULATED:
        from usbupdate.simulate.bench import Bench  # noqa: PLC0415 - a board has no use for it
        from usbupdate.simulate.hardware import load  # noqa: PLC0415 - the same

        folder = configuration_path.absolute().parent
        return Bench(folder, show, Silent()).machine(load(folder), operator=operator)
    from usbupdate.device.board import join  # noqa: PLC0415 - a simulation has no use for it

    return join(configuration, show, operator)


@contextmanager
def agent_of(configuration_path: Path, operator: str = "unattended", progress: Advance | None = None) -> Iterator[Agent]:
    """Give the agent of a device, not started, under the device's lock.

    Raises:
        NotReadyError: configuration, key, unit or state are missing or unreadable.
    """
    with locked_after_waiting(lock_folder(configuration_path)):
        yield Agent(machine_of(configuration_path, operator), progress or Silent())


def lock_folder(configuration_path: Path) -> Path:
    """Return the folder whose lock a device's commands take."""
    configuration = load_configuration(configuration_path)
    is_simulated = configuration.bootloader.type is BootLoaderType.SIMULATED
    return configuration_path.absolute().parent if is_simulated else configuration.state_dir


def confirm_if_state_is_lost(configuration_path: Path) -> None:
    """Confirm the running slot of a device whose state cannot be read, and say what is lost.

    Raises:
        NotReadyError: it cannot be read.
        BootLoaderError: and the slot could not be confirmed.
    """
    with locked_after_waiting(lock_folder(configuration_path)):
        machine = machine_of(configuration_path, "unattended")
        state_dir = machine.configuration.state_dir
        try:
            StateStore(state_dir).load()
        except NotReadyError as error:
            confirm_without_state(state_dir, machine.loader, machine.ledger, machine.drafts, error)
            raise


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
