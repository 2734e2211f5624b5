"""Boots that cannot work on their state: which are confirmed, which are left, and what the dead man and the person hear."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field as field_of, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbupdate.cli import joining
from usbupdate.core.receipt import Event
from usbupdate.core.words import Slot
from usbupdate.device.agent import Agent
from usbupdate.device.bootloaders import simulated
from usbupdate.device.confirm import awaken, confirm_without_state
from usbupdate.device.deadman import SystemDeadMan
from usbupdate.device.statestore import PROVISIONED_FILE, STATE_FILE, TRIAL_FILE, StateStore
from usbupdate.errors import BootLoaderError, NotProvisionedError, StoreFailedError
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import BOOT_LOADER_FILE

if TYPE_CHECKING:
    from tests.field import Field, Rig
    from usbupdate.core.record import DeviceRecord
    from usbupdate.device.machine import Machine
    from usbupdate.device.signals import Signal

ERROR = NotProvisionedError(path="state")


@dataclass
class Watcher:
    """The dead man, the person and the power switch of a device."""

    heard: list[str] = field_of(default_factory=list)

    def stand_down(self) -> None:
        self.heard.append("stood down")

    def announce(self, signal: Signal, why: str = "") -> None:
        self.heard.append(str(signal))

    def reboot(self) -> None:
        self.heard.append("reboot")


def watched(rig: Rig) -> tuple[Machine, Watcher]:
    watcher = Watcher()
    machine = joining.machine_of(rig.bench.configuration(), "unattended")
    return replace(machine, announcer=watcher, rebooter=watcher, dead_man=watcher), watcher


def start(rig: Rig) -> Slot:
    """Start the device without its agent."""
    chosen = simulated.choose(rig.folder / BOOT_LOADER_FILE)
    hardware.save(rig.folder, hardware.load(rig.folder).rebooted(chosen))
    return chosen


def is_confirmed(rig: Rig, slot: Slot) -> bool:
    memory = simulated.decode((rig.folder / BOOT_LOADER_FILE).read_bytes()).slots[slot]
    return memory.given == simulated.COMMITTED_TRIES == memory.tries


def on_trial(field: Field) -> Rig:
    """Return a device whose new release runs for the first time, and whose agent has not started yet."""
    rig = field.rig
    rig.insert(field.good)
    assert start(rig) is Slot.B
    assert (rig.folder / "state" / TRIAL_FILE).exists()
    return rig


def fails(path: Path) -> bool:
    raise OSError(errno.EIO, "Input/output error", str(path))


class FullStore(StateStore):
    """A state partition that can be read and takes nothing."""

    def save(self, record: DeviceRecord) -> None:
        raise StoreFailedError(path="state.json", problem="No space left on device")


def full(machine: Machine) -> Machine:
    return replace(machine, store=FullStore(machine.configuration.state_dir))


# --- The dead man ---


def test_the_dead_man_stands_down_once_the_committed_slot_is_confirmed(field: Field) -> None:
    start(field.rig)
    machine, watcher = watched(field.rig)
    Agent(machine, joining.Silent()).start()
    assert watcher.heard == ["stood down"]


def test_the_dead_man_watches_until_the_trial_is_passed(field: Field) -> None:
    rig = on_trial(field)
    machine, watcher = watched(rig)
    seen: list[str] = []

    class Judge:
        def judge(self) -> tuple[()]:
            seen.extend(watcher.heard)
            return ()

    Agent(replace(machine, judge=Judge()), joining.Silent()).start()
    assert seen == []
    assert watcher.heard == ["stood down"]
    assert rig.events()[-1] == "committed"


def test_a_commit_that_cannot_be_saved_is_no_trial_any_more(field: Field) -> None:
    """Else the dead man restarts a good release every twenty minutes for ever."""
    rig = on_trial(field)
    machine, watcher = watched(rig)

    class Filling(StateStore):
        def save(self, record: DeviceRecord) -> None:
            if record.committed.slot is Slot.B:
                raise StoreFailedError(path="state.json", problem="No space left on device")
            super().save(record)

    with pytest.raises(StoreFailedError):
        Agent(replace(machine, store=Filling(machine.configuration.state_dir)), joining.Silent()).start()
    assert watcher.heard == ["stood down", "refused"]
    assert is_confirmed(rig, Slot.B)
    assert (rig.folder / "state" / TRIAL_FILE).exists()


def test_the_old_release_is_left_alone_where_the_end_of_the_trial_cannot_be_saved(field: Field) -> None:
    rig = on_trial(field)
    loader = simulated.SimulatedLoader(rig.folder / BOOT_LOADER_FILE, Slot.B)
    loader.mark_bad(Slot.B)
    assert start(rig) is Slot.A
    machine, watcher = watched(rig)
    with pytest.raises(StoreFailedError):
        Agent(full(machine), joining.Silent()).start()
    assert watcher.heard == ["stood down", "refused"]
    assert is_confirmed(rig, Slot.A)


def test_the_word_for_the_dead_man_is_written_once_and_needs_no_folder(tmp_path: Path) -> None:
    word = tmp_path / "run" / "no-trial"
    SystemDeadMan(word).stand_down()
    before = word.stat().st_mtime_ns
    SystemDeadMan(word).stand_down()
    assert word.stat().st_mtime_ns == before


def test_a_word_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    SystemDeadMan(tmp_path / "run" / "no-trial").stand_down()
    assert (tmp_path / "run").read_text() == "no folder"


# --- Without the state ---


def test_a_state_that_can_be_read_and_not_locked_confirms_the_committed_slot_whatever_a_trial_left(field: Field) -> None:
    rig = field.rig
    start(rig)
    (rig.folder / "state" / TRIAL_FILE).touch()
    machine, watcher = watched(rig)
    confirm_without_state(machine, ERROR)
    assert is_confirmed(rig, Slot.A)
    assert watcher.heard == ["refused", "stood down"]


def test_a_trial_whose_state_can_be_read_and_not_locked_is_left_to_the_dead_man(field: Field) -> None:
    rig = on_trial(field)
    machine, watcher = watched(rig)
    confirm_without_state(machine, ERROR)
    assert not is_confirmed(rig, Slot.B)
    assert watcher.heard == ["refused"]


def test_a_trial_with_a_broken_state_is_left_to_the_dead_man(field: Field) -> None:
    rig = on_trial(field)
    (rig.folder / "state" / STATE_FILE).write_text("{}")
    machine, watcher = watched(rig)
    confirm_without_state(machine, ERROR)
    assert not is_confirmed(rig, Slot.B)
    assert watcher.heard == ["refused"]


def test_after_a_trial_with_a_broken_state_the_old_release_is_confirmed(field: Field) -> None:
    """What stands beside a state that nobody can read would let it be restarted, and its tries run out, for ever."""
    rig = on_trial(field)
    (rig.folder / "state" / STATE_FILE).write_text("{}")
    for _ in range(simulated.TRIAL_TRIES - 1):
        assert start(rig) is Slot.B
    assert start(rig) is Slot.A
    machine, watcher = watched(rig)
    confirm_without_state(machine, ERROR)
    assert is_confirmed(rig, Slot.A)
    assert watcher.heard == ["refused", "stood down"]


def test_a_trial_that_cannot_see_the_state_at_all_is_left_at_once_and_never_confirmed(field: Field) -> None:
    """Such as a release whose fstab lost the partition; nobody could ever decide its trial, and no stick would be taken."""
    rig = on_trial(field)
    state = rig.folder / "state"
    state.rename(rig.folder / "elsewhere")
    state.mkdir()
    for _ in range(simulated.TRIAL_TRIES):
        machine, watcher = watched(rig)
        confirm_without_state(machine, ERROR)
        assert watcher.heard == ["refused", "restarting", "reboot"]
        start(rig)
    assert hardware.load(rig.folder).booted is Slot.A
    machine, watcher = watched(rig)
    confirm_without_state(machine, ERROR)
    assert is_confirmed(rig, Slot.A)
    assert watcher.heard == ["refused", "stood down"]


def test_a_trial_whose_state_folder_cannot_be_looked_at_is_left_at_once(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = on_trial(field)
    machine, watcher = watched(rig)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", fails)
        confirm_without_state(machine, ERROR)
    assert watcher.heard == ["refused", "restarting", "reboot"]


@pytest.mark.parametrize("told_by", ["kernel line", "state folder", "nobody"])
def test_where_the_boot_loader_cannot_tell_others_are_asked(field: Field, told_by: str) -> None:
    rig = field.rig
    start(rig)
    state = rig.folder / "state"
    (state / PROVISIONED_FILE).unlink()
    if told_by == "state folder":
        (state / TRIAL_FILE).touch()

    class Taciturn(simulated.SimulatedLoader):
        def is_on_trial(self, slot: Slot) -> None:  # type: ignore[override] # as a custom one
            pass

    machine, _ = watched(rig)
    loader = Taciturn(rig.folder / BOOT_LOADER_FILE, Slot.A)
    confirm_without_state(replace(machine, loader=loader, may_be_on_trial=told_by == "kernel line"), ERROR)
    assert is_confirmed(rig, Slot.A) is (told_by == "nobody")


# --- What the person hears ---


def test_a_state_that_cannot_be_saved_at_the_start_is_said(field: Field) -> None:
    """A stick is never ignored in silence, nor left at "busy"."""
    rig = field.rig
    start(rig)
    machine, watcher = watched(rig)
    record = machine.store.load()
    # Something to be saved: that the owner allows logs is news.
    machine.store.save(replace(record, exports_logs=not record.exports_logs))
    with pytest.raises(StoreFailedError):
        Agent(full(machine), joining.Silent()).start()
    assert watcher.heard[-1] == "refused"


def test_a_running_slot_that_is_not_known_is_said_and_recorded_once_a_boot(field: Field) -> None:
    rig = field.rig
    start(rig)
    machine, watcher = watched(rig)

    class Torn(simulated.SimulatedLoader):
        def booted(self) -> Slot:
            raise BootLoaderError(problem="two sources disagree")

    torn = replace(machine, loader=Torn(rig.folder / BOOT_LOADER_FILE, Slot.A))
    for _ in range(2):
        with pytest.raises(BootLoaderError):
            awaken(torn, joining.Silent())
    assert watcher.heard == ["refused", "refused"]
    assert [receipt.draft.event for receipt in rig.receipts()] == [Event.PROVISIONED, Event.REFUSED]
    assert rig.last().problem is not None
    assert not is_confirmed(rig, Slot.A)
