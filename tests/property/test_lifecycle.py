"""The lifecycle under long random misfortune: more cuts in a row than the exhaustive search takes, faults that come and go."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from hypothesis import event, given, strategies as st

from tests.power.boot_loader_models import Memory, Ours, RaucGrub, RaucUboot
from tests.power.lifecycle_world import (
    BOOTS_TO_REST,
    OFFERED,
    Behaviour,
    Fault,
    Machine,
    PowerCutError,
    Scenario,
    judge_rest,
    new_world,
    other_boot_id,
    power_on,
)
from usbupdate.core.policy import Insertion
from usbupdate.device.obligations import Rest

LOADERS: st.SearchStrategy[Memory] = st.sampled_from([Ours(), RaucGrub(), RaucUboot()])
MANY_CUTS = 99
"""A number of cuts for which nothing is promised about keeping a new release, only about being whole."""

cuts_and_faults = st.lists(st.tuples(st.integers(0, 25), st.sampled_from(Fault), st.booleans()), max_size=8)


@given(LOADERS, st.sampled_from(Behaviour), st.booleans(), cuts_and_faults)
def test_whatever_happens_the_device_rests_whole_and_tells_the_truth(
    memory: Memory,
    behaviour: Behaviour,
    is_used: bool,
    misfortunes: list[tuple[int, Fault, bool]],
) -> None:
    scenario = Scenario(memory, behaviour, is_used=is_used)
    world = new_world(scenario)
    slot = world.record.committed.slot
    for cut_at, fault, is_new_insertion in misfortunes:
        insertion = Insertion.NEW if is_new_insertion else Insertion.FOUND
        machine = Machine(world, replace(scenario, fault=fault), slot, other_boot_id(world), cut_at)
        with contextlib.suppress(PowerCutError):
            machine.run(insertion)
        assert machine.violations == []
        world, booted, problems = power_on(machine.world, scenario)
        assert problems == []
        assert booted is not None
        slot = booted
    for _ in range(BOOTS_TO_REST):
        machine = Machine(world, scenario, slot, other_boot_id(world), None)
        rest = machine.run(Insertion.FOUND)
        if rest is not Rest.REBOOTING:
            break
        world, booted, problems = power_on(machine.world, scenario)
        assert problems == []
        assert booted is not None
        slot = booted
    else:
        raise AssertionError(f"no rest within {BOOTS_TO_REST} boots")
    event(f"rests on {'the offered' if machine.world.record.committed.sequence == OFFERED else 'the old'} release")
    # A boot loader that failed may leave a device plainly degraded; one that never failed may not.
    faults: list[Fault] = [fault for _, fault, _ in misfortunes if fault is not Fault.NONE]
    assert list(judge_rest(machine, replace(scenario, fault=(faults or [Fault.NONE])[-1]), MANY_CUTS, rest)) == []
