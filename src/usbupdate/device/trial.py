"""The judge of a trial: the checks that no configuration can take away, then those that the owner configured.

A release that works and could not be updated again would be the last one of its device, so `device check` runs inside the new
release; where systemd starts the services, `boot-complete.target` must be reached. All share one deadline, counted from the
start of this boot.

Source: design, section 6.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate.core.plaintext import one_line
from usbupdate.core.receipt import Check, CheckResult
from usbupdate.device import process
from usbupdate.device.health import CHECKS_MAX, run_checks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usbupdate.device.configuration import Configuration
    from usbupdate.device.findings import Finding
    from usbupdate.device.ports import Clock

DEVICE_CHECK: Final = "device-check"
BOOT_COMPLETE: Final = "boot-complete"
BUILT_IN_MAX: Final = 64 - 2 - CHECKS_MAX
"""A receipt has room for 64 checks; the first are that of the stick's metadata, and the one by which a device may go back."""

_TARGET: Final = "boot-complete.target"
_RUNNING: Final = Path("/run/systemd/system")
_DETAIL_MAX: Final = 240
_ASK_S: Final = 10.0


class Start(Protocol):
    """Waits until the system has come up as a whole."""

    def __call__(self, limit_s: float) -> Check | None:
        """Return whether it has within `limit_s` seconds, as a check; None where nothing tells."""


class TrialJudge:
    """Implements `device.ports.Judge`.

    Args:
        configuration: which checks the owner wants, and how long all may take.
        clock: says how long ago this boot started.
        start: waits for the whole system; None where there is no such thing.
    """

    def __init__(self, configuration: Configuration, clock: Clock, start: Start | None = None) -> None:
        self._configuration = configuration
        self._clock = clock
        self._start = start

    def judge(self) -> tuple[Check, ...]:
        """Return every check's result, those that are built in first; see `device.ports.Judge`."""
        # Counted on from here by the same clock that process limits use: the first question sees the whole boot.
        deadline = time.monotonic() + self._configuration.health.timeout_s - self._clock.monotonic_ms() / 1000
        checks = list(self._device_checks())
        reached = None if self._start is None else self._start(deadline - time.monotonic())
        if reached is not None:
            checks.append(reached)
        return (*checks, *run_checks(self._configuration.health.checks, limit_s=deadline - time.monotonic()))

    def _device_checks(self) -> tuple[Check, ...]:
        try:
            from usbupdate.device.check import check_device  # noqa: PLC0415 - only a trial needs it, not every start
        except (ImportError, OSError, SyntaxError) as error:
            # The slot on trial may hold the program itself where it cannot be read: without an answer nobody would decide.
            return (Check(DEVICE_CHECK, CheckResult.FAILED, "not-started", one_line(str(error), _DETAIL_MAX)),)
        return checks_of(check_device(self._configuration.path))


def checks_of(findings: Iterable[Finding]) -> tuple[Check, ...]:
    """Return what `device check` found as a receipt states it: one check that passed, or one for each thing that is missing.

    What only should be there is not judged: a board without a hardware watchdog can be updated again.
    """
    missing = [finding for finding in findings if finding.is_missing]
    failed = [
        Check(f"{DEVICE_CHECK}: {finding.name}", CheckResult.FAILED, "not-in-order", _detail(finding)) for finding in missing
    ]
    # One place is left for the start of the system.
    room = BUILT_IN_MAX - 1
    if len(failed) > room:
        more = len(failed) - room + 1
        failed[room - 1 :] = [Check(DEVICE_CHECK, CheckResult.FAILED, "not-in-order", f"And {more} more.")]
    return tuple(failed) or (Check(DEVICE_CHECK, CheckResult.PASSED),)


def reach_boot_complete(limit_s: float, *, running: Path = _RUNNING, systemctl: str = "systemctl") -> Check | None:
    """Start `boot-complete.target`, wait until all that it requires is there, and ask whether it is reached; see `Start`.

    Where systemd does not run there is no such target, and nothing is asked.
    """
    if not running.is_dir():
        return None
    if limit_s <= 0:
        return Check(BOOT_COMPLETE, CheckResult.TIMED_OUT, "not-run", "No time was left when its turn came.")
    try:
        started = process.run([systemctl, "start", _TARGET], timeout_s=limit_s)
        if started.exit_code is None:
            return Check(BOOT_COMPLETE, CheckResult.TIMED_OUT, "no-answer-in-time", f"{_TARGET} was not reached in time.")
        asked = process.run([systemctl, "is-active", _TARGET], timeout_s=_ASK_S)
    except OSError as error:
        return Check(BOOT_COMPLETE, CheckResult.FAILED, "not-started", error.strerror or "")
    if started.succeeded and asked.succeeded:
        return Check(BOOT_COMPLETE, CheckResult.PASSED)
    said = started if not started.succeeded else asked
    return Check(BOOT_COMPLETE, CheckResult.FAILED, "not-reached", one_line(said.last_line, _DETAIL_MAX))


def _detail(finding: Finding) -> str:
    return one_line(f"{finding.text} {finding.advice}", _DETAIL_MAX)
