"""The agent on a board that starts by GRUB with RAUC's script: a real environment block, the script's rules, slots as files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.office import Bench as Office, open_bench
from usbupdate.cli.joining import Silent
from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import Check, CheckResult, Event
from usbupdate.core.words import DeviceId, Slot
from usbupdate.device.agent import Agent
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.obligations import Rest
from usbupdate.errors import DegradedError
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import Bench
from usbupdate.simulate.setup import ROOTFS, Plan, create

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.record import DeviceRecord

NAMES = {Slot.A: "A", Slot.B: "B"}


class FailingJudge:
    def judge(self) -> tuple[Check, ...]:
        return (Check("self-test", CheckResult.FAILED, "exit-1", "no link"),)


class GrubBoard:
    """A device whose boot loader's memory is a real environment block, and whose firmware is RAUC's boot script."""

    def __init__(self, folder: Path, office: Office) -> None:
        root = office.office.path / "metadata" / "1.root.json"
        create(folder, Plan({ROOTFS: office.image(1)}, "acme,gw-100", root, DeviceId("gw-1"), (), "1.1", 1))
        self.folder = folder
        self.environment = folder / "grubenv"
        self.environment.write_bytes(grubenv.encode(grubenv.Environment({})))
        start = {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}
        grubenv.write(self.environment, grubenv.Environment(start))

    @property
    def variables(self) -> dict[str, str]:
        return dict(grubenv.read(self.environment).variables)

    @property
    def record(self) -> DeviceRecord:
        return self.agent().obligations.record

    def agent(self, *, is_unhealthy: bool = False) -> Agent:
        here = hardware.load(self.folder)
        machine = Bench(self.folder, lambda _: None, Silent()).machine(here, FailingJudge() if is_unhealthy else None)
        return Agent(replace(machine, loader=GrubLoader(self.environment, NAMES, lambda: here.booted)), Silent())

    def firmware(self) -> Slot | None:
        """Do what RAUC's boot script does, and start the slot that it chooses."""
        before = grubenv.read(self.environment)
        variables = dict(before.variables)
        chosen = None
        for name in variables["ORDER"].split():
            is_choice = variables[f"{name}_OK"] == "1" and variables[f"{name}_TRY"] == "0"
            variables[f"{name}_TRY"] = "1"
            if is_choice:
                chosen = Slot(name.lower())
                break
        else:
            for name in ("A", "B"):
                if variables[f"{name}_OK"] == "1":
                    variables[f"{name}_TRY"] = "0"
        grubenv.write(self.environment, before.changed(variables))
        if chosen is not None:
            hardware.save(self.folder, hardware.load(self.folder).rebooted(chosen))
        return chosen

    def start(self, *, is_unhealthy: bool = False) -> tuple[Rest, list[Event]]:
        agent = self.agent(is_unhealthy=is_unhealthy)
        rest = agent.start()
        return rest, [draft.event for draft in agent.told]

    def insert(self, stick: Path) -> Rest:
        agent = self.agent()
        agent.start()
        return agent.take(stick, Insertion.NEW)

    def holds(self, slot: Slot, image: Path) -> bool:
        held = (self.folder / f"slots/{slot}.img").read_bytes()
        return hashlib.sha256(held).digest() == hashlib.sha256(image.read_bytes()).digest()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    bench = open_bench(tmp_path)
    bench.now = datetime.now(UTC)
    bench.release(2)
    return bench


@pytest.fixture
def board(tmp_path: Path, office: Office) -> GrubBoard:
    return GrubBoard(tmp_path / "board", office)


def test_an_update_commits_and_its_slot_stays_choosable(board: GrubBoard, office: Office) -> None:
    assert board.insert(office.stick()) is Rest.REBOOTING
    assert board.variables == {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}
    assert board.firmware() is Slot.B
    assert board.start() == (Rest.IDLE, [Event.COMMITTED])
    assert (board.variables["B_OK"], board.variables["B_TRY"]) == ("1", "0")
    assert board.holds(Slot.B, office.image(2))
    for _ in range(5):
        assert board.firmware() is Slot.B
        assert board.start() == (Rest.IDLE, [])


def test_a_release_that_does_not_come_up_is_tried_once_and_rolled_back(board: GrubBoard, office: Office) -> None:
    board.insert(office.stick())
    assert board.firmware() is Slot.B  # It panics: no agent runs.
    assert board.firmware() is Slot.A
    assert board.start() == (Rest.IDLE, [Event.ROLLED_BACK])
    assert board.variables["B_OK"] == "0"
    assert board.record.committed.slot is Slot.A


def test_a_release_that_fails_its_checks_marks_itself_bad_and_leaves(board: GrubBoard, office: Office) -> None:
    board.insert(office.stick())
    board.firmware()
    assert board.start(is_unhealthy=True) == (Rest.REBOOTING, [Event.CHECK_FAILED])
    assert board.firmware() is Slot.A
    assert board.start() == (Rest.IDLE, [])
    assert board.record.committed.slot is Slot.A


def test_an_offer_is_never_taken_before_the_running_slot_is_confirmed(board: GrubBoard, office: Office) -> None:
    # A power cut between boot loader and mark-good, then a stick: without confirming first, both slots would be used up.
    assert board.firmware() is Slot.A
    assert board.variables["A_TRY"] == "1"
    assert board.insert(office.stick()) is Rest.REBOOTING
    assert board.variables["A_TRY"] == "0"


def test_a_broken_environment_block_stops_offers_and_changes_nothing(board: GrubBoard, office: Office) -> None:
    raw = b"\0" * 1024
    board.environment.write_bytes(raw)
    agent = board.agent()
    assert agent.start() is Rest.DEGRADED
    with pytest.raises(DegradedError, match="takes no updates"):
        agent.take(office.stick(), Insertion.NEW)
    assert board.environment.read_bytes() == raw
    assert board.holds(Slot.A, office.image(1))
