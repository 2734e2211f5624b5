"""The checks of a trial that no configuration can take away."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.receipts import draft
from usbupdate.core import statement
from usbupdate.core.receipt import NO_PREVIOUS, RECEIPT_SIZE_MAX, Check, CheckResult, Receipt
from usbupdate.core.words import DeviceId
from usbupdate.device.findings import Finding, Weight
from usbupdate.device.health import CHECKS_MAX, DETAILS_MAX
from usbupdate.device.trial import BUILT_IN_MAX, TrialJudge, checks_of, reach_boot_complete
from usbupdate.simulate import hardware
from usbupdate.simulate.hardware import HardwareClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.field import Field, Rig


def missing(name: str, text: str = "It is not there.") -> Finding:
    return Finding(name, ok=False, text=text, advice="Put it there.")


def test_a_device_that_is_in_order_passes_by_one_check() -> None:
    fine = [Finding(name, ok=True, text="fine") for name in ("udev rule", "units")]
    assert checks_of(fine) == (Check("device-check", CheckResult.PASSED),)


def test_what_is_missing_stands_in_the_receipt_by_its_name() -> None:
    (check,) = checks_of([Finding("units", ok=True, text=""), missing("udev rule", "Not installed: 90-usbupdate.rules.")])
    assert check.name == "device-check: udev rule"
    assert check.result is CheckResult.FAILED
    assert check.detail == "Not installed: 90-usbupdate.rules. Put it there."


def test_what_only_should_be_there_fails_no_trial() -> None:
    advised = replace(missing("watchdog"), weight=Weight.SHOULD)
    assert checks_of([advised]) == (Check("device-check", CheckResult.PASSED),)


def test_the_largest_trial_fits_a_receipt() -> None:
    built_in = checks_of([missing(f"thing {number}", "\N{SNOWMAN}" * 3000) for number in range(100)])
    assert len(built_in) == BUILT_IN_MAX - 1
    assert "And 88 more." in built_in[-1].detail
    configured = [Check(f"{'x' * 62}{number:02d}", CheckResult.FAILED, "exit-1") for number in range(CHECKS_MAX)]
    configured[0] = replace(configured[0], detail="\N{SNOWMAN}" * (DETAILS_MAX // 2))
    configured[1] = replace(configured[1], detail="\N{SNOWMAN}" * (DETAILS_MAX // 2))
    whole = (*built_in, Check("boot-complete", CheckResult.PASSED), *configured)
    receipt = Receipt(DeviceId("gw-1"), 1, NO_PREVIOUS, replace(draft(1), checks=whole))
    raw = statement.encode(receipt)
    assert len(raw) <= RECEIPT_SIZE_MAX
    assert statement.decode(raw) == receipt


@pytest.fixture
def systemctl(tmp_path: Path) -> Callable[[str], str]:
    """Return what makes a `systemctl` that logs what it is asked and then does something."""

    def make(does: str) -> str:
        program = tmp_path / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{does}\n')
        program.chmod(0o755)
        return str(program)

    return make


def test_the_system_has_come_up_when_its_target_is_reached(tmp_path: Path, systemctl: Callable[[str], str]) -> None:
    assert reach_boot_complete(20, running=tmp_path, systemctl=systemctl("exit 0")) == Check(
        "boot-complete", CheckResult.PASSED
    )
    assert (tmp_path / "asked").read_text() == "start boot-complete.target\nis-active boot-complete.target\n"


@pytest.mark.parametrize(
    ("does", "result", "reason"),
    [
        ("echo A dependency job failed.; exit 1", CheckResult.FAILED, "not-reached"),
        ("test $1 = start", CheckResult.FAILED, "not-reached"),
        ("exec tail -f /dev/null", CheckResult.TIMED_OUT, "no-answer-in-time"),
    ],
)
def test_a_system_that_does_not_come_up_fails_its_trial(
    tmp_path: Path, systemctl: Callable[[str], str], does: str, result: CheckResult, reason: str
) -> None:
    check = reach_boot_complete(1, running=tmp_path, systemctl=systemctl(does))
    assert check is not None
    assert (check.result, check.reason) == (result, reason)


def test_without_systemd_there_is_no_such_target(tmp_path: Path) -> None:
    assert reach_boot_complete(20, running=tmp_path / "none") is None


def test_a_system_without_systemctl_or_time_fails(tmp_path: Path) -> None:
    late = reach_boot_complete(0, running=tmp_path)
    gone = reach_boot_complete(20, running=tmp_path, systemctl=str(tmp_path / "none"))
    assert late is not None
    assert late.result is CheckResult.TIMED_OUT
    assert gone is not None
    assert gone.reason == "not-started"


def test_all_checks_share_one_deadline_from_the_start_of_the_boot(field: Field) -> None:
    field.rig.configure("timeout_s = 120", "timeout_s = 1")
    field.rig.script("health.d/10-a", "exit 0")
    here = hardware.load(field.rig.folder)
    late = HardwareClock(replace(here, started_ms=here.started_ms - 60_000))
    left: list[float] = []

    def start(limit_s: float) -> Check:
        left.append(limit_s)
        return Check("boot-complete", CheckResult.PASSED)

    checks = TrialJudge(field.rig.bench.configuration(), late, start).judge()
    assert left[0] < -50
    assert [(check.name, check.result) for check in checks] == [
        ("device-check", CheckResult.PASSED),
        ("boot-complete", CheckResult.PASSED),
        ("10-a", CheckResult.TIMED_OUT),
    ]


def test_a_release_that_could_be_updated_again_is_kept_and_its_receipt_says_so(field: Field) -> None:
    field.rig.update(field.good)
    assert [(check.name, check.result) for check in field.rig.receipts()[-1].draft.checks] == [
        ("metadata", CheckResult.PASSED),
        ("device-check", CheckResult.PASSED),
    ]


def _storage_fails(where: str) -> Callable[..., object]:
    """Return a `stat` of a storage that says nothing of one place."""
    real = Path.stat

    def stat(self: Path, **keywords: bool) -> os.stat_result:
        if self.name == where:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return real(self, **keywords)

    return stat


@attack(
    By.CHANCE,
    On.SERVICE,
    "storage that fails while a release is on trial",
    "what cannot be looked at is a check that failed, and the release is taken back",
)
@pytest.mark.parametrize("where", ["state", "reboot.d", "install.d", "health.d"])
def test_storage_that_fails_on_trial_is_a_check_that_failed(field: Field, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    rig = field.rig
    rig.insert(field.good)
    rig.remove()
    judge = TrialJudge.judge

    def judging(self: TrialJudge) -> tuple[Check, ...]:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "stat", _storage_fails(where))
            return judge(self)

    monkeypatch.setattr(TrialJudge, "judge", judging)
    rig.boot()
    assert rig.events()[-1] == "check-failed"
    assert rig.status()["booted"] == "a"
    assert any("Input/output error" in check.detail for check in rig.last().checks)


def test_a_program_that_cannot_be_loaded_on_trial_is_a_check_that_failed(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    field.rig.insert(field.good)
    field.rig.remove()
    monkeypatch.setitem(sys.modules, "usbupdate.device.check", None)
    field.rig.boot()
    assert field.rig.events()[-1] == "check-failed"
    assert [check.reason for check in field.rig.last().checks if check.name == "device-check"] == ["not-started"]


def _lose_root(rig: Rig) -> None:
    (rig.folder / "root.json").unlink()


def _open_gates(rig: Rig) -> None:
    rig.script("reboot.d/10-gate", "exit 0").chmod(0o777)


def _break_trust(rig: Rig) -> None:
    for path in (rig.folder / "state/trust").glob("*/root_history/*.root.json"):
        path.write_bytes(b"{}")


@pytest.mark.parametrize(
    ("harm", "name"), [(_lose_root, "configured root"), (_open_gates, "reboot gates"), (_break_trust, "stored root")]
)
def test_a_release_that_could_not_be_updated_again_is_rolled_back(field: Field, harm: Callable[[Rig], None], name: str) -> None:
    rig = field.rig
    rig.insert(field.good)
    rig.remove()
    # What the new release brings, or finds.
    harm(rig)
    rig.boot()
    assert rig.events()[-1] == "check-failed"
    assert rig.status()["booted"] == "a"
    failed = [check.name for check in rig.last().checks if check.result is not CheckResult.PASSED]
    assert failed == [f"device-check: {name}"]
