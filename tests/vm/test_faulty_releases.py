"""Releases that should have been better: each ends with the old release running, and with a receipt that says why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from refdevice.machine import Stick
from refdevice.release import Fault
from tests.vm import testbed
from tests.vm.steps import answer, await_commit, events, reason, receipts_on

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest

SHORT_DEAD_MAN: Final = (
    "etc/systemd/system/usbupdate-deadman.timer.d/limit.conf",
    "[Timer]\nOnBootSec=\nOnBootSec=90s\nAccuracySec=1s\n",
)
"""Twenty minutes are right on a board; here they would only be waited for."""

SETTINGS: Final = {Fault.AGENT_RAISES: (SHORT_DEAD_MAN,)}

FALLS_BACK: Final = [
    pytest.param(Fault.PANICS, marks=pytest.mark.smoke),
    Fault.HANGS,
    Fault.NO_ROOT,
    Fault.EMERGENCY,
    Fault.AGENT_RAISES,
]
"""Nobody in them judges anything: the boot loader counts, and something restarts them."""


@pytest.mark.parametrize("fault", FALLS_BACK)
def test_a_release_that_does_not_come_up_is_left_by_the_boot_loader(at_rest: Guest, tmp_path: Path, fault: Fault) -> None:
    stick = testbed.stick_image(tmp_path / "stick.img", testbed.next_release(fault, settings=SETTINGS.get(fault, ())))
    at_rest.machine.plug(Stick(stick))
    for left in (2, 1, 0):
        at_rest.expect_boot(f"B, on trial, {left} tries left")
    at_rest.expect_boot("A")
    assert answer(at_rest).startswith("failed: ")
    assert_back_on_first(at_rest)
    at_rest.machine.pull()
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "rolled-back"]


def test_a_release_without_its_boot_unit_is_left_when_no_stick_starts_anything_either(at_rest: Guest, tmp_path: Path) -> None:
    release = testbed.next_release(Fault.NO_BOOT_UNIT, settings=(SHORT_DEAD_MAN,))
    at_rest.machine.plug(Stick(testbed.stick_image(tmp_path / "stick.img", release)))
    at_rest.expect_boot("B, on trial, 2 tries left")
    at_rest.machine.pull()
    for left in (1, 0):
        at_rest.expect_boot(f"B, on trial, {left} tries left")
    at_rest.expect_boot("A")
    at_rest.expect_shell()
    at_rest.run("systemctl is-system-running --wait || true")
    assert_back_on_first(at_rest)
    assert at_rest.status()["last_event"] == "rolled-back"


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        pytest.param(Fault.UNHEALTHY, "10-machine", marks=pytest.mark.smoke),
        pytest.param(Fault.NO_UDEV_RULE, "90-usbupdate.rules", marks=pytest.mark.smoke),
        # The stick that stayed in starts its own service, which finds the trial and judges it.
        (Fault.NO_BOOT_UNIT, "usbupdate-boot.service"),
    ],
)
def test_a_release_that_comes_up_and_is_not_good_gives_itself_up(
    at_rest: Guest, tmp_path: Path, fault: Fault, named: str
) -> None:
    stick = testbed.stick_image(tmp_path / "stick.img", testbed.next_release(fault))
    at_rest.machine.plug(Stick(stick))
    at_rest.expect_boot("B, on trial, 2 tries left")
    at_rest.expect_boot("A")
    assert answer(at_rest).startswith("failed: ")
    assert_back_on_first(at_rest)
    at_rest.machine.pull()
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "check-failed"]
    assert named in str(receipts[-1].checks)
    assert reason(receipts[-1])


def test_after_a_release_that_was_given_up_the_next_one_is_installed(at_rest: Guest, tmp_path: Path) -> None:
    bad = testbed.next_release(Fault.UNHEALTHY)
    first = testbed.stick_image(tmp_path / "first.img", bad)
    at_rest.machine.plug(Stick(first))
    at_rest.expect_boot("B, on trial")
    at_rest.expect_boot("A")
    assert answer(at_rest).startswith("failed: ")
    assert_back_on_first(at_rest)
    at_rest.machine.pull()

    second = testbed.stick_image(tmp_path / "second.img", bad, replace(testbed.next_release(), version="3.0", sequence=3))
    at_rest.machine.plug(Stick(second, serial="0002"))
    assert await_commit(at_rest) == "done, remove"
    status = at_rest.status()
    assert (status["booted"], status["state"], status["sequence"], status["receipts"]) == ("b", "idle", 3, 3)
    at_rest.machine.pull()
    assert events(receipts_on(second)) == ["provisioned", "check-failed", "committed"]


def assert_back_on_first(guest: Guest) -> None:
    guest.expect_shell()
    guest.run("systemctl is-system-running --wait || true; usbupdate device check")
    status = guest.status()
    assert (status["booted"], status["state"], status["sequence"], status["receipts"]) == ("a", "idle", 1, 2)
