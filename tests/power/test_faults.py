"""Every system call of one update on slot, stick, state and boot environment, failing in every way in which it can.

The test takes a few calls for each way and port. `python -m tests.power.test_faults --all` takes every call, in three
scenarios, and prints how many faults that is, by port and kind.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.inmemory import folder_in_memory
from tests.matrix import By, On, attack
from tests.power.agent_scenarios import SCENARIOS, scenario_of
from tests.power.device_ports import Part, Port
from tests.power.fault_sweep import FaultTally, FaultyWorld, calls_of, faults_of, meet, sample
from tests.power.faulty_disk import Class, Fault, FaultyDisk, Kind, Lasts
from usbupdate import durable, medium
from usbupdate.core.receipt import Event
from usbupdate.device import obligations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EACH: Final = 300
"""Every so manieth fault of a kind on a port is tried by the test; there are up to this many."""
PARTS: Final = 40
READING: Final = {Kind.EIO, Kind.SHORT, Kind.NOTHING, Kind.SLOW}


@pytest.fixture(scope="module")
def world() -> Iterator[FaultyWorld]:
    with folder_in_memory("faults") as top:
        yield FaultyWorld(Path(top))


@attack(
    By.CHANCE,
    On.SERVICE,
    "a failing call on slot, stick, state or boot environment: EIO, ENOSPC, EROFS, half done, late; once or for good",
    "every answer is one of the tree, and nothing is done whose beginning was not saved",
)
@pytest.mark.parametrize("part", Part)
def test_no_call_that_fails_violates_an_invariant(world: FaultyWorld, part: Part) -> None:
    faults = [fault for fault in faults_of(calls_of(world, SCENARIOS[0])) if fault.call.port.part is part]
    tally = meet(world, SCENARIOS[0], sample(faults, EACH))
    assert tally.violations == []
    assert {kind for _, kind in tally.faults} == (READING if part is Part.RELEASE else set(Kind))


@attack(
    By.CHANCE,
    On.SERVICE,
    "a failing call of the device's storage while a release is on trial",
    "what fails is a check that failed or an error of the tree, and the trial has its end",
)
@pytest.mark.parametrize("part", [Part.STATE, Part.LOADER, Part.RELEASE])
def test_no_call_that_fails_on_trial_violates_an_invariant(world: FaultyWorld, part: Part) -> None:
    on_trial = scenario_of("on-trial")
    faults = [fault for fault in faults_of(calls_of(world, on_trial)) if fault.call.port.part is part]
    assert meet(world, on_trial, sample(faults, EACH)).violations == []


@attack(
    By.CHANCE,
    On.RECORD,
    "a state partition that fails in the middle of an installation",
    "the agent ends there, as if the power had gone; the next one condemns what is half written and records it",
)
@pytest.mark.parametrize("kind", [Kind.EIO, Kind.EIO_AFTERWARDS, Kind.ENOSPC, Kind.EROFS])
def test_a_state_that_cannot_be_saved_while_a_slot_is_written_is_said_and_made_good(world: FaultyWorld, kind: Kind) -> None:
    calls = calls_of(world, SCENARIOS[0])
    first_write = next(call.number for call in calls if call.name == "pwrite")
    save = next(
        call
        for call in calls
        if call.number > first_write and call.name == "replace" and call.place == "lab/dev/state/state.json"
    )
    tally = meet(world, SCENARIOS[0], [Fault(save, kind, lasts) for lasts in Lasts])
    assert tally.violations == []
    assert tally.errors["StoreFailedError"] == 2


# --- The sweep finds what it is for ----------------------------------------------------------------------------------


def _found(world: FaultyWorld, kind: Kind, lasts: Lasts, is_meant: Callable[[Fault], bool]) -> str:
    """Return what the sweep says when one call fails: the first of those that are meant."""
    faults = [fault for fault in faults_of(calls_of(world, SCENARIOS[0])) if (fault.kind, fault.lasts) == (kind, lasts)]
    tally = meet(world, SCENARIOS[0], [next(filter(is_meant, faults))])
    return "\n".join(tally.violations)


def test_the_sweep_finds_an_error_that_nobody_translates(world: FaultyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    class Untranslated(Exception):  # noqa: N818 - stands for none in the tree
        pass

    monkeypatch.setattr(medium, "MediumUnreadableError", lambda **_: Untranslated("broken"))
    assert "ended in Untranslated" in _found(world, Kind.EIO, Lasts.ONCE, lambda fault: fault.call.name == "pread")


def test_the_sweep_finds_what_never_ends(world: FaultyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_for_ever(descriptor: int, contents: bytes) -> None:
        rest = memoryview(contents)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    monkeypatch.setattr(durable, "write_all", write_for_ever)
    found = _found(world, Kind.NOTHING, Lasts.ON, lambda fault: fault.call.port is Port.STATE and fault.call.name == "write")
    assert "it goes on for ever" in found


def test_the_sweep_finds_a_slot_that_is_blamed_for_another(world: FaultyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obligations, "fault_of", lambda error: Event.FAILED)
    first_write = next(call.number for call in calls_of(world, SCENARIOS[0]) if call.name == "pwrite")
    found = _found(
        world,
        Kind.EIO,
        Lasts.ONCE,
        lambda fault: fault.call.number > first_write and fault.call.port is Port.STICK and fault.call.kind is Class.READ,
    )
    assert "the slot is blamed" in found


def test_faults_meet_what_file_objects_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    counted = FaultyDisk(str(tmp_path), lambda path: Port.STATE)
    with counted.at_work():
        assert (tmp_path / "file").read_bytes() == b"12345678"
    read = next(call for call in counted.calls if call.name == "read")

    short = FaultyDisk(str(tmp_path), lambda path: Port.STATE, Fault(read, Kind.SHORT))
    with short.at_work():
        assert (tmp_path / "file").read_bytes() == b"12345678"
    failing = FaultyDisk(str(tmp_path), lambda path: Port.STATE, Fault(read, Kind.EIO))
    with failing.at_work(), pytest.raises(OSError, match="Input/output"):
        (tmp_path / "file").read_bytes()
    assert short.hit == failing.hit == [read]


def test_a_late_call_takes_no_time_but_the_clocks(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    late = FaultyDisk(str(tmp_path), lambda path: Port.STATE)
    with late.at_work():
        (tmp_path / "file").stat()
    slow = FaultyDisk(str(tmp_path), lambda path: Port.STATE, Fault(late.calls[0], Kind.SLOW))
    before = time.monotonic()
    with slow.at_work():
        (tmp_path / "file").stat()
        assert time.monotonic() > before + 29
    assert time.monotonic() < before + 29


# --- The whole of it -------------------------------------------------------------------------------------------------


def _search(job: tuple[str, int, int]) -> FaultTally:
    name, part, each = job
    scenario = scenario_of(name)
    with folder_in_memory("faults") as top:
        world = FaultyWorld(Path(top))
        faults = list(faults_of(calls_of(world, scenario)))
        chosen = faults if each == 1 else sample(faults, each)
        return meet(world, scenario, chosen[part::PARTS])


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="leave no call out")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--scenario", action="append", help="by default: good, good-used and on-trial")
    arguments = parser.parse_args()
    names = arguments.scenario or ["good", "good-used", "on-trial"]
    jobs = [(name, part, 1 if arguments.all else EACH) for name in names for part in range(PARTS)]
    started, total = time.monotonic(), FaultTally()
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        for (name, part, _), tally in zip(jobs, pool.map(_search, jobs), strict=True):
            total.add_faults(tally)
            _print(f"{time.monotonic() - started:6.0f} s  {name}, part {part}: {len(tally.violations)} violations")
            for violation in tally.violations:
                _print(violation)
    by_port = Counter[Port]()
    for (port, kind), count in sorted(total.faults.items()):
        by_port[port] += count
        _print(f"{port}: {kind}: {count}")
    _print(f"by port: {dict(by_port)}")
    _print(f"faults {by_port.total()}, runs {total.runs}, violations {len(total.violations)}")
    _print(f"answers: {dict(total.errors)}")
    _print(f"outcomes: {dict(total.outcomes)}")
    raise SystemExit(bool(total.violations))


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is what the module is run for


if __name__ == "__main__":
    _main()
