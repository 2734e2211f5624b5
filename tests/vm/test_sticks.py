"""Sticks that come and go while the device works: pulled, put in again, two at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refdevice.machine import Stick
from refdevice.stickimage import FileSystem, make_stick
from tests.matrix import By, On, attack
from tests.vm import sticks, testbed
from tests.vm.steps import answer, await_commit, events, reason, receipts_on, signal

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest


@pytest.mark.smoke
def test_a_stick_is_pulled_and_another_one_goes_on_where_it_stopped(at_rest: Guest, tmp_path: Path) -> None:
    release = testbed.distant_release()
    at_rest.machine.plug(Stick(testbed.stick_image(tmp_path / "stick.img", release)))
    at_rest.expect("installing: 30 %")
    # What was read while verifying is in memory, and would be enough to go on with.
    at_rest.run("echo 3 >/proc/sys/vm/drop_caches")
    at_rest.machine.pull()
    gone = "The stick was removed, or answers no more."
    again = "Put a stick in again and leave it in until the signal changes; what is written already is kept."
    assert answer(at_rest) == f"failed: {gone} {again}"
    status = at_rest.status()
    assert (status["booted"], status["state"], status["last_event"]) == ("a", "idle", "interrupted")

    other = testbed.stick_image(tmp_path / "other.img", release, filesystem=FileSystem.EXFAT)
    at_rest.machine.plug(Stick(other, serial="0002"))
    assert await_commit(at_rest) == "done, remove"
    assert at_rest.status()["sequence"] == 2
    at_rest.machine.pull()

    # The log went onto exFAT, too.
    _, interrupted, committed = receipts = receipts_on(other)
    assert events(receipts) == ["provisioned", "interrupted", "committed"]
    assert interrupted.traffic is not None
    assert committed.traffic is not None
    assert committed.resumed
    # What the slot held already, from before or from the first stick, was not written again.
    assert interrupted.traffic.written > 0
    assert committed.traffic.written > 0
    assert committed.traffic.skipped >= interrupted.traffic.written + interrupted.traffic.skipped
    assert committed.traffic.equal > interrupted.traffic.equal


@attack(
    By.TECHNICIAN,
    On.SLOT,
    "the stick is changed for another while it is verified",
    "each byte is proven, and each stick gets an answer",
)
def test_a_stick_that_is_changed_for_another_while_it_is_verified_leaves_none_without_an_answer(
    at_rest: Guest, stick: Path, tmp_path: Path
) -> None:
    at_rest.machine.plug(Stick(stick))
    at_rest.expect("verifying: 20 %")
    at_rest.machine.pull()
    log_stick = sticks.small_stick(tmp_path / "log.img", sticks.log_folder())
    at_rest.machine.plug(Stick(log_stick, serial="0002"))
    said = answer(at_rest)
    assert said.startswith("refused, nothing changed: The stick was removed, or answers no more. Put the stick in again")
    assert answer(at_rest) == "done, remove"
    at_rest.machine.pull()
    # Nothing is said against the stick.
    _, refused = receipts = receipts_on(log_stick)
    assert events(receipts) == ["provisioned", "refused"]
    assert reason(refused) == "medium-gone"


def test_a_stick_that_is_pulled_before_it_is_mounted_leaves_no_busy_behind(at_rest: Guest, stick: Path) -> None:
    at_rest.machine.plug(Stick(stick))
    assert signal(at_rest) == "busy, do not remove"
    at_rest.machine.pull()
    assert not answer(at_rest).startswith("done")
    at_rest.run("systemctl is-system-running --wait; udevadm settle")
    assert '"busy"' not in at_rest.run("cat /run/usbupdate/status.json")


def test_two_sticks_at_once_are_taken_one_after_the_other_and_install_once(at_rest: Guest, stick: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    make_stick(other, testbed.stick_folder(testbed.next_release()), size=testbed.STICK_SIZE, volume_id=2)
    at_rest.machine.plug(Stick(stick))
    assert signal(at_rest) == "busy, do not remove"
    at_rest.machine.plug(Stick(other, serial="0002"), "second")
    assert signal(at_rest).startswith("busy, do not remove: ")
    # The restart ends the waiting one's service; after it both are found.
    assert await_commit(at_rest) == "done, remove"
    assert answer(at_rest) == "done, remove"
    status = at_rest.status()
    assert (status["booted"], status["state"], status["receipts"]) == ("b", "idle", 2)
    at_rest.machine.pull()
    at_rest.machine.pull("second")
    assert events(receipts_on(stick)) == events(receipts_on(other)) == ["provisioned", "committed"]
