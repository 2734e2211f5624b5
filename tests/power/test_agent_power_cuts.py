"""Every power cut, at every effect and twice in a row, over the real agent on the simulated device.

The tests leave out cuts by fixed strides. `python -m tests.power.test_agent_power_cuts --all` leaves out none of the first
cuts, and of the second ones none in the first scenario, and prints how many cuts and runs that is; `--once` leaves out all
second ones, which takes a fraction of the hours.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.inmemory import folder_in_memory
from tests.matrix import By, On, attack
from tests.power.agent_scenarios import SCENARIOS, Scenario, Tally, scenario_of
from tests.power.agent_sweep import Extent, sweep, sweep_provisioning
from tests.power.agent_world import World
from tests.power.volatile_disk import Loss, Recorder
from usbupdate import durable
from usbupdate.core import lifecycle
from usbupdate.core.record import Idle, Installing
from usbupdate.device.bootloaders.simulated import SimulatedLoader
from usbupdate.device.ledger import Ledger
from usbupdate.device.obligations import Obligations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usbupdate.core.lifecycle import Boot, Tried
    from usbupdate.core.receipt import Moment, Traffic
    from usbupdate.core.record import Attempt, DeviceRecord
    from usbupdate.core.words import Slot
    from usbupdate.device.ports import Installation, Progressed
    from usbupdate.errors import UsbupdateError

SAMPLE: Final = Extent(first=19, again=4, second=29)
UNTIL_FOUND: Final = Extent(first=5, stops=True)
PROVISIONING: Final = "provisioning"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with folder_in_memory("power") as top:
        yield World(Path(top))


# --- The sweep -------------------------------------------------------------------------------------------------------


@attack(
    By.CHANCE,
    On.SLOT,
    "a power cut at any step of the agent that changes anything",
    "state as obligation: every step can be done again",
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_power_cuts_anywhere_violate_no_invariant(world: World, scenario: Scenario) -> None:
    tally = sweep(world, scenario, SAMPLE)
    assert tally.violations == []
    assert tally.second_cuts > 0


def test_a_device_whose_making_was_cut_anywhere_can_be_made_again(world: World) -> None:
    assert sweep_provisioning(world, Extent(first=5)).violations == []


# --- The sweep finds what it is for ----------------------------------------------------------------------------------


def test_the_sweep_finds_a_slot_that_is_written_while_it_can_be_booted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedLoader, "mark_bad", lambda self, slot: None)
    assert any("be booted" in each for each in sweep(world, scenario_of("good-used"), UNTIL_FOUND).violations)


def test_the_sweep_finds_an_install_that_is_saved_after_it_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Obligations.install

    class Done:
        """An installation that was run before anybody was told."""

        moved = None

        def __init__(self, traffic: Traffic) -> None:
            self.traffic = traffic

        def run(self, attempt: Attempt, progressed: Progressed) -> Traffic:
            return self.traffic

    def install(self: Obligations, attempt: Attempt, installation: Installation) -> UsbupdateError | None:
        return whole(self, attempt, Done(installation.run(attempt, lambda: None)))

    monkeypatch.setattr(Obligations, "install", install)
    assert sweep(world, scenario_of("good-used"), UNTIL_FOUND).violations


def test_the_sweep_finds_a_receipt_that_is_appended_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "holds", lambda self, receipt: False)
    assert any("twice" in each for each in sweep(world, scenario_of("refused"), UNTIL_FOUND).violations)


def test_the_sweep_finds_an_outcome_that_is_not_owed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lifecycle.resumed

    def resumed(record: DeviceRecord, boot: Boot, was_tried: Callable[[Slot], Tried], moment: Moment) -> DeviceRecord:
        if isinstance(record.state, Installing):
            return replace(record, state=Idle())
        return whole(record, boot, was_tried, moment)

    monkeypatch.setattr(lifecycle, "resumed", resumed)
    assert sweep(world, scenario_of("good"), UNTIL_FOUND).violations


def test_the_sweep_finds_a_file_that_is_named_before_it_is_synced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable.Growing, "become", lambda self, path: self._part.replace(path))
    assert sweep(world, scenario_of("good"), UNTIL_FOUND).violations


def test_the_sweep_finds_a_name_that_is_never_synced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "sync_directory", lambda path: None)
    assert sweep(world, scenario_of("good"), UNTIL_FOUND).violations


# --- What the sweep stands on ----------------------------------------------------------------------------------------


def _pictures(folder: Path, change: Callable[[], None]) -> dict[Loss, set[bytes | None]]:
    """Return what the file `name` may hold after a cut, by what the cut takes with it."""
    recorder = Recorder(folder, ("disk",), frozenset(), "disk/stick")
    with recorder.recording():
        change()
    found: dict[Loss, set[bytes | None]] = {loss: set() for loss in Loss}
    for cut in recorder.cuts:
        entry = cut.picture.get("disk/name")
        found[cut.loss].add(None if entry is None else entry.contents)
    return found


def test_a_file_that_is_replaced_without_a_sync_may_be_empty_after_a_cut(disk: Path) -> None:
    def replace_carelessly() -> None:
        descriptor = os.open(disk / "new", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, b"newer")
        os.close(descriptor)
        (disk / "new").replace(disk / "name")

    found = _pictures(disk.parent, replace_carelessly)
    assert found[Loss.NOTHING] == {b"old", b"newer"}
    assert b"" in found[Loss.UNSYNCED_CONTENTS]


def test_a_file_that_is_saved_durably_is_the_old_or_the_new_one(disk: Path) -> None:
    found = _pictures(disk.parent, lambda: durable.save(disk / "name", b"newer"))
    assert set().union(*found.values()) == {b"old", b"newer"}


def test_a_name_in_an_unsynced_directory_may_come_back_after_a_cut(disk: Path) -> None:
    def remove_two_and_sync_one() -> None:
        (disk / "inner").mkdir()
        durable.sync_directory(disk)
        (disk / "inner/other").write_bytes(b"")
        (disk / "name").unlink()
        (disk / "inner").rename(disk / "outer")

    recorder = Recorder(disk.parent, ("disk",), frozenset(), "disk/stick")
    with recorder.recording():
        remove_two_and_sync_one()
    last = [cut for cut in recorder.cuts if cut.effect == "the end"]
    assert {cut.loss: "disk/name" in cut.picture for cut in last}[Loss.NOTHING] is False
    names = [set(cut.picture) for cut in recorder.cuts]
    assert {"disk", "disk/name", "disk/inner"} in names


def test_a_write_may_be_torn_by_a_cut(disk: Path) -> None:
    found = _pictures(disk.parent, lambda: durable.append(disk / "name", b"1234"))
    assert found[Loss.HALF_A_WRITE] == {b"old12"}


def test_a_rename_on_a_stick_may_leave_no_file_of_that_name(disk: Path) -> None:
    (disk / "stick").mkdir()
    (disk / "stick/log").write_bytes(b"old")
    recorder = Recorder(disk.parent, ("disk",), frozenset(), "disk/stick")
    with recorder.recording():
        durable.save(disk / "stick/log", b"newer")
    on_fat = [cut.picture for cut in recorder.cuts if cut.loss is Loss.FAT_NAME]
    assert ["disk/stick/log" in picture for picture in on_fat] == [False]
    assert on_fat[0]["disk/stick/log.part"].contents == b"newer"


# --- The whole of it -------------------------------------------------------------------------------------------------

CORE_PARTS: Final = 16


def _jobs(*, is_all: bool, is_once: bool) -> Iterator[tuple[str, Extent]]:
    """Yield what is searched, in parts that can be searched side by side."""
    if is_once:
        yield PROVISIONING, Extent()
        yield from ((each.name, Extent(start=start, first=2)) for each, start in itertools.product(SCENARIOS, range(2)))
        return
    if not is_all:
        yield from ((scenario.name, SAMPLE) for scenario in SCENARIOS)
        yield PROVISIONING, Extent(first=5)
        return
    core, *others = SCENARIOS
    yield PROVISIONING, Extent()
    for scenario, start in itertools.product(others, range(2)):
        yield scenario.name, Extent(start=start, first=2, again=8, second=9)
    yield from ((core.name, Extent(start=start, first=CORE_PARTS, again=1)) for start in range(CORE_PARTS))


def _search(job: tuple[str, Extent]) -> Tally:
    name, extent = job
    with folder_in_memory("power") as top:
        world = World(Path(top))
        return sweep_provisioning(world, extent) if name == PROVISIONING else sweep(world, scenario_of(name), extent)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="leave nothing out but what the module says")
    parser.add_argument("--once", action="store_true", help="each cut of each scenario, and no second cut after one")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs, started, total, by_name = (
        list(_jobs(is_all=arguments.all, is_once=arguments.once)),
        time.monotonic(),
        Tally(),
        dict[str, Tally](),
    )
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        for (name, _), tally in zip(jobs, pool.map(_search, jobs), strict=True):
            total.add(tally)
            by_name.setdefault(name, Tally()).add(tally)
            _print(f"{time.monotonic() - started:6.0f} s  {name}: {_figures(tally)}")
    for name, tally in by_name.items():
        _print(f"{name}: {_figures(tally)}")
    _print(f"all: {_figures(total)}")
    _print(f"first cuts by what was about to change: {dict(total.layers)}")
    _print(f"answers to sticks: {dict(total.errors)}")
    _print(f"logs on sticks at a cut: {dict(total.flaws)}")
    for violation in total.violations:
        _print(violation)
    raise SystemExit(bool(total.violations))


def _figures(tally: Tally) -> str:
    return f"first cuts {tally.cuts}, second cuts {tally.second_cuts}, runs {tally.runs}, violations {len(tally.violations)}"


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is what the module is run for


if __name__ == "__main__":
    _main()
