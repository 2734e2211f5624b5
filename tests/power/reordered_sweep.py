"""Lays out what a cut may keep of the unflushed writes of one update, any of them, and starts the device on each of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.power.agent_scenarios import Scenario, Tally, Way
from tests.power.agent_sweep import go_on
from tests.power.agent_world import CONSTANT, World
from tests.power.reordered_disk import OperationLog

if TYPE_CHECKING:
    from tests.power.volatile_disk import Cut

_ON_NO_DISK: Final = ("lab/dev/hardware.json", "lab/dev/run", "lab/dev/lock")
"""What the simulation keeps of its hardware, and what is in memory on a device."""
_WAYS: Final = (Way.BOOT, Way.BOOT, Way.BOOT_WITHOUT)


def layouts_of(world: World, scenario: Scenario, seed: int) -> tuple[list[Cut], int]:
    """Return what a cut may leave before each flush of a scenario, and how many flushes there are."""
    world.lay(world.start(scenario), scenario)
    stick = f"sticks/{scenario.stick}/usbupdate"
    log = OperationLog(world.top, ("lab", stick), CONSTANT, stick, _ON_NO_DISK, seed)
    with log.recording():
        world.settle(scenario.first, scenario)
    return log.cuts, log.flushes


def sweep(world: World, scenario: Scenario, stride: int = 1, seed: int = 1, *, stops: bool = False) -> Tally:
    """Start the device on every layout, or on every `stride`-th, and judge each rest; `stops` at the first violation."""
    tally = world.tally = Tally()
    cuts, _ = layouts_of(world, scenario, seed)
    for number, cut in enumerate(cuts[::stride]):
        tally.cuts += 1
        tally.layers[cut.layer] += 1
        go_on(world, scenario, cut, _WAYS[number % len(_WAYS)], scenario.name)
        if tally.violations and stops:
            break
    return tally
