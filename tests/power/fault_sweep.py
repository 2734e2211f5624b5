"""Lets every system call of one update fail in turn, in every way in which it can, and judges what the device makes of it."""

from __future__ import annotations

import traceback
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.power.agent_scenarios import Scenario, Tally, Way
from tests.power.agent_world import World
from tests.power.device_ports import Part, Port, port_of
from tests.power.faulty_disk import KINDS, Call, Fault, FaultyDisk, Kind, Lasts
from tests.power.standing_in import standing_in
from usbupdate.core.receipt import Event
from usbupdate.core.record import DeviceRecord, Idle
from usbupdate.device.bootloaders import simulated
from usbupdate.device.signals import Signal
from usbupdate.errors import UsbupdateError
from usbupdate.simulate import hardware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from usbupdate.simulate.bench import Mishaps


@dataclass(slots=True)
class FaultTally(Tally):
    """What a sweep of faults saw, besides."""

    faults: Counter[tuple[Port, Kind]] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add_faults(self, other: FaultTally) -> None:
        """Add what another sweep saw."""
        self.add(other)
        self.faults += other.faults
        self.outcomes += other.outcomes


class FaultyWorld(World):
    """A world in which the agent meets failing calls, and may answer them by any error of the tree."""

    tally: FaultTally

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.disk: FaultyDisk | None = None
        self.last_signal = ""
        self._failing: Part | None = None

    def _hear(self, line: str) -> None:
        with nullcontext() if self.disk is None else self.disk.paused():
            super()._hear(line)
        if any(line.startswith(signal.words) for signal in Signal):
            self.last_signal = line

    def step(self, way: Way, scenario: Scenario, name: str = "", mishaps: Mishaps | None = None) -> None:
        if self.disk is None:
            super().step(way, scenario, name, mishaps)
            return
        self.tally.runs += 1
        self.last_signal = ""
        try:
            self.perform(way, scenario, name, scenario.mishaps if mishaps is None else mishaps)
        except UsbupdateError as error:
            self.tally.errors[type(error).__name__] += 1
        except Exception as error:  # noqa: BLE001 - whatever is none of the tree is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.problems.append(f"{way} ended in {type(error).__name__}: {error}, at {place.filename}:{place.lineno}")
        if self.last_signal.startswith(Signal.BUSY.words):
            self.problems.append(f"{way} left the person with '{self.last_signal}'")

    @contextmanager
    def faulty(self, fault: Fault | None) -> Iterator[FaultyDisk]:
        """Let calls of the agent fail while this lasts, and not those of what stands for the hardware and its firmware."""
        disk = self.disk = FaultyDisk(str(self.top), port_of, fault)

        def unharmed(call: Callable[..., object]) -> Callable[..., object]:
            def called(*args: object, **keywords: object) -> object:
                with disk.paused():
                    return call(*args, **keywords)

            return called

        own = {name: unharmed(getattr(hardware, name)) for name in ("load", "save")}
        try:
            with standing_in(hardware, own), standing_in(simulated, {"choose": unharmed(simulated.choose)}), disk.at_work():
                yield disk
        finally:
            self.disk = None

    def judge_outcome(self, scenario: Scenario, fault: Fault) -> Scenario:
        """Note an outcome that another part than the failing one would have to answer for, and return what may be expected.

        After a failure of the slot, or of the checks on trial, only a person or another release comes next (design, section 6).
        """
        self._failing = fault.call.port.part
        events = {outcome.event for outcome in self.record().outcomes.values()}
        self.tally.outcomes.update(events)
        if Event.FAILED in events and self._failing is not Part.SLOT:
            self.problems.append(f"the slot is blamed for what failed in the {self._failing}")
        if Event.CHECK_FAILED in events and self._failing in {Part.SLOT, Part.STICK}:
            self.problems.append(f"the release is blamed for what failed in the {self._failing}")
        return replace(scenario, is_taken=scenario.is_taken and not events & {Event.FAILED, Event.CHECK_FAILED})

    def bring_home(self, scenario: Scenario) -> None:
        """Switch a device off and on that could not leave a slot, until the boot loader has used up its tries there."""
        for _ in range(1 + simulated.COMMITTED_TRIES if self._failing is Part.LOADER else 0):
            state = self.record().state
            if isinstance(state, Idle) and state.stuck:
                self.settle(Way.BOOT_WITHOUT, scenario)

    def judge_boot_loader(self, record: DeviceRecord) -> None:
        # Its memory may have failed at the very moment at which a slot was to be marked; whole it must be all the same.
        if self._failing is Part.LOADER:
            self.judge_bootable_slots()
        else:
            super().judge_boot_loader(record)


def calls_of(world: FaultyWorld, scenario: Scenario) -> list[Call]:
    """Return every call of one update that nothing disturbs."""
    world.tally = FaultTally()
    world.lay(world.start(scenario), scenario)
    with world.faulty(None) as disk:
        world.settle(scenario.first, scenario)
    assert not world.problems
    return disk.calls


def faults_of(calls: list[Call]) -> Iterator[Fault]:
    """Yield every way in which one of these calls can fail."""
    for call in calls:
        for kind in KINDS[call.kind]:
            for lasts in Lasts:
                yield Fault(call, kind, lasts)


def sample(faults: Iterable[Fault], each: int) -> list[Fault]:
    """Return the first, and then every so manieth, of the faults of each kind on each port, once and for good."""
    groups: dict[tuple[Port, Kind, Lasts], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((fault.call.port, fault.kind, fault.lasts), []).append(fault)
    # Not always the first of the group: that is the same call for most kinds.
    return [fault for number, group in enumerate(groups.values()) for fault in group[number % min(each, len(group)) :: each]]


def meet(world: FaultyWorld, scenario: Scenario, faults: Sequence[Fault], ways: Sequence[Way] = tuple(Way)) -> FaultTally:
    """Let calls fail, mend what failed, go on, and judge each rest.

    Args:
        world: where.
        scenario: what is done.
        faults: each in a run of its own.
        ways: how it goes on; each fault takes the next.
    """
    tally = world.tally = FaultTally()
    for number, fault in enumerate(faults):
        tally.faults[fault.call.port, fault.kind] += 1
        _meet(world, scenario, fault, ways[number % len(ways)])
    return tally


def _meet(world: FaultyWorld, scenario: Scenario, fault: Fault, way: Way) -> None:
    world.lay(world.start(scenario), scenario)
    with world.faulty(fault) as disk:
        world.settle(scenario.first, scenario)
    if not disk.hit:
        world.problems.append("the call that was to fail was never made")
    # Mended from here on.
    try:
        world.judge_cut(scenario)
        before = world.record()
        judged = world.judge_outcome(scenario, fault)
        world.bring_home(judged)
        world.settle(way, judged)
        world.bring_home(judged)
        world.judge_rest(before)
        world.judge_status()
        world.judge_cure(judged)
    except (UsbupdateError, OSError) as error:
        world.problems.append(f"it cannot be judged: {type(error).__name__}: {error}")
    world.judged(f"{scenario.name}, {fault.title}, then {way}")
