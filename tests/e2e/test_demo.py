"""The demonstration, which checks itself, and what a person sees of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from usbupdate.cli.demo.stage import Stage
from usbupdate.device import process
from usbupdate.errors import DemoClaimError, ExitCode

if TYPE_CHECKING:
    from pathlib import Path

ENDS_S = 240.0


def test_the_demonstration_shows_the_whole_job_and_every_claim_holds(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    finished = process.run(
        [sys.executable, "-m", "usbupdate", "demo", "--dir", str(folder)], timeout_s=ENDS_S, output_limit=1 << 20
    )
    told = finished.output.decode()
    assert finished.exit_code == ExitCode.OK, told
    for promised in (
        "committed",
        "rolled-back",
        "power is cut",
        "flipped bit",
        "older stick: policy says no",
        "the auditor is told which: receipt",
    ):
        assert promised in told
    assert told.count("\N{CHECK MARK}") >= 20
    # Everything lies in its folder, what is kept for the next bundle too.
    assert (folder / "cache" / "usbupdate" / "frames").is_dir()
    assert "Traceback" not in told


def test_a_claim_that_is_not_true_ends_the_demonstration(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "demo", sys.stdout)
    with pytest.raises(DemoClaimError) as caught:
        stage.claim("slot b holds release 1.1", found="ab", expected="cd")
    assert caught.value.exit_code is ExitCode.DEMO
    assert stage.claims == 0


def test_a_command_that_ends_otherwise_ends_the_demonstration(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "demo", sys.stdout)
    with pytest.raises(DemoClaimError):
        stage.run("stick inspect nowhere", code=0)
