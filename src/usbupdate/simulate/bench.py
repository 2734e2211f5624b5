"""The simulated device: the same agent as on a board, joined to files.

Source: design, section 11.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import Check, CheckResult, Draft
from usbupdate.core.record import Activating, Committing, Trial
from usbupdate.device import lock
from usbupdate.device.bootloaders import simulated
from usbupdate.device.configuration import Configuration, load_configuration
from usbupdate.device.confirm import awaken
from usbupdate.device.machine import ConfiguredGate, Machine, device_drafts, open_ledger
from usbupdate.device.obligations import Rest
from usbupdate.device.pipeline import WORKERS
from usbupdate.device.signals import DeviceAnnouncer
from usbupdate.device.slotfiles import FileSlots
from usbupdate.device.statestore import StateStore
from usbupdate.device.status import measured_status
from usbupdate.device.trial import TrialJudge
from usbupdate.device.unpacking import unpacking_without_rights
from usbupdate.errors import BootLoaderError, ConfigurationError, NotReadyError, UnusableFileError, UsbupdateError
from usbupdate.simulate import hardware
from usbupdate.simulate.hardware import Hardware, HardwareClock, HardwareRebooter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from usbupdate.core.strictjson import Json
    from usbupdate.core.unpack import Unpack
    from usbupdate.core.words import Slot, SlotClass
    from usbupdate.device.installer import Advance
    from usbupdate.device.ports import Judge

CONFIGURATION_FILE: Final = "device.toml"
BOOT_LOADER_FILE: Final = "bootloader.json"
STATUS_FILE: Final = "run/status.json"
BOOTS_MAX: Final = 40
"""More than the lifecycle can need; past it the simulation itself would be broken."""


class Console(Protocol):
    """Where the simulation says what a person beside the device would see."""

    def __call__(self, line: str) -> None:
        """Show one line."""


@dataclass(frozen=True, slots=True)
class Mishaps:
    """What goes wrong in boots of a slot on trial."""

    panic: bool = False
    unhealthy: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command made of the device: how it rests, and the receipts that were owed and recorded."""

    rest: Rest
    told: tuple[Draft, ...]


class Bench:
    """One simulated device in one folder.

    Args:
        folder: what `simulate new` made.
        console: shows what a person beside the device would see.
        progress: is told how far an installation is.
        workers: how many chunks are worked on at once.
        unpacking: what takes frames apart, for one installation.
    """

    def __init__(
        self,
        folder: Path,
        console: Console,
        progress: Advance,
        *,
        workers: int = WORKERS,
        unpacking: Callable[[], AbstractContextManager[Unpack]] = unpacking_without_rights,
    ) -> None:
        self.folder = folder
        self._unpacking = unpacking
        self._workers = workers
        self._console = console
        self._progress = progress

    def insert(self, stick: Path) -> Ran:
        """Plug a stick in and let the agent run until it rests or asks for a restart.

        Raises:
            UsbupdateError: why nothing was installed; signalled and recorded already.
        """
        with lock.locked(self.folder):
            here = replace(hardware.load(self.folder), stick=stick.absolute())
            if not str(here.stick).isprintable() or not _is_there(stick):
                raise UnusableFileError(path=str(stick), problem="there is no such stick, or its path cannot be written down")
            hardware.save(self.folder, here)
            ran, error = self._run_agent(here, Mishaps(), Insertion.NEW)
        if error is not None:
            raise error
        return ran

    def remove(self) -> None:
        """Pull the stick out, if one is in."""
        with lock.locked(self.folder):
            hardware.save(self.folder, replace(hardware.load(self.folder), stick=None))

    def boot(self, mishaps: Mishaps) -> Ran:
        """Take one power cycle, and every restart that the agent then asks for."""
        told: list[Draft] = []
        with lock.locked(self.folder):
            for _ in range(BOOTS_MAX):
                here = hardware.load(self.folder).rebooted(simulated.choose(self.folder / BOOT_LOADER_FILE))
                hardware.save(self.folder, here)
                is_trial = self._is_on_trial(here)
                title = f"boot of slot {here.booted}{' (on trial)' if is_trial else ''}"
                if is_trial and mishaps.panic:
                    self._console(f"{title}: kernel panic, the watchdog resets")
                    continue
                # What a stick that stayed in got for an answer is signalled and recorded; the power cycle itself succeeded.
                ran, _ = self._run_agent(here, mishaps if is_trial else Mishaps(), Insertion.FOUND)
                told += ran.told
                self._console(f"{title}: {_sentence(ran.rest)}")
                if ran.rest is not Rest.REBOOTING:
                    return Ran(ran.rest, tuple(told))
        message = "the simulated device does not come to rest"
        raise AssertionError(message)

    def status(self) -> dict[str, Json]:
        """Return how the device stands, as `status --json` prints it; always works and changes nothing."""
        here, boots = hardware.load(self.folder), None
        with suppress(BootLoaderError):
            boots = simulated.status(self.folder / BOOT_LOADER_FILE)
        folder = self.folder.absolute()
        return measured_status(self.configuration(), here.booted, boots, lambda path: str(path).removeprefix(f"{folder}/"))

    def configuration(self) -> Configuration:
        """Return the device's configuration, an ordinary one."""
        return load_configuration(self.folder / CONFIGURATION_FILE)

    def machine(self, here: Hardware, judge: Judge | None = None, operator: str = "unattended") -> Machine:
        """Return the device joined from its parts, in its present boot."""
        configuration = self.configuration()
        clock = HardwareClock(here)
        store = StateStore(configuration.state_dir)
        return Machine(
            configuration=configuration,
            store=store,
            loader=simulated.SimulatedLoader(self.folder / BOOT_LOADER_FILE, here.booted),
            slots=file_slots(configuration, self.folder),
            ledger=open_ledger(configuration),
            clock=clock,
            drafts=device_drafts(configuration, clock, store, operator),
            judge=judge or TrialJudge(configuration, clock),
            reboot_gate=ConfiguredGate(configuration),
            rebooter=HardwareRebooter(self.folder),
            announcer=self.announcer(),
            workers=self._workers,
            unpacking=self._unpacking,
        )

    def announcer(self) -> DeviceAnnouncer:
        """Return what gives the device's signals."""
        return DeviceAnnouncer(self.configuration().signals, self._console, self.folder / STATUS_FILE)

    def _run_agent(self, here: Hardware, mishaps: Mishaps, insertion: Insertion) -> tuple[Ran, UsbupdateError | None]:
        judge = TrialJudge(self.configuration(), HardwareClock(here))
        agent = awaken(self.machine(here, _UnhealthyJudge(judge) if mishaps.unhealthy else judge), self._progress)
        agent.start()
        error = None
        if here.stick is None or not _is_there(here.stick):
            agent.announce()
        else:
            try:
                agent.take(here.stick, insertion)
            except UsbupdateError as problem:
                error = problem
        return Ran(agent.rest, tuple(agent.told)), error

    def _is_on_trial(self, here: Hardware) -> bool:
        """Tell whether what was just booted is on trial, as far as the device still knows."""
        with suppress(NotReadyError):
            state = StateStore(self.configuration().state_dir).load().state
            return isinstance(state, Activating | Trial | Committing) and state.attempt.slot is here.booted
        return False


class _UnhealthyJudge:
    """A release whose own self-test fails. Implements `device.ports.Judge`."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def judge(self) -> tuple[Check, ...]:
        """Return the configured checks and one that fails."""
        return (*self._judge.judge(), Check("simulated-health", CheckResult.FAILED, "exit-1", "simulated: unhealthy"))


def file_slots(configuration: Configuration, folder: Path) -> FileSlots:
    """Return the slots of a simulated device.

    Raises:
        ConfigurationError: one of them is no file in the device's folder.
    """
    slots: dict[Slot, dict[SlotClass, str]] = {}
    for slot, configured in configuration.slots.items():
        slots[slot] = {}
        for name, path in configured.devices.items():
            if not path.is_relative_to(folder.absolute()):
                problem = f"{path} is not in the folder of the simulated device"
                raise ConfigurationError(path=str(configuration.path), key=f"slots.{slot}.{name}", problem=problem)
            slots[slot][name] = str(path.relative_to(folder.absolute()))
    return FileSlots(folder, slots)


def _is_there(stick: Path) -> bool:
    """Tell whether a stick can be looked at; one that fails when it is asked is as good as pulled."""
    try:
        stick.stat()
    except OSError:
        return False
    return True


def _sentence(rest: Rest) -> str:
    match rest:
        case Rest.REBOOTING:
            return "the agent asks for a restart"
        case Rest.WAITING:
            return "a release is installed and waits for its restart"
        case Rest.DEGRADED:
            return "up, but no updates are taken until the next start"
        case Rest.IDLE:
            return "up and at rest"
