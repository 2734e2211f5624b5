"""One update after the other on a simulated device, with everything that becomes of them, as a person beside it sees it."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from tuf.api.metadata import Targets

from tests.field import APP, CHUNK, CHUNKS, NEXT, OFFERED, RUNNING, load
from tests.matrix import By, On, attack
from usbupdate.cli.outcome import require_kept
from usbupdate.core import lifecycle
from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import CheckResult, Event, Problem, Traffic
from usbupdate.core.words import BootId, DeviceId
from usbupdate.device import process
from usbupdate.device.agent import Agent
from usbupdate.device.obligations import Rest
from usbupdate.errors import (
    BootLoaderError,
    ExitCode,
    GatePostponedError,
    GateRefusedError,
    LeavingError,
    MediumUnreadableError,
    NothingInstalledError,
    NothingOnTrialError,
    OlderSequenceError,
    OlderStickError,
    RolledBackError,
    TriedBeforeError,
    UpdateUnderWayError,
)
from usbupdate.medium import DirectoryMedium
from usbupdate.packager import office
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.field import Field, Rig
    from usbupdate.core.layout import MediumPath

_KEYS: Final = {
    "device", "state", "booted", "reboot_pending", "sequence", "slots", "receipts", "acknowledged_receipts", "trimmed_receipts",
    "last_event",
}  # fmt: skip
_SLOT_KEYS: Final = {"path", "good", "tries", "version", "image_sha256"}


class _Quiet:
    def began(self, what: str) -> None:
        pass

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        pass


def _agent(rig: Rig) -> Agent:
    """Return the agent of a device as a command of a person starts it."""
    bench = Bench(rig.folder, lambda line: rig.lines.append(line), _Quiet())  # noqa: PLW0108 - the console's argument has a name
    return Agent(bench.machine(hardware.load(rig.folder), operator="alice"), _Quiet())


def _looks(rig: Rig, **expected: object) -> None:
    """Compare how the device stands, whose document always has the same keys."""
    table = rig.status()
    assert set(table) == _KEYS
    slots = table["slots"]
    assert isinstance(slots, dict)
    assert set(slots) == {"a", "b"}
    for slot in slots.values():
        assert isinstance(slot, dict)
        assert set(slot) == _SLOT_KEYS
    for name, value in expected.items():
        if name in slots:
            found = slots[name]
            assert isinstance(found, dict)
            assert isinstance(value, dict)
            assert {key: found[key] for key in value} == value, name
        else:
            assert table[name] == value, name


# --- Committed -------------------------------------------------------------------------------------------------------


def test_release_is_installed_tried_and_committed_and_every_stage_looks_as_documented(field: Field) -> None:
    rig = field.rig
    old, new = field.image_sha256(RUNNING), field.image_sha256(OFFERED)
    empty = rig.slot_image("b")
    running = {"path": "slots/a.img", "good": True, "tries": None, "version": "1.1", "image_sha256": old}
    _looks(rig, device="gw-1", state="idle", booted="a", reboot_pending=False, sequence=RUNNING, receipts=1, a=running)
    _looks(rig, last_event="provisioned", b={"good": False, "tries": 0, "version": None, "image_sha256": empty})

    assert rig.insert(field.good).rest is Rest.REBOOTING
    _looks(rig, state="activating", booted="a", reboot_pending=True, sequence=RUNNING, receipts=1, a=running)
    _looks(rig, last_event="provisioned", b={"good": True, "tries": 3, "version": "1.2", "image_sha256": new})
    assert rig.lines == ["busy, do not remove", "restarting, leave it in"]

    assert rig.boot().rest is Rest.IDLE
    _looks(rig, state="idle", booted="b", reboot_pending=False, sequence=OFFERED, receipts=2, last_event="committed", a=running)
    _looks(rig, b={"path": "slots/b.img", "good": True, "tries": None, "version": "1.2", "image_sha256": new})
    assert rig.lines[-2:] == ["done, remove", "boot of slot b (on trial): up and at rest"]
    draft = rig.last()
    assert draft.traffic is not None
    # Slot b was empty, so its zeros are what the two chunks of zeros are.
    assert (draft.traffic.equal, draft.traffic.full, draft.traffic.zero) == (2, CHUNKS - 2, 0)
    assert draft.traffic.written == (CHUNKS - 2) * CHUNK
    assert not draft.resumed
    assert draft.bundle is not None
    assert draft.before is not None
    assert draft.after is not None
    assert (draft.before.sequence, draft.after.sequence) == (RUNNING, OFFERED)
    assert draft.operator == "unattended"

    # The stick that stays in, or comes again, is nothing new.
    for _ in range(2):
        assert rig.boot().rest is Rest.IDLE
        assert rig.insert(field.good).rest is Rest.IDLE
        assert rig.lines[-1] == "done, remove"
    _looks(rig, receipts=2, state="idle", booted="b")
    log = (field.good / "usbupdate/logs/gw-1/receipts.jsonl").read_bytes()
    assert len(log.splitlines()) == 2


def test_next_update_writes_only_what_differs_from_what_the_slot_holds(field: Field) -> None:
    rig = field.rig
    rig.update(field.good)
    rig.update(field.cure)
    draft = rig.last()
    assert draft.traffic is not None
    # Every fourth chunk is the same in every release, and so are the zeros.
    assert (draft.traffic.equal, draft.traffic.full) == (6, CHUNKS - 6)
    _looks(rig, booted="a", sequence=NEXT, a={"version": "1.3", "image_sha256": field.image_sha256(NEXT)})


def test_highest_suitable_release_on_a_stick_is_taken_by_stepping_stones(field: Field) -> None:
    rig = field.rig
    field.release(NEXT, from_sequence_min=OFFERED)
    both = field.stick("both", "gw-2", "gw-3")
    rig.insert(both)
    _looks(rig, b={"version": "1.2"}, state="activating")
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, sequence=NEXT, booted="a", receipts=3, last_event="committed")
    assert [str(each.event) for each in rig.receipts()] == ["provisioned", "committed", "committed"]
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, receipts=3)


def test_both_slot_classes_are_written_and_change_together(field: Field) -> None:
    old = {"rootfs": field.image(RUNNING), APP: field.image(71, chunks=5)}
    new = {"rootfs": field.image(8), APP: field.image(72, chunks=4)}
    rig = field.device("two", images=old)
    field.release(8, images=new)
    assert rig.update(field.stick("eight")).rest is Rest.IDLE
    _looks(rig, booted="b", sequence=8, b={"image_sha256": field.image_sha256(8)})
    app = new[APP].read_bytes()
    assert (rig.folder / "slots/b-app.img").read_bytes()[: len(app)] == app
    after = rig.last().after
    assert after is not None
    assert set(after.images) == {"rootfs", APP}


# --- Given up --------------------------------------------------------------------------------------------------------


@attack(
    By.SIGNER,
    On.SERVICE,
    "a signed release that does not come up",
    "the boot loader goes back, and it is not tried again by itself",
)
def test_release_that_does_not_come_up_is_rolled_back_and_not_tried_again_while_its_stick_stays_in(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    ran = rig.boot(panic=True)
    with pytest.raises(RolledBackError) as caught:
        require_kept(ran.told)
    assert caught.value.exit_code is ExitCode.ROLLED_BACK
    _looks(rig, state="idle", booted="a", sequence=RUNNING, receipts=2, last_event="rolled-back", reboot_pending=False)
    _looks(rig, b={"good": False, "version": None}, a={"good": True, "tries": None})
    for _ in range(3):
        assert rig.boot().rest is Rest.IDLE
    _looks(rig, receipts=2, booted="a")
    # Power or a hang may have been to blame: a new insertion is free.
    assert rig.insert(field.good).rest is Rest.REBOOTING
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, booted="b", sequence=OFFERED, receipts=3, last_event="committed")


@attack(
    By.SIGNER, On.SERVICE, "a signed release that comes up and does not do its work", "a trial ends with the owner's checks"
)
def test_unhealthy_release_is_rolled_back_and_names_its_check(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    ran = rig.boot(unhealthy=True)
    with pytest.raises(RolledBackError):
        require_kept(ran.told)
    _looks(rig, state="idle", booted="a", sequence=RUNNING, receipts=2, last_event="check-failed", b={"good": False})
    draft = rig.last()
    assert [(check.name, check.result) for check in draft.checks] == [
        ("metadata", CheckResult.PASSED),
        ("device-check", CheckResult.PASSED),
        ("simulated-health", CheckResult.FAILED),
    ]
    assert draft.problem is not None
    assert "simulated-health" in draft.problem.text
    rig.boot()
    _looks(rig, receipts=2)
    # Trying again is not the stick's to decide, but a person's or a newer release's.
    with pytest.raises(TriedBeforeError):
        rig.insert(field.good)
    _looks(rig, receipts=3, last_event="refused")
    agent = _agent(rig)
    agent.start()
    assert agent.take(field.good, Insertion.PERSON) is Rest.REBOOTING
    rig.boot()
    assert rig.last().operator == "alice"
    _looks(rig, sequence=OFFERED, last_event="committed")
    assert rig.update(field.cure).rest is Rest.IDLE


def test_newer_release_is_taken_after_a_failed_check(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    rig.boot(unhealthy=True)
    assert rig.update(field.cure).rest is Rest.IDLE
    _looks(rig, sequence=NEXT, last_event="committed")


def test_failing_check_of_the_owner_leaves_its_last_lines_in_the_receipt(field: Field) -> None:
    rig = field.rig
    rig.script("health.d/10-fine", "exit 0")
    rig.script("health.d/20-modbus", "echo first; echo 'no answer from \033[31mPLC' >&2; exit 3")
    rig.script("health.d/30-late", "exit 0")
    rig.insert(field.good)
    rig.boot()
    _looks(rig, booted="a", last_event="check-failed")
    checks = {check.name: check for check in rig.last().checks}
    assert set(checks) == {"metadata", "device-check", "10-fine", "20-modbus", "30-late"}
    assert checks["20-modbus"].reason == "exit-3"
    assert "first\nno answer from" in checks["20-modbus"].detail
    assert "\033" not in checks["20-modbus"].detail
    # Its stick is still in at the restart that leaves the release: that must not end in "done".
    assert "The bundle gw 1.2 was tried on this device before (tries: 1)" in rig.lines[-2]
    assert "check-failed" in rig.lines[-2]
    assert "done" not in rig.lines[-2]
    summary = (field.good / "usbupdate/logs/gw-1/summary.txt").read_text()
    assert "Signal:       done" not in summary
    assert "20-modbus" in summary


@attack(By.SIGNER, On.SERVICE, "a release whose check hangs", "checks have a time limit")
def test_check_that_hangs_ends_at_the_time_limit(field: Field) -> None:
    rig = field.rig
    rig.configure("timeout_s = 120", "timeout_s = 1")
    rig.script("health.d/10-hangs", "echo waiting; sleep 1000")
    rig.insert(field.good)
    rig.boot()
    _, built_in, check = rig.last().checks
    assert built_in.result is CheckResult.PASSED
    assert check.result is CheckResult.TIMED_OUT
    assert check.detail == "waiting"
    _looks(rig, booted="a", last_event="check-failed")


# --- Gates -----------------------------------------------------------------------------------------------------------


def test_install_gate_lets_go_puts_off_and_refuses(field: Field) -> None:
    rig = field.rig
    before = rig.slot_image("b")
    rig.script("install.d/10-production", "exit 75")
    with pytest.raises(GatePostponedError) as later:
        rig.insert(field.good)
    assert later.value.exit_code is ExitCode.REFUSED
    _looks(rig, last_event="postponed", receipts=2)
    rig.script("install.d/10-production", "exit 1")
    with pytest.raises(GateRefusedError):
        rig.insert(field.good)
    _looks(rig, last_event="refused", receipts=3)
    assert rig.slot_image("b") == before
    rig.script("install.d/10-production", "exit 0")
    assert rig.insert(field.good).rest is Rest.REBOOTING
    rig.boot()
    _looks(rig, sequence=OFFERED, last_event="committed")


def test_gated_restart_waits_and_goes_when_the_gate_lets_go(field: Field) -> None:
    rig = field.rig
    rig.configure('reboot = "automatic"', 'reboot = "gated"')
    rig.script("reboot.d/10-batch", "exit 75")
    assert rig.insert(field.good).rest is Rest.WAITING
    assert rig.lines[-1] == "installed, waiting for release, may be removed"
    _looks(rig, state="ready", reboot_pending=False, booted="a", receipts=1, b={"good": False, "version": "1.2"})
    rig.remove()
    # A power cut meanwhile changes nothing.
    assert rig.boot().rest is Rest.WAITING
    _looks(rig, state="ready", booted="a")
    rig.script("reboot.d/10-batch", "exit 0")
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, state="idle", booted="b", sequence=OFFERED, last_event="committed")


def test_manual_restart_waits_for_a_person(field: Field) -> None:
    rig = field.rig
    rig.configure('reboot = "automatic"', 'reboot = "manual"')
    assert rig.insert(field.good).rest is Rest.WAITING
    # The same stick again is no news, another one has to wait.
    assert rig.insert(field.good).rest is Rest.WAITING
    _looks(rig, receipts=1)
    with pytest.raises(UpdateUnderWayError):
        rig.insert(field.cure)
    _looks(rig, receipts=2, last_event="refused", state="ready")
    rig.remove()
    assert _agent(rig).activate() is Rest.REBOOTING
    _looks(rig, state="activating", reboot_pending=True)
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, sequence=OFFERED, last_event="committed", receipts=3)


def test_installed_release_can_be_withdrawn_and_comes_again_with_a_new_insertion(field: Field) -> None:
    rig = field.rig
    rig.configure('reboot = "automatic"', 'reboot = "manual"')
    rig.insert(field.good)
    assert _agent(rig).withdraw() is Rest.IDLE
    _looks(rig, state="idle", booted="a", last_event="withdrawn", receipts=2, b={"good": False, "version": None})
    rig.boot()
    _looks(rig, state="idle", receipts=2)
    assert rig.insert(field.good).rest is Rest.WAITING
    with pytest.raises(NothingInstalledError):
        _agent(field.device("other")).withdraw()


def test_commit_and_rollback_speak_of_a_trial_only(field: Field) -> None:
    rig = field.rig
    for act in (_agent(rig).commit, _agent(rig).roll_back):
        with pytest.raises(NothingOnTrialError) as caught:
            act()
        assert caught.value.exit_code is ExitCode.NOTHING_ON_TRIAL
    with pytest.raises(NothingInstalledError):
        _agent(rig).activate()
    rig.insert(field.good)
    with pytest.raises(NothingOnTrialError):
        _agent(rig).commit()
    _looks(rig, state="activating", receipts=1)


# --- A second stick --------------------------------------------------------------------------------------------------


@attack(By.TECHNICIAN, On.SLOT, "another stick while a restart is due", "the installed release has its turn first")
def test_second_stick_while_a_restart_is_due_waits_and_the_same_one_is_no_error(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    assert rig.insert(field.good).rest is Rest.REBOOTING
    _looks(rig, receipts=1, state="activating", reboot_pending=True)
    with pytest.raises(UpdateUnderWayError) as caught:
        rig.insert(field.cure)
    assert caught.value.exit_code is ExitCode.BUSY
    _looks(rig, receipts=2, last_event="refused", state="activating", reboot_pending=True)
    # The other one is still in at the restart, and its turn comes then.
    assert rig.boot().rest is Rest.IDLE
    assert [str(each.event) for each in rig.receipts()] == ["provisioned", "refused", "committed", "committed"]
    _looks(rig, sequence=NEXT)


# --- Logs ------------------------------------------------------------------------------------------------------------


def test_owner_may_keep_the_log_to_himself_and_both_changes_are_receipts(field: Field) -> None:
    rig = field.rig
    rig.configure("export = true", "export = false")
    rig.update(field.good)
    assert not (field.good / "usbupdate/logs").exists()
    assert rig.events() == ["provisioned", "log-export-changed", "committed"]
    rig.configure("export = false", "export = true")
    rig.boot()
    rig.insert(field.good)
    assert rig.events() == ["provisioned", "log-export-changed", "committed", "log-export-changed"]
    assert len((field.good / "usbupdate/logs/gw-1/receipts.jsonl").read_bytes().splitlines()) == 4


@contextmanager
def _small_filesystem(folder: Path, contents: Path, size: int) -> Iterator[Path]:
    """Give a file system of its own, of `size` bytes, that holds what lies in `contents`."""
    folder.mkdir()
    made = process.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], timeout_s=30)
    if not made.succeeded:
        pytest.skip(f"no file system can be mounted here: {made.last_line}")
    try:
        shutil.copytree(contents, folder, dirs_exist_ok=True)
        yield folder
    finally:
        process.run(["umount", "-l", folder], timeout_s=30)


def _fill(mount: Path) -> None:
    free = os.statvfs(mount)
    (mount / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize))
    assert os.statvfs(mount).f_bavail == 0


@pytest.mark.parametrize("problem", ["read-only", "full"])
def test_log_that_a_stick_cannot_take_goes_out_with_the_next_one(field: Field, problem: str) -> None:
    rig = field.rig
    with _small_filesystem(field.folder / "tmpfs", field.good, 8 << 20) as mount:
        if problem == "read-only":
            assert process.run(["mount", "-o", "remount,ro", mount], timeout_s=30).succeeded
        else:
            _fill(mount)
        assert rig.insert(mount).rest is Rest.REBOOTING
        assert rig.boot().rest is Rest.IDLE
        _looks(rig, sequence=OFFERED, last_event="committed", receipts=2)
        assert rig.lines[-2].startswith("done, remove: ")
        assert not (mount / "usbupdate/logs/gw-1/receipts.jsonl").exists()
        rig.remove()
    assert rig.insert(field.cure).rest is Rest.REBOOTING
    rig.boot()
    assert len((field.cure / "usbupdate/logs/gw-1/receipts.jsonl").read_bytes().splitlines()) == 3


# --- Killed ----------------------------------------------------------------------------------------------------------


class _Killed(BaseException):
    """What nobody may catch, as nobody catches SIGKILL."""


class _Killer:
    """Kills the installation after some chunks were written."""

    def __init__(self, chunks: int) -> None:
        self._left = chunks
        self._is_installing = False

    def began(self, what: str) -> None:
        self._is_installing = what == "installing"

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        self._left -= self._is_installing
        if self._left < 0:
            raise _Killed


@pytest.mark.parametrize("way", ["insert", "boot"])
def test_killed_installation_is_taken_up_and_writes_only_what_is_missing(field: Field, way: str) -> None:
    rig = field.rig
    with pytest.raises(_Killed):
        Bench(rig.folder, lambda line: rig.lines.append(line), _Killer(7)).insert(field.good)  # noqa: PLW0108 - as above
    _looks(rig, state="installing", booted="a", b={"good": False, "version": "1.2"})
    if way == "insert":
        assert rig.insert(field.good).rest is Rest.REBOOTING
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, state="idle", booted="b", sequence=OFFERED, b={"image_sha256": field.image_sha256(OFFERED)})
    assert rig.events() == ["provisioned", "interrupted", "committed"]
    draft = rig.last()
    assert draft.resumed
    assert isinstance(draft.traffic, Traffic)
    assert draft.traffic.equal >= 8
    assert draft.traffic.full <= CHUNKS - 8
    assert draft.traffic.written == draft.traffic.full * CHUNK


@attack(By.TECHNICIAN, On.SERVICE, "the stick is lost half-way", "any stick with the release goes on")
def test_interrupted_installation_goes_on_from_another_stick(field: Field) -> None:
    rig = field.rig
    with pytest.raises(_Killed):
        Bench(rig.folder, lambda line: rig.lines.append(line), _Killer(7)).insert(field.good)  # noqa: PLW0108 - as above
    rig.remove()
    rig.boot()
    _looks(rig, state="idle", booted="a", last_event="interrupted")
    twin = field.folder / "twin"
    shutil.copytree(field.good, twin)
    rig.update(twin)
    assert rig.last().resumed
    _looks(rig, sequence=OFFERED)


# --- Trust over the years --------------------------------------------------------------------------------------------


def test_device_that_is_five_roots_behind_is_updated_by_one_stick(field: Field) -> None:
    for _ in range(5):
        office.rotate(field.office, field.now, office.Hands())
    field.release(NEXT)
    rig = field.rig
    assert rig.update(field.stick("late", "gw-3")).rest is Rest.IDLE
    _looks(rig, sequence=NEXT)
    trust = rig.last().trust
    assert trust is not None
    assert trust.root_version == 6
    assert rig.record().root.version == 6


@attack(By.STOLEN_KEY, On.TRUST, "a stick signed by keys that were revoked since", "any newer stick brings the revocation")
def test_revoked_keys_sign_nothing_any_more_once_any_newer_stick_was_seen(field: Field) -> None:
    thief = field.copy(field.folder.with_name("thief"))
    thief.press.manifest(thief.good, lambda table: table.update(notes="mine"))
    thief.press.publish(thief.good, step=50)
    office.rotate(field.office, field.now, office.Hands())
    rig = field.rig
    assert rig.insert(field.stick("revokes", log_only=True)).rest is Rest.IDLE
    error = rig.error_of(thief.good)
    assert error.exit_code in {ExitCode.REJECTED, ExitCode.REFUSED}
    assert load(thief.good, Targets).version > 50
    _looks(rig, sequence=RUNNING, booted="a")
    field.release(NEXT)
    assert rig.update(field.stick("next", "gw-3")).rest is Rest.IDLE


def test_device_falls_back_by_its_boot_loader_and_may_take_the_release_again(field: Field) -> None:
    rig = field.rig
    rig.update(field.good)
    # The committed release stops coming up: the boot loader goes through its tries, then to the other slot.
    table = (rig.folder / "bootloader.json").read_text()
    memory = table.replace('"order":["b","a"]', '"order":["a","b"]')
    assert memory != table
    (rig.folder / "bootloader.json").write_text(memory)
    rig.boot()
    _looks(rig, booted="a", state="idle", last_event="fell-back", sequence=RUNNING)
    assert rig.insert(field.good).rest is Rest.REBOOTING
    rig.boot()
    _looks(rig, booted="b", sequence=OFFERED, last_event="committed")


def test_refused_stick_after_the_update_leaves_the_committed_release(field: Field) -> None:
    rig = field.rig
    rig.update(field.cure)
    assert isinstance(rig.error_of(field.good), OlderSequenceError | OlderStickError)
    _looks(rig, last_event="refused", sequence=NEXT)


def test_boot_loader_that_loses_its_memory_on_the_way_ends_as_loader_failed(field: Field) -> None:
    rig = field.rig
    rig.configure('reboot = "automatic"', 'reboot = "manual"')
    rig.insert(field.good)
    rig.remove()
    memory = (rig.folder / "bootloader.json").read_bytes()
    (rig.folder / "bootloader.json").write_bytes(b"gone")
    try:
        _agent(rig).activate()
    except BootLoaderError:
        pytest.fail("it is an outcome, not an exception")
    _looks(rig, state="idle", last_event="loader-failed", booted="a")
    (rig.folder / "bootloader.json").write_bytes(memory)
    assert rig.boot().rest is Rest.IDLE
    assert rig.update(field.good).rest in {Rest.IDLE, Rest.WAITING}


# --- By the command line ---------------------------------------------------------------------------------------------


def _usbupdate(*arguments: str | Path) -> process.Finished:
    place = process.Place(environment={**process.BARE_ENVIRONMENT, "PYTHONWARNINGS": "error", "NO_COLOR": "1"})
    return process.run([sys.executable, "-m", "usbupdate", *arguments], timeout_s=60, place=place)


def test_person_sees_exit_codes_and_sentences(field: Field, mount: Path) -> None:
    rig = replace(field.rig, lines=[])
    config = rig.folder / "device.toml"

    def ends(code: ExitCode, *arguments: str | Path) -> str:
        finished = _usbupdate(*arguments)
        told = finished.output.decode()
        assert finished.exit_code == code, told
        assert "Traceback" not in told
        if code is not ExitCode.OK:
            assert "Error: " in told
            assert "What to do: " in told
        return told

    ends(ExitCode.REFUSED, "simulate", "insert", rig.folder, mount)
    ends(ExitCode.NOTHING_ON_TRIAL, "device", "commit", "--config", config)
    ends(ExitCode.NOTHING_ON_TRIAL, "device", "rollback", "--config", config)
    ends(ExitCode.INPUT, "simulate", "insert", rig.folder, mount / "nowhere")
    ends(ExitCode.OK, "simulate", "insert", rig.folder, field.good)
    ends(ExitCode.BUSY, "simulate", "insert", rig.folder, field.cure)
    ends(ExitCode.OK, "simulate", "insert", rig.folder, field.good)
    assert "rolled-back" in ends(ExitCode.ROLLED_BACK, "simulate", "boot", rig.folder, "--panic")
    ends(ExitCode.OK, "device", "install", field.good, "--config", config)
    ends(ExitCode.ROLLED_BACK, "simulate", "boot", rig.folder, "--unhealthy")
    ends(ExitCode.REFUSED, "simulate", "insert", rig.folder, field.good)
    ends(ExitCode.OK, "simulate", "insert", rig.folder, field.cure)
    ends(ExitCode.OK, "simulate", "boot", rig.folder)
    _looks(rig, sequence=NEXT, last_event="committed", booted="b")
    (rig.folder / "root.json").unlink()
    ends(ExitCode.NOT_READY, "simulate", "insert", rig.folder, field.good)
    ends(ExitCode.OK, "simulate", "boot", rig.folder)


@attack(By.CHANCE, On.SLOT, "the agent is killed in the middle", "the next start does what is owed")
def test_sigkill_in_the_middle_of_an_insertion_is_survived(field: Field) -> None:
    rig = field.device("killed", images={"rootfs": field.image(RUNNING)}, device=DeviceId("killed"))
    command = [sys.executable, "-m", "usbupdate", "simulate", "insert", str(rig.folder), str(field.good)]
    finished = process.run(command, timeout_s=60, until=b"installing")
    if finished.exit_code is None:
        assert rig.status()["state"] in {"installing", "idle", "ready", "activating"}
    rig.insert(field.good)
    rig.boot()
    _looks(rig, sequence=OFFERED, state="idle")
    assert set(rig.events()[1:]) <= {"interrupted", "committed"}
    assert os.path.lexists(rig.folder / "slots/b.img")


def _on_trial(field: Field) -> Rig:
    """Return a device whose agent was killed by a check in the middle of a trial."""
    rig = field.rig
    rig.insert(field.good)
    rig.remove()
    kills = rig.script("health.d/10-kills", "kill -9 $PPID")
    assert _usbupdate("simulate", "boot", rig.folder).exit_code == -9
    kills.unlink()
    _looks(rig, state="trial", booted="b", sequence=RUNNING, receipts=1, reboot_pending=False, b={"good": True, "tries": 2})
    return rig


def test_person_commits_what_is_on_trial(field: Field) -> None:
    rig = _on_trial(field)
    assert _agent(rig).commit() is Rest.IDLE
    _looks(rig, state="idle", booted="b", sequence=OFFERED, last_event="committed", receipts=2, b={"tries": None})
    assert rig.update(field.cure).rest is Rest.IDLE


def test_person_rolls_back_what_is_on_trial(field: Field) -> None:
    rig = _on_trial(field)
    assert _agent(rig).roll_back() is Rest.REBOOTING
    _looks(rig, reboot_pending=True, last_event="withdrawn", b={"good": False})
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, state="idle", booted="a", sequence=RUNNING, receipts=2, reboot_pending=False)


def test_agent_killed_on_trial_judges_again(field: Field) -> None:
    rig = _on_trial(field)
    assert rig.boot().rest is Rest.IDLE
    _looks(rig, booted="b", sequence=OFFERED, last_event="committed", receipts=2)


@attack(
    By.TECHNICIAN,
    On.SLOT,
    "a second installation while a release is on trial",
    "one at a time: the stick waits for the verdict",
)
def test_stick_put_in_on_trial_waits_for_the_verdict(field: Field) -> None:
    rig = _on_trial(field)
    rig.script("health.d/10-fails", "exit 1")
    # The verdict comes first, and with it a restart: the stick's turn is after that.
    with pytest.raises(LeavingError):
        rig.insert(field.cure)
    assert rig.events() == ["provisioned", "check-failed", "refused"]
    _looks(rig, booted="b", reboot_pending=True)
    (rig.folder / "health.d/10-fails").unlink()
    rig.boot()
    _looks(rig, sequence=NEXT, last_event="committed")


def _insert_and_pull(field: Field) -> None:
    """Put a good stick in and pull it after some of its chunks were written."""
    whole = DirectoryMedium.read_at
    reads = {"left": 20}

    def pulled(medium: DirectoryMedium, path: MediumPath, offset: int, size: int) -> bytes:
        reads["left"] -= 1
        if reads["left"] < 0:
            raise MediumUnreadableError(name="a pack", problem="No such device")
        return whole(medium, path, offset, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectoryMedium, "read_at", pulled)
        with pytest.raises(MediumUnreadableError):
            field.rig.insert(field.good)
    field.rig.remove()


def test_receipt_of_an_interrupted_installation_says_how_far_it_came(field: Field) -> None:
    _insert_and_pull(field)
    last = field.rig.last()
    assert last.event is Event.INTERRUPTED
    assert last.traffic is not None
    assert 0 < last.traffic.written < CHUNKS * CHUNK
    assert last.traffic.full > 0


def test_stick_that_follows_a_pulled_one_is_another_insertion_however_soon_after_the_start_of_the_boot(field: Field) -> None:
    rig = field.rig
    _insert_and_pull(field)
    agent = _agent(rig)
    agent.start()
    # Soon after the start nothing else tells it from one that was in all the time.
    assert agent.take(field.good, Insertion.FOUND, rig.last().moment.monotonic_ms + 1) is Rest.REBOOTING
    rig.boot()
    assert rig.events() == ["provisioned", "interrupted", "committed"]


@pytest.mark.parametrize("later_ms", [None, 0, -5_000])
def test_stick_that_was_in_before_another_one_failed_is_no_other_insertion(field: Field, later_ms: int | None) -> None:
    """A second partition of the same stick, or a second stick, whose release may have hung the device before."""
    rig = field.rig
    _insert_and_pull(field)
    connected_ms = None if later_ms is None else rig.last().moment.monotonic_ms + later_ms
    agent = _agent(rig)
    agent.start()
    assert agent.take(field.good, Insertion.FOUND, connected_ms) is Rest.IDLE
    assert rig.events() == ["provisioned", "interrupted"]


def test_stick_that_stays_in_after_it_failed_is_no_other_insertion_in_the_next_boot(field: Field) -> None:
    rig = field.rig
    _insert_and_pull(field)
    connected_ms = rig.last().moment.monotonic_ms + 1
    rig.boot()
    agent = _agent(rig)
    agent.start()
    assert agent.take(field.good, Insertion.FOUND, connected_ms) is Rest.IDLE
    assert rig.events() == ["provisioned", "interrupted"]


def test_install_that_a_restart_ended_was_not_cut_by_its_stick(field: Field) -> None:
    rig = field.rig
    with pytest.raises(_Killed):
        Bench(rig.folder, lambda line: rig.lines.append(line), _Killer(0)).insert(field.good)  # noqa: PLW0108 - as above
    agent = _agent(rig)
    agent.start()
    receipt, boot_id = rig.last(), agent.obligations.boot.boot_id
    assert (receipt.event, receipt.moment.boot_id) == (Event.INTERRUPTED, boot_id)
    assert not lifecycle.is_cut_by_medium(receipt, boot_id)
    # Whatever a boot loader adds to the text.
    told = replace(receipt, problem=replace(lifecycle.RESTARTED, text="Restarted. And the slot could not be marked bad."))
    assert not lifecycle.is_cut_by_medium(told, boot_id)
    assert lifecycle.is_cut_by_medium(replace(receipt, problem=Problem("medium-gone", "")), boot_id)
    assert not lifecycle.is_cut_by_medium(replace(receipt, problem=Problem("medium-gone", "")), BootId("another"))
