"""The gates that the documents give as examples are programs, and do what they say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from usbupdate.device.health import Gate, ask_gates

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "reboot.d"
GO, LATER, REFUSED = 0, 75, 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('s ""', GO),
        ('s "sleep"', GO),
        ('s "idle:handle-lid-switch"', GO),
        ('s "shutdown"', LATER),
        ('s "shutdown:sleep"', LATER),
        ('s "sleep:shutdown:idle"', LATER),
        ('s "sleep:shutdown"', LATER),
        ("", LATER),
        ("b true", LATER),
    ],
)
def test_a_program_that_blocks_the_shutdown_puts_the_restart_off(tmp_path: Path, answer: str, expected: int) -> None:
    assert _inhibitors(tmp_path, f"echo '{answer}'") == expected


def test_a_logind_that_does_not_answer_puts_the_restart_off(tmp_path: Path) -> None:
    assert _inhibitors(tmp_path, "exit 1") == LATER


def _inhibitors(folder: Path, does: str) -> int:
    stand_in = folder / "busctl"
    stand_in.write_text(f'#!/bin/sh\ntest "$6" = BlockInhibited || exit 9\n{does}\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([EXAMPLES / "20-inhibitors"], env=environment, check=False, capture_output=True).returncode


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        ("02:00-04:00", "02:00", GO),
        ("02:00-04:00", "03:59", GO),
        ("02:00-04:00", "04:00", LATER),
        ("02:00-04:00", "01:59", LATER),
        ("22:00-05:30", "23:59", GO),
        ("22:00-05:30", "00:00", GO),
        ("22:00-05:30", "05:29", GO),
        ("22:00-05:30", "05:30", LATER),
        ("22:00-05:30", "12:00", LATER),
        ("08:09-09:08", "08:30", GO),
        ("00:00-23:59", "12:00", GO),
        ("12:00-12:00", "12:00", LATER),
        ("2:00-4:00", "03:00", REFUSED),
        ("25:00-26:00", "03:00", REFUSED),
        ("", "03:00", REFUSED),
        ("always", "03:00", REFUSED),
    ],
)
def test_the_machine_restarts_in_its_window_only(tmp_path: Path, window: str, now: str, expected: int) -> None:
    file = tmp_path / "window"
    file.write_text(f"{window}\n")
    assert subprocess.run([EXAMPLES / "30-time-window", file, now], check=False, capture_output=True).returncode == expected


def test_without_a_file_the_window_is_the_one_in_the_gate(tmp_path: Path) -> None:
    gate = EXAMPLES / "30-time-window"
    for now, expected in (("03:00", GO), ("05:00", LATER)):
        assert subprocess.run([gate, tmp_path / "none", now], check=False, capture_output=True).returncode == expected


def test_the_agent_would_run_the_examples(tmp_path: Path) -> None:
    folder = tmp_path / "reboot.d"
    folder.mkdir()
    for example in EXAMPLES.iterdir():
        (folder / example.name).write_bytes(example.read_bytes())
        (folder / example.name).chmod(0o755)
    verdict = ask_gates(folder, limit_s=20)
    # No logind listens on a build machine, or nobody inhibits it; the second gate goes by the clock.
    assert verdict.gate in {Gate.GO, Gate.LATER}
    assert verdict.asked[0].name == "20-inhibitors"
