"""Checks and gates: folders of executables that the owner of the device puts there, run in name order with a time limit.

They run as root, so a folder or file that others may change is not run: on trial that fails the check, at a gate it refuses.

Source: design, sections 6 and 9.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from usbupdate.core.plaintext import printable
from usbupdate.core.receipt import DETAIL_MAX, Check, CheckResult
from usbupdate.device import process
from usbupdate.device.exposure import changeable

if TYPE_CHECKING:
    from pathlib import Path

CHECKS_MAX: Final = 48
"""A receipt has room for 64 checks, and those that are built in need some of it."""
DETAILS_MAX: Final = 2 * DETAIL_MAX
"""Characters of output kept of all checks together, so that the receipt stays under its own limit."""

_LATER: Final = 75  # EX_TEMPFAIL
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_BACKUP: Final = re.compile(r"(?:\..*|.*~|.*\.(?:bak|orig|rej|swp|tmp|disabled|rpmnew|rpmorig|rpmsave|dpkg-[a-z]+))", re.DOTALL)


class Gate(StrEnum):
    """What a folder of gates says."""

    GO = "go"
    LATER = "later"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What a folder of gates says, and each gate that was asked; the last one is the one that did not say go."""

    gate: Gate
    asked: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class _Unsafe:
    """Why a folder is not run at all."""

    reason: str
    detail: str


def run_checks(folder: Path | None, *, limit_s: float) -> tuple[Check, ...]:
    """Run every check of a folder and return what became of each; no folder means no checks.

    A check that fails does not keep the others from running: the engineer who reads the receipt wants all of them.

    Args:
        folder: the configured folder, if any.
        limit_s: seconds for all checks together. What is left when a check's turn comes is its time limit.
    """
    found = _executables(folder)
    if isinstance(found, _Unsafe):
        return (_folder_check(folder, found),)
    deadline = time.monotonic() + limit_s
    checks = []
    details_left = DETAILS_MAX
    for executable in found:
        check, _ = _run(executable, deadline)
        kept = check.detail[-details_left:] if details_left else ""
        details_left -= len(kept)
        checks.append(replace(check, detail=kept))
    return tuple(checks)


def ask_gates(folder: Path | None, *, limit_s: float) -> GateVerdict:
    """Ask every gate of a folder until one does not say go: exit code 0 is go, 75 is later, anything else is a refusal.

    Args:
        folder: the configured folder, if any; no folder means go.
        limit_s: seconds for all gates together; one that gives no answer in time refuses.
    """
    found = _executables(folder)
    if isinstance(found, _Unsafe):
        return GateVerdict(Gate.REFUSE, (_folder_check(folder, found),))
    deadline = time.monotonic() + limit_s
    asked: list[Check] = []
    for executable in found:
        check, exit_code = _run(executable, deadline)
        if exit_code == _LATER:
            return GateVerdict(Gate.LATER, (*asked, replace(check, reason="later")))
        asked.append(check)
        if check.result is not CheckResult.PASSED:
            return GateVerdict(Gate.REFUSE, tuple(asked))
    return GateVerdict(Gate.GO, tuple(asked))


def folder_problem(folder: Path | None) -> str:
    """Return why a folder of checks or gates would not be run, or nothing if it would; nothing is run."""
    found = _executables(folder)
    return found.detail if isinstance(found, _Unsafe) else ""


def _run(executable: Path, deadline: float) -> tuple[Check, int | None]:
    """Run one executable; return its check, with output only if it did not pass, and its exit code if it had one."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        return Check(executable.name, CheckResult.TIMED_OUT, "not-run", "No time was left when its turn came."), None
    try:
        finished = process.run([executable], timeout_s=left_s)
    except OSError as error:
        return Check(executable.name, CheckResult.FAILED, "not-started", error.strerror or ""), None
    if finished.exit_code == 0:
        return Check(executable.name, CheckResult.PASSED), 0
    detail = _readable(finished.output)
    if finished.exit_code is None:
        return Check(executable.name, CheckResult.TIMED_OUT, "no-answer-in-time", detail), None
    reason = f"exit-{finished.exit_code}" if finished.exit_code > 0 else f"signal-{-finished.exit_code}"
    return Check(executable.name, CheckResult.FAILED, reason, detail), finished.exit_code


def _executables(folder: Path | None) -> list[Path] | _Unsafe:
    """Return what is to be run, in name order, or why nothing of it may be."""
    if folder is None:
        return []
    try:
        if problem := _unsafe(folder):
            return problem
        entries = sorted(entry for entry in folder.iterdir() if not _BACKUP.fullmatch(entry.name))
        found = [entry for entry in entries if entry.is_file() and entry.stat().st_mode & 0o111]
        for entry in found:
            # Skipping it in silence would be a check that its author believes in and that never runs.
            if not _NAME.fullmatch(entry.name):
                return _Unsafe("name-unusable", "An executable's name is not letters, digits and . _ + - (64 at most).")
            if problem := _unsafe(entry):
                return problem
    except FileNotFoundError:
        # No folder: no checks. An entry that has just gone is as good as one that goes a moment later.
        return [] if _is_missing(folder) else _Unsafe("folder-unreadable", "It changed while it was read.")
    except OSError as error:
        return _Unsafe("folder-unreadable", error.strerror or "It cannot be read.")
    if len(found) > CHECKS_MAX:
        return _Unsafe("too-many", f"More than {CHECKS_MAX} executables.")
    return found


def _is_missing(folder: Path) -> bool:
    """Tell whether there is no such folder; where that cannot be told there may be one, and checks in it."""
    try:
        folder.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _unsafe(path: Path) -> _Unsafe | None:
    """Return why somebody besides root and the user who runs this could change what is run."""
    found = changeable(path)
    return None if found is None else _Unsafe(found.reach, found.text)


def _folder_check(folder: Path | None, unsafe: _Unsafe) -> Check:
    name = "" if folder is None else _readable(os.fsencode(folder.name))
    return Check(name[:200], CheckResult.FAILED, unsafe.reason, unsafe.detail)


def _readable(output: bytes) -> str:
    """Return the last characters of some output, with nothing in them that could steer a terminal."""
    text = output.decode("utf-8", errors="replace").replace("\r\n", "\n").strip()
    return printable(text[-DETAIL_MAX:], DETAIL_MAX, besides="\n\t")
