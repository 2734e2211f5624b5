"""Every power cut, at every effect, up to three in a row, under each boot loader's way of counting.

`python -m tests.power.test_lifecycle_sweep` prints how many situations and runs that is.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.power.boot_loader_models import Memory, Ours, RaucGrub, RaucUboot
from tests.power.lifecycle_world import Behaviour, Fault, Findings, Machine, Scenario, explore
from usbupdate.core import lifecycle
from usbupdate.device import obligations
from usbupdate.device.obligations import Obligations

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADERS: list[Memory] = [Ours(), RaucGrub(), RaucUboot()]
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]

by_loader = pytest.mark.parametrize("memory", LOADERS, ids=lambda memory: type(memory).__name__)


def cut_scenarios() -> Iterator[Scenario]:
    """Yield the searches in which nothing but the power fails."""
    for memory, behaviour in itertools.product(LOADERS, Behaviour):
        yield Scenario(memory, behaviour, cuts=3, is_used=True)
        yield Scenario(memory, behaviour, cuts=2)
        yield Scenario(memory, behaviour, cuts=2, is_used=True, is_pulled_at_cut=True)
        yield Scenario(memory, behaviour, cuts=2, is_used=True, is_ordered_back=True)


def fault_scenarios() -> Iterator[Scenario]:
    """Yield the searches in which something else fails too."""
    for memory, behaviour, fault in itertools.product(LOADERS, Behaviour, FAULTS):
        # The others promise nothing then; and where nothing is counted, a committed release that stops coming up has no other.
        if fault is Fault.ENVIRONMENT_LOST and (not isinstance(memory, Ours) or behaviour is Behaviour.STOPS_LATER):
            continue
        yield Scenario(memory, behaviour, fault=fault, cuts=1)
        yield Scenario(memory, behaviour, fault=fault, cuts=1, is_used=True)
        yield Scenario(memory, behaviour, fault=fault, cuts=1, is_ordered_back=True)
    # A save may fail, and then another, or the power.
    yield from (Scenario(Ours(), behaviour, fault=Fault.STORE, cuts=2, is_used=True) for behaviour in Behaviour)


def _title(scenario: Scenario) -> str:
    parts = [type(scenario.memory).__name__, scenario.behaviour, scenario.fault, f"{scenario.cuts}-cuts"]
    return "-".join(
        [
            *parts,
            *(["used"] if scenario.is_used else []),
            *(["pulled"] if scenario.is_pulled_at_cut else []),
            *(["back"] if scenario.is_ordered_back else []),
        ]
    )


@attack(By.CHANCE, On.SLOT, "a power cut between any two transitions", "every sequence of cuts is searched on the model")
@pytest.mark.parametrize("scenario", [*cut_scenarios(), *fault_scenarios()], ids=_title)
def test_power_cuts_anywhere_violate_no_invariant(scenario: Scenario) -> None:
    findings = explore(scenario)
    assert findings.violations == []
    assert findings.rests > 0


@by_loader
def test_the_search_finds_a_committed_slot_that_is_not_confirmed(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Obligations, "_bless", lambda self: None)
    assert explore(Scenario(memory, Behaviour.GOOD, cuts=1, is_used=True)).violations


def test_the_search_finds_a_slot_that_is_written_while_it_can_be_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "mark_bad", lambda self, slot: None)
    violations = explore(Scenario(RaucGrub(), Behaviour.GOOD, cuts=2, is_used=True)).violations
    assert any("half-written" in violation for violation in violations)


@by_loader
def test_the_search_finds_a_commit_that_takes_two_steps(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lifecycle.committed
    monkeypatch.setattr(
        lifecycle, "committed", lambda record, moment: replace(whole(record, moment), committed=record.committed)
    )
    assert explore(Scenario(memory, Behaviour.GOOD, cuts=1, is_used=True)).violations


def test_the_search_finds_an_agent_that_goes_on_although_its_record_was_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherError(Exception):
        pass

    # Without the lines that let it pass, it is taken for a fault of the slot: when an install that was cut is taken up again.
    monkeypatch.setattr(obligations, "StoreFailedError", OtherError)
    violations = explore(Scenario(Ours(), Behaviour.GOOD, fault=Fault.STORE, cuts=2)).violations
    assert any("went on although its record was not saved" in violation for violation in violations)


@by_loader
def test_the_search_finds_a_receipt_that_gets_lost(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lifecycle.recorded
    monkeypatch.setattr(lifecycle, "recorded", lambda record, owed, boot, left, count: whole(record, owed, boot, (), count))
    assert explore(Scenario(memory, Behaviour.GOOD, fault=Fault.LEDGER, cuts=1)).violations


@attack(
    By.CHANCE, On.SLOT, "a power cut while a device goes back", "the authorisation is used up in the same replace as the commit"
)
@by_loader
def test_the_search_finds_an_authorisation_that_is_used_up_beside_the_commit(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered = Scenario(memory, Behaviour.GOOD, cuts=1, is_used=True, is_ordered_back=True)
    assert explore(ordered).violations == []
    whole = lifecycle.committed
    monkeypatch.setattr(
        lifecycle, "committed", lambda record, moment: replace(whole(record, moment), downgrade_number=record.downgrade_number)
    )
    assert explore(ordered).violations


def _print_figures() -> None:
    total = Findings()
    for scenario in [*cut_scenarios(), *fault_scenarios()]:
        findings = explore(scenario)
        total.situations += findings.situations
        total.runs += findings.runs
        total.rests += findings.rests
        total.violations += findings.violations
    print(  # noqa: T201  this is what the module is run for
        f"situations {total.situations}, runs {total.runs}, rests {total.rests}, violations {len(total.violations)}"
    )


if __name__ == "__main__":
    _print_figures()
