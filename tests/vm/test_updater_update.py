"""A release brings another usbupdate: the new one judges its own trial, the old one takes over where that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refdevice.machine import Stick
from refdevice.release import Fault
from tests.matrix import By, On, attack
from tests.vm import testbed, updaters
from tests.vm.steps import answer, await_commit, boot_memory, events, receipts_on

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest
    from tests.vm.conftest import StartDevice


def test_another_updater_judges_its_own_trial_and_stays(at_rest: Guest, tmp_path: Path) -> None:
    before = version(at_rest)
    stick = testbed.stick_image(tmp_path / "stick.img", testbed.next_release(system=updaters.later_system()))
    at_rest.machine.plug(Stick(stick))
    assert await_commit(at_rest) == "done, remove"
    assert before != version(at_rest) == updaters.LATER
    at_rest.machine.pull()
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "committed"]
    # Decided in this boot, in which no other updater is there.
    assert receipts[1].moment.boot_id == boot_id(at_rest)


@attack(By.SIGNER, On.SERVICE, "an update of the updater itself that is no good", "the new agent judges, the old one goes on")
def test_another_updater_gives_an_unhealthy_release_up_and_the_old_one_goes_on(at_rest: Guest, tmp_path: Path) -> None:
    before = version(at_rest)
    unhealthy = testbed.next_release(Fault.UNHEALTHY, system=updaters.later_system())
    stick = testbed.stick_image(tmp_path / "stick.img", unhealthy)
    at_rest.machine.plug(Stick(stick))
    at_rest.expect_boot("B, on trial")
    at_rest.expect_boot("A")
    assert answer(at_rest).startswith("failed: ")
    at_rest.expect_shell()
    assert version(at_rest) == before != updaters.LATER
    at_rest.run("systemctl is-system-running --wait; usbupdate device check")
    status = at_rest.status()
    assert (status["booted"], status["state"], status["sequence"], status["receipts"]) == ("a", "idle", 1, 2)
    at_rest.machine.pull()
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "check-failed"]
    assert "10-machine" in {check.name for check in receipts[1].checks}


def test_an_updater_from_the_past_is_updated_and_one_release_back_to_it_is_given_up(
    start_device: StartDevice, tmp_path: Path
) -> None:
    device = start_device(disk=testbed.overlay(updaters.frozen_device(), tmp_path / "disk.qcow2"))
    device.machine.run()
    device.expect("The device reference-1 is ready")
    device.expect_shell()
    device.run("systemctl start usbupdate-boot.service; systemctl is-system-running --wait; sync")
    assert version(device) == updaters.FROZEN

    # The old one installs, the new one finds the old one's state, trust and receipts, and decides.
    newer = updaters.later_release_under_rauc()
    first = testbed.stick_image(tmp_path / "first.img", newer)
    device.machine.plug(Stick(first))
    # That one says so only once systemd ends it, and is not heard any more.
    device.expect_boot("B, its only try is used")
    assert answer(device) == "done, remove"
    device.expect_shell()
    assert version(device) == updaters.LATER
    device.run("systemctl is-system-running --wait; usbupdate device check")
    assert boot_memory(device).items() >= {"ORDER": "B A", "B_OK": "1", "B_TRY": "0"}.items()
    status = device.status()
    assert (status["device"], status["booted"], status["state"], status["sequence"]) == ("reference-1", "b", "idle", 2)
    device.machine.pull()
    assert events(receipts_on(first)) == ["provisioned", "committed"]

    # The new one installs, the old one finds the new one's state and gives the release up.
    back = testbed.stick_image(tmp_path / "back.img", newer, updaters.frozen_release("3.0", 3, Fault.UNHEALTHY))
    device.machine.plug(Stick(back, serial="0002"))
    device.expect("restarting, leave it in")
    device.expect_boot("A, its only try is used")
    device.expect_boot("B, its only try is used")
    assert answer(device).startswith("failed: ")
    device.expect_shell()
    assert version(device) == updaters.LATER
    device.run("systemctl is-system-running --wait; usbupdate device check")
    assert boot_memory(device).items() >= {"A_OK": "0", "B_OK": "1", "B_TRY": "0"}.items()
    status = device.status()
    assert (status["booted"], status["state"], status["sequence"], status["receipts"]) == ("b", "idle", 2, 3)
    device.machine.pull()
    assert events(receipts_on(back)) == ["provisioned", "committed", "check-failed"]


def version(guest: Guest) -> str:
    """Return the version of the usbupdate that is running."""
    return guest.run("usbupdate --version").split()[-1]


def boot_id(guest: Guest) -> str:
    """Return what names this boot and no other."""
    return guest.run("cat /proc/sys/kernel/random/boot_id").strip()
