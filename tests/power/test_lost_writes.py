"""Any of the unflushed writes of one update lost, and any of them kept, on slots, state and boot environment and on the stick.

The test takes every so manieth of what a cut may leave. `python -m tests.power.test_lost_writes --all` takes all of it, with
more samples and in more scenarios, and prints how much that is.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.inmemory import folder_in_memory
from tests.matrix import By, On, attack
from tests.power.agent_scenarios import SCENARIOS, Scenario, Tally, scenario_of
from tests.power.agent_world import World
from tests.power.reordered_disk import SECTOR, OperationLog
from tests.power.reordered_sweep import sweep
from usbupdate import durable
from usbupdate.device.bootloaders import simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRIDE: Final = 14
SEEDS: Final = 8


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with folder_in_memory("lost") as top:
        yield World(Path(top))


@attack(
    By.CHANCE,
    On.SLOT,
    "a power cut after which any of the unflushed writes are there, and the others not",
    "what depends on a write is done after its flush",
)
@pytest.mark.parametrize("scenario", SCENARIOS[:2], ids=lambda scenario: scenario.name)
def test_whatever_a_cut_keeps_of_unflushed_writes_no_invariant_is_violated(world: World, scenario: Scenario) -> None:
    tally = sweep(world, scenario, stride=STRIDE)
    assert tally.violations == []
    assert tally.cuts > 10


# --- The sweep finds what it is for ----------------------------------------------------------------------------------


def test_the_sweep_finds_a_save_that_is_named_before_it_is_flushed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(path: Path, contents: bytes, *, mode: int = durable.PUBLIC) -> None:
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(contents)
        part.chmod(mode)
        part.replace(path)
        durable.sync_file(path)
        durable.sync_directory(path.parent)

    monkeypatch.setattr(durable, "save", save)
    assert sweep(world, SCENARIOS[0], stride=3, stops=True).violations


def test_the_sweep_finds_a_slot_that_is_written_before_it_is_surely_condemned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated, "_save", lambda path, memory: path.write_bytes(simulated.encode(memory)))
    assert sweep(world, SCENARIOS[1], stride=3, stops=True).violations


# --- What the sweep stands on ----------------------------------------------------------------------------------------


def _left(folder: Path, change: Callable[[], None]) -> set[bytes | None]:
    """Return what the file `name` may hold after a cut."""
    log = OperationLog(folder, ("disk",), frozenset(), "disk/stick", ())
    with log.recording():
        change()
    entries = [cut.picture.get("disk/name") for cut in log.cuts]
    return {None if entry is None else entry.contents for entry in entries}


def test_of_two_unflushed_writes_the_later_one_may_be_there_alone(disk: Path) -> None:
    def write_twice() -> None:
        descriptor = os.open(disk / "name", os.O_WRONLY)
        os.pwrite(descriptor, b"A", 0)
        os.pwrite(descriptor, b"B", 1)
        os.close(descriptor)

    assert _left(disk.parent, write_twice) == {b"old", b"Ald", b"oBd", b"ABd"}


def test_a_flush_keeps_the_writes_before_it_apart_from_those_after_it(disk: Path) -> None:
    def write_and_flush_between() -> None:
        descriptor = os.open(disk / "name", os.O_WRONLY)
        os.pwrite(descriptor, b"A", 0)
        os.fsync(descriptor)
        os.pwrite(descriptor, b"B", 1)
        os.close(descriptor)

    assert _left(disk.parent, write_and_flush_between) == {b"old", b"Ald", b"ABd"}


def test_an_unflushed_write_of_two_sectors_may_be_torn_between_them(disk: Path) -> None:
    old, new = b"o" * (2 * SECTOR), b"n" * (2 * SECTOR)
    (disk / "name").write_bytes(old)

    def write_again_and_again() -> None:
        descriptor = os.open(disk / "name", os.O_WRONLY)
        for _ in range(12):
            os.pwrite(descriptor, new, 0)
            durable.sync_directory(disk)
        os.close(descriptor)

    torn = {old[:SECTOR] + new[SECTOR:], new[:SECTOR] + old[SECTOR:]}
    left = _left(disk.parent, write_again_and_again)
    assert left <= {old, new} | torn
    assert left & torn


def test_a_file_that_is_saved_durably_is_the_old_or_the_new_one(disk: Path) -> None:
    assert _left(disk.parent, lambda: durable.save(disk / "name", b"n" * 3000)) == {b"old", b"n" * 3000}


def test_a_name_may_be_gone_while_the_one_that_took_its_place_is_not_there_yet_on_a_stick(disk: Path) -> None:
    (disk / "stick").mkdir()
    (disk / "stick/log").write_bytes(b"old")
    log = OperationLog(disk.parent, ("disk",), frozenset(), "disk/stick", ())
    with log.recording():
        durable.save(disk / "stick/log", b"newer")
    without = [cut.picture.get("disk/stick/log.part") for cut in log.cuts if "disk/stick/log" not in cut.picture]
    assert b"newer" in {None if part is None else part.contents for part in without}


# --- The whole of it -------------------------------------------------------------------------------------------------


def _search(job: tuple[str, int, int]) -> Tally:
    name, seed, stride = job
    with folder_in_memory("lost") as top:
        return sweep(World(Path(top)), scenario_of(name), stride=stride, seed=seed)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="leave nothing out, with other samples each time")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = [(each.name, 1, STRIDE) for each in SCENARIOS[:2]]
    if arguments.all:
        jobs = [(each.name, seed, 1) for each in SCENARIOS for seed in range(1, SEEDS + 1 if each in SCENARIOS[:2] else 2)]
    started, total = time.monotonic(), Tally()
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        for (name, seed, _), tally in zip(jobs, pool.map(_search, jobs), strict=True):
            total.add(tally)
            _print(f"{time.monotonic() - started:6.0f} s  {name}, seed {seed}: {tally.cuts} layouts")
    _print(f"layouts {total.cuts}, runs {total.runs}, violations {len(total.violations)}")
    _print(f"by what was about to be flushed: {dict(total.layers)}")
    _print(f"logs on sticks at a cut: {dict(total.flaws)}")
    for violation in total.violations:
        _print(violation)
    raise SystemExit(bool(total.violations))


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is what the module is run for


if __name__ == "__main__":
    _main()
