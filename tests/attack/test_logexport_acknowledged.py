"""Logs on sticks of a device whose receipts have arrived in part, and that may have given some of them up."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from tests.cutting import cut_at
from tests.matrix import By, On, attack
from tests.receipts import acknowledgement, chain, device, draft
from usbupdate.core import acknowledged, checkpoint, envelope, merkle
from usbupdate.core.acknowledged import Acknowledged
from usbupdate.core.words import Slot
from usbupdate.device.ledger import LINES_KEPT, Ledger
from usbupdate.device.logexport import export_log
from usbupdate.device.signals import Signal
from usbupdate.device.summary import Situation
from usbupdate.errors import LogConflictError, LogStickFullError

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY, SIGNER = device("gw-0001")
SITUATION = Situation("acme,gw-100", Slot.A, "1.1", 7, Signal.DONE)


@dataclass(slots=True)
class World:
    """A device's ledger and a stick in one folder; `lines` are all that the device ever wrote."""

    top: Path
    lines: list[bytes]

    @classmethod
    def of(cls, top: Path, count: int = 0) -> World:
        (top / "stick/usbupdate").mkdir(parents=True)
        world = cls(top, [])
        world.write(count)
        return world

    def ledger(self, size_max: int = 64 << 20) -> Ledger:
        return Ledger.open(self.top / "ledger", IDENTITY, lambda: SIGNER, size_max=size_max)

    @property
    def log(self) -> Path:
        return self.top / "stick/usbupdate/logs/gw-0001"

    @property
    def receipts(self) -> list[bytes]:
        return (self.log / "receipts.jsonl").read_bytes().splitlines()

    def write(self, count: int) -> None:
        ledger = self.ledger()
        for number in range(len(self.lines) + 1, len(self.lines) + count + 1):
            ledger.append(draft(number))
        self.lines += list(ledger.lines(len(self.lines) + 1))

    def arrived(self, count: int) -> None:
        self.ledger().acknowledge(acknowledgement(self.lines[:count]))

    def trim(self) -> int:
        """Let the device give up whatever it may, and return the number of the first receipt that is left."""
        ledger = self.ledger(size_max=1)
        ledger._make_room()
        return ledger.first()

    def export(self) -> None:
        export_log(self.top / "stick", IDENTITY, self.ledger(), SITUATION)

    def require_proven(self) -> None:
        """Show that what lies there is the device's, to its newest receipt, and proves the rest by what lies beside it."""
        numbers = [envelope.open_line(line, IDENTITY).number for line in self.receipts]
        assert [self.lines[number - 1] for number in numbers] == self.receipts
        head = checkpoint.open_note((self.log / "checkpoint").read_bytes(), IDENTITY)
        assert (head.size, head.root) == (len(self.lines), merkle.root(map(merkle.leaf_hash, self.lines)))
        missing = set(range(1, len(self.lines) + 1)) - set(numbers)
        assert len(numbers) == len(set(numbers))
        if not missing:
            return
        beside = acknowledged.decode((self.log / "acknowledged").read_bytes())
        assert max(missing) <= beside.checkpoint.size
        tree = beside.tree()
        for line in self.lines[tree.size :]:
            tree.add(merkle.leaf_hash(line))
        assert tree.root() == head.root


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.of(tmp_path, 30)


def test_a_new_stick_gets_what_has_not_arrived_and_what_proves_the_rest(world: World) -> None:
    world.arrived(20)
    world.export()
    assert world.receipts == world.lines[20:]
    world.require_proven()


def test_a_new_stick_gets_no_receipt_where_all_have_arrived(world: World) -> None:
    world.arrived(30)
    world.export()
    assert world.receipts == []
    world.require_proven()
    world.write(1)
    world.export()
    assert world.receipts == world.lines[30:]
    world.require_proven()


def test_a_stick_with_an_earlier_state_is_gone_on_with(world: World) -> None:
    world.export()
    world.write(2)
    world.arrived(31)
    world.export()
    assert world.receipts == world.lines
    assert not (world.log / "acknowledged").exists()


def test_a_stick_is_gone_on_with_though_the_device_has_given_up_what_lies_there(world: World) -> None:
    world.export()
    world.write(5)
    world.arrived(30)
    assert 1 < world.trim() <= 31
    world.export()
    assert world.receipts == world.lines
    world.require_proven()


def test_what_lies_on_a_stick_stays_where_the_device_has_given_up_what_would_come_next(tmp_path: Path) -> None:
    world = World.of(tmp_path, 4)
    world.export()
    world.write(40)
    world.arrived(40)
    first = world.trim()
    assert first > 10
    world.export()
    assert world.receipts == [*world.lines[:4], *world.lines[first - 1 :]]
    world.require_proven()


def test_a_log_that_began_later_goes_on_with_the_proof_that_it_has(world: World) -> None:
    world.arrived(10)
    world.export()
    before = (world.log / "acknowledged").read_bytes()
    world.write(10)
    world.arrived(25)
    world.export()
    assert (world.log / "acknowledged").read_bytes() == before
    assert world.receipts == world.lines[10:]
    world.require_proven()


def test_a_log_that_began_later_gets_a_newer_proof_where_it_has_a_gap(world: World) -> None:
    world.arrived(10)
    world.export()
    world.write(40)
    world.arrived(60)
    first = world.trim()
    assert first > 31
    world.export()
    assert world.receipts == [*world.lines[10:30], *world.lines[first - 1 :]]
    world.require_proven()


def test_receipts_of_a_stick_that_have_arrived_may_be_missing_and_others_not(world: World) -> None:
    world.export()
    path = world.log / "receipts.jsonl"
    world.arrived(20)
    path.write_bytes(b"".join(line + b"\n" for line in (*world.lines[:5], *world.lines[8:25])))
    world.export()
    world.require_proven()
    held = b"".join(line + b"\n" for line in (*world.lines[:21], *world.lines[22:]))
    path.write_bytes(held)
    with pytest.raises(LogConflictError):
        world.export()
    assert path.read_bytes() == held


@attack(
    By.STICK,
    On.RECORD,
    "another history's receipts, or proofs of one, where a log of receipts that have arrived begins",
    "never overwritten, and told",
)
@pytest.mark.parametrize("name", ["receipts.jsonl", "receipts.jsonl.part", "acknowledged"])
def test_another_history_behind_what_has_arrived_is_left(world: World, name: str) -> None:
    world.arrived(20)
    world.export()
    other = chain(25, text="another history")
    shutil.rmtree(world.log)
    world.log.mkdir()
    held = b"".join(line + b"\n" for line in other[20:])
    if name == "acknowledged":
        tree = merkle.GrowingTree(map(merkle.leaf_hash, other[:20]))
        held = acknowledged.encode(Acknowledged(acknowledgement(other[:20]), tree.subtrees))
    (world.log / name).write_bytes(held)
    with pytest.raises(LogConflictError):
        world.export()
    assert {path.name: path.read_bytes() for path in world.log.iterdir()} == {name: held}


@pytest.mark.parametrize("kind", ["larger", "another device's"])
def test_a_proof_that_is_not_about_these_receipts_is_left(world: World, kind: str) -> None:
    world.arrived(20)
    lines = [*world.lines, b"more"] if kind == "larger" else chain(20, "gw-0002")
    tree = merkle.GrowingTree(map(merkle.leaf_hash, lines))
    note = acknowledgement(lines) if kind == "larger" else acknowledgement(lines, "gw-0002")
    held = acknowledged.encode(Acknowledged(note, tree.subtrees))
    world.log.mkdir(parents=True)
    (world.log / "acknowledged").write_bytes(held)
    with pytest.raises(LogConflictError):
        world.export()
    assert (world.log / "acknowledged").read_bytes() == held


def test_a_damaged_proof_is_written_anew(world: World) -> None:
    world.arrived(20)
    world.export()
    path = world.log / "acknowledged"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    world.export()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kept", [0, 1, 700, 100_000])
def test_a_log_that_was_cut_off_is_made_whole_where_it_began(world: World, kept: int) -> None:
    world.export()
    world.arrived(20)
    path = world.log / "receipts.jsonl"
    path.write_bytes(path.read_bytes()[:kept])
    world.export()
    # One byte may be the beginning of any line.
    assert world.receipts == (world.lines if kept > 1 else world.lines[20:])
    world.require_proven()


def test_a_log_that_was_cut_off_within_what_was_given_up_is_left(world: World) -> None:
    world.export()
    world.arrived(30)
    assert world.trim() > 5
    path = world.log / "receipts.jsonl"
    held = path.read_bytes()[: len(world.lines[0]) + 900]
    path.write_bytes(held)
    with pytest.raises(LogConflictError):
        world.export()
    assert path.read_bytes() == held


def test_whole_lines_of_a_torn_first_copy_stay_though_the_device_has_given_them_up(world: World) -> None:
    world.export()
    world.arrived(30)
    world.trim()
    shutil.rmtree(world.log)
    world.log.mkdir()
    torn = b"".join(line + b"\n" for line in world.lines[:3]) + bytes(700)
    (world.log / "receipts.jsonl.part").write_bytes(torn)
    world.export()
    assert world.receipts[:3] == world.lines[:3]
    world.require_proven()


def test_a_log_larger_than_a_reader_takes_is_not_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.export()
    before = (world.log / "receipts.jsonl").read_bytes()
    world.write(1)
    monkeypatch.setattr("usbupdate.device.logexport.SIZE_MAX", len(before) + 100)
    with pytest.raises(LogStickFullError):
        world.export()
    assert (world.log / "receipts.jsonl").read_bytes() == before


@pytest.mark.parametrize("step", range(14))
@pytest.mark.parametrize("effect", ["write_all", "sync_directory"])
@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_cut_at_any_step_of_the_export_loses_nothing_that_lay_there(
    world: World, effect: str, step: int, *, is_fresh: bool
) -> None:
    world.arrived(10)
    if not is_fresh:
        world.export()
        world.write(30)
        world.arrived(50)
        assert world.trim() > 31
    old = world.receipts if world.log.exists() else []
    with cut_at(effect, step):
        world.export()
    if old:
        assert world.receipts[: len(old)] == old
    world.export()
    assert world.receipts[: len(old)] == old
    world.require_proven()


STEPS = st.lists(st.tuples(st.sampled_from(["write", "arrive", "trim", "export", "lose"]), st.integers(0, 14)), max_size=14)


@settings(max_examples=40)
@given(STEPS)
def test_whatever_happens_each_stick_proves_the_whole_log_and_keeps_what_it_holds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    world = World.of(tmp_path_factory.mktemp("world"), 2)
    for what, count in (*steps, ("export", 0)):
        match what:
            case "write":
                world.write(count)
            case "arrive":
                world.ledger().checkpoint()
                world.arrived(min(count * 3, len(world.lines)))
            case "trim":
                assert world.trim() <= max(len(world.lines) - LINES_KEPT + 1, 1)
            case "lose":
                shutil.rmtree(world.log, ignore_errors=True)
            case _:
                old = world.receipts if world.log.exists() else []
                world.export()
                assert world.receipts[: len(old)] == old
                world.require_proven()
