"""Cuts the power at every effect of what happens to a simulated device, and at every effect of what happens after that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.power.agent_scenarios import SCENARIOS, Scenario, Tally, Way
from tests.power.agent_world import FIRST, World, state_in
from tests.power.volatile_disk import Cut, Loss, Picture
from usbupdate.errors import UnusableFileError, UsbupdateError
from usbupdate.simulate.setup import create


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of the search is made; what is left out is left out by a fixed stride.

    Attributes:
        start: the first of the first cuts.
        first: every n-th of the first cuts.
        again: every n-th of those is followed by second cuts; 0 for none.
        second: every n-th of the second cuts.
        only_essential: leave out, among the cuts that are followed by second ones and among those, every one that loses
            something besides the process, and every one that differs from an earlier one by a left-over `*.part` only.
        stops: end with the first violation.
    """

    start: int = 0
    first: int = 1
    again: int = 0
    second: int = 1
    only_essential: bool = True
    stops: bool = False


EVERYTHING_ONCE: Final = Extent()


def sweep(world: World, scenario: Scenario, extent: Extent = EVERYTHING_ONCE) -> Tally:
    """Cut a scenario at every effect, go on in every way, cut that at every effect too, and judge each rest."""
    world.tally = Tally()
    world.lay(world.start(scenario), scenario)
    cuts = world.recorded(scenario.first, scenario)
    chosen = cuts[extent.start :: extent.first]
    essential = [id(cut) for cut in (_essential(cuts) if extent.only_essential else cuts)]
    followed = [id(cut) for cut in chosen if id(cut) in essential]
    # The very first picture is that of a device to which nothing has happened yet.
    followed = followed[min(1, extent.again - 1) :: extent.again] if extent.again else []
    for cut in chosen:
        world.tally.cuts += 1
        world.tally.layers[cut.layer] += 1
        for way in _ways(cut):
            what = f"{scenario.name}, {cut.title}, then {way}"
            world.lay(cut.picture, scenario)
            world.judge_cut(scenario)
            seconds: list[Cut] = []
            if id(cut) in followed and way in _ways_again(cut):
                seconds = world.recorded(way, scenario)
            else:
                world.settle(way, scenario)
            _judge_end(world, scenario, cut)
            world.judged(what)
            for again in (_essential(seconds) if extent.only_essential else seconds)[:: extent.second]:
                world.tally.second_cuts += 1
                for way_again in _ways_again(again):
                    go_on(world, scenario, again, way_again, what)
                if world.tally.violations and extent.stops:
                    return world.tally
        if world.tally.violations and extent.stops:
            break
    return world.tally


def go_on(world: World, scenario: Scenario, cut: Cut, way: Way, what: str) -> None:
    """Lay down what a cut left, go on, and judge the rest."""
    world.lay(cut.picture, scenario)
    try:
        world.judge_cut(scenario)
    except (UsbupdateError, OSError) as error:
        world.problems.append(f"it cannot be judged: {type(error).__name__}: {error}")
    world.settle(way, scenario)
    _judge_end(world, scenario, cut)
    world.judged(f"{what}, {cut.title}, then {way}")


def sweep_provisioning(world: World, extent: Extent = EVERYTHING_ONCE) -> Tally:
    """Cut the making of a device at every effect, make it again, and judge it."""
    world.tally = Tally()
    scenario = SCENARIOS[0]
    world.lay(Picture(), scenario)
    recorder = world.recorder(scenario)
    with recorder.recording():
        create(world.device, world.plan(FIRST))
    for cut in recorder.cuts[extent.start :: extent.first]:
        world.tally.cuts += 1
        world.lay(cut.picture, scenario)
        is_made = world.device.exists()
        try:
            create(world.device, world.plan(FIRST))
        except UnusableFileError as error:
            if not is_made:
                world.problems.append(f"it cannot be made again: {error}")
        world.settle(Way.BOOT, scenario)
        _judge_end(world, scenario, cut)
        world.judged(f"provisioning, {cut.title}")
    return world.tally


def _essential(cuts: list[Cut]) -> list[Cut]:
    """Return the cuts that lose nothing and leave a picture that no earlier one leaves, left-over `*.part` aside."""
    seen = set()
    essential = []
    for cut in cuts:
        key = frozenset((name, entry) for name, entry in cut.picture.items() if not name.endswith(".part"))
        if cut.loss is Loss.NOTHING and key not in seen:
            seen.add(key)
            essential.append(cut)
    return essential


def _judge_end(world: World, scenario: Scenario, cut: Cut) -> None:
    # Where the device cannot even be looked at, that is the violation.
    try:
        world.judge_rest(state_in(cut.picture))
        world.judge_status()
        world.judge_cure(scenario)
    except (UsbupdateError, OSError) as error:
        world.problems.append(f"it cannot be judged: {type(error).__name__}: {error}")


def _ways(cut: Cut) -> tuple[Way, ...]:
    """Return how it can go on: what was unsynced is lost by a machine that goes down, not by a process that is killed."""
    after_power = (Way.BOOT, Way.BOOT_WITHOUT)
    is_power = cut.loss in {Loss.UNSYNCED_CONTENTS, Loss.ALL_UNSYNCED, Loss.NAMES_OF_ONE_FOLDER, Loss.ANY_UNFLUSHED}
    return after_power if is_power else (Way.INSERT, *after_power)


def _ways_again(cut: Cut) -> tuple[Way, ...]:
    """Return in which ways it can go on and be cut again: without a stick there is next to nothing that can be cut."""
    return tuple(way for way in _ways(cut) if way is not Way.BOOT_WITHOUT)
