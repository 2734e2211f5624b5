"""The agent on a board that starts by GRUB: a real environment block, the boot scripts' rules, slots as files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.office import Bench as Office, open_bench
from tests.power import grub_scripts
from tests.power.grub_scripts import Disk, Start
from usbupdate.cli.joining import Silent
from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import Check, CheckResult, Event
from usbupdate.core.words import DeviceId, Slot
from usbupdate.device.agent import Agent
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.bootloaders.grubtries import COMMITTED_BLOCK, GrubTriesLoader
from usbupdate.device.obligations import Rest
from usbupdate.errors import BootLoaderError, DegradedError
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import Bench
from usbupdate.simulate.setup import ROOTFS, Plan, create

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.record import DeviceRecord
    from usbupdate.device.ports import BootLoader

NAMES = {Slot.A: "A", Slot.B: "B"}


class FailingJudge:
    def judge(self) -> tuple[Check, ...]:
        return (Check("self-test", CheckResult.FAILED, "exit-1", "no link"),)


class GrubBoard:
    """A device whose boot loader's memory is a real environment block, and whose firmware is RAUC's boot script."""

    new: ClassVar = {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}

    def __init__(self, folder: Path, office: Office) -> None:
        root = office.office.path / "metadata" / "1.root.json"
        create(folder, Plan({ROOTFS: office.image(1)}, "acme,gw-100", root, DeviceId("gw-1"), (), "1.1", 1))
        self.folder = folder
        self.environment = folder / "grubenv"
        self.environment.write_bytes(grubenv.encode(grubenv.Environment(self.new)))

    @property
    def variables(self) -> dict[str, str]:
        return dict(grubenv.read(self.environment).variables)

    @property
    def record(self) -> DeviceRecord:
        return self.agent().obligations.record

    def agent(self, *, is_unhealthy: bool = False) -> Agent:
        here = hardware.load(self.folder)
        machine = Bench(self.folder, lambda _: None, Silent()).machine(here, FailingJudge() if is_unhealthy else None)
        return Agent(replace(machine, loader=self.loader(lambda: here.booted)), Silent())

    def loader(self, booted: Callable[[], Slot]) -> BootLoader:
        return GrubLoader(self.environment, NAMES, booted)

    def script(self) -> Start:
        return grub_scripts.rauc(Disk(self.variables))

    def firmware(self) -> Slot | None:
        """Do what the boot script does, and start the slot that it chooses."""
        start = self.script()
        if start.variables is not None:
            grubenv.write(self.environment, grubenv.Environment(start.variables))
        if start.slot is None:
            return None
        chosen = Slot(start.slot.lower())
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


class OwnBoard(GrubBoard):
    """The same with our boot script and its two blocks."""

    new: ClassVar = {
        "usbupdate_order": "A B",
        "usbupdate_A_state": "good",
        "usbupdate_A_left": "8",
        "usbupdate_B_state": "bad",
        "usbupdate_B_left": "0",
    }

    def loader(self, booted: Callable[[], Slot]) -> BootLoader:
        return GrubTriesLoader(self.environment, NAMES, booted)

    def script(self) -> Start:
        second = self.environment.with_name(COMMITTED_BLOCK)
        committed = grubenv.read(second).variables if second.exists() else None
        try:
            variables = self.variables
        except BootLoaderError:
            return grub_scripts.usbupdate(Disk(None, committed))
        return grub_scripts.usbupdate(Disk(variables, committed))


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
    trial = {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0", "usbupdate_trial": "B"}
    assert board.variables == trial
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


@pytest.fixture
def own(tmp_path: Path, office: Office) -> OwnBoard:
    return OwnBoard(tmp_path / "board", office)


def test_under_our_script_a_committed_release_outlives_seven_power_cuts_before_the_agent(own: OwnBoard, office: Office) -> None:
    assert own.start() == (Rest.IDLE, [])
    assert own.insert(office.stick()) is Rest.REBOOTING
    assert own.firmware() is Slot.B
    assert own.start() == (Rest.IDLE, [Event.COMMITTED])
    assert [own.firmware() for _ in range(8)] == [Slot.B] * 8
    assert own.start() == (Rest.IDLE, [])
    assert own.variables["usbupdate_B_left"] == "8"
    assert own.holds(Slot.B, office.image(2))


def test_under_our_script_a_release_that_does_not_come_up_is_tried_three_times(own: OwnBoard, office: Office) -> None:
    own.start()
    own.insert(office.stick())
    assert [own.firmware() for _ in range(4)] == [Slot.B, Slot.B, Slot.B, Slot.A]
    assert own.start() == (Rest.IDLE, [Event.ROLLED_BACK])
    assert own.variables["usbupdate_B_state"] == "bad"
    assert [own.firmware() for _ in range(20)] == [Slot.A] * 20


def test_under_our_script_a_trial_outlives_two_power_cuts(own: OwnBoard, office: Office) -> None:
    own.start()
    own.insert(office.stick())
    assert [own.firmware() for _ in range(3)] == [Slot.B] * 3
    assert own.start() == (Rest.IDLE, [Event.COMMITTED])


@pytest.mark.parametrize("is_updated", [False, True])
def test_under_our_script_a_lost_environment_starts_what_is_committed_and_takes_no_offers(
    own: OwnBoard, office: Office, *, is_updated: bool
) -> None:
    own.start()
    if is_updated:
        own.insert(office.stick())
        own.firmware()
        own.start()
    own.environment.write_bytes(b"\0" * 1024)
    for _ in range(3):
        assert own.firmware() is (Slot.B if is_updated else Slot.A)
        agent = own.agent()
        assert agent.start() is Rest.DEGRADED
        with pytest.raises(DegradedError, match="takes no updates"):
            agent.take(office.stick(), Insertion.NEW)


def test_under_our_script_an_environment_lost_during_activation_ends_the_attempt(own: OwnBoard, office: Office) -> None:
    own.start()
    own.insert(office.stick())
    own.environment.write_bytes(b"\0" * 1024)
    assert own.firmware() is Slot.A
    rest, events = own.start()
    assert rest is Rest.DEGRADED
    assert events == [Event.ROLLED_BACK]
    assert own.firmware() is Slot.A
    assert own.start() == (Rest.DEGRADED, [])
