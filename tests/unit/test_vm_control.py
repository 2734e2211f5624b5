"""The control command of the virtual device, without a machine: what it refuses, what it remembers, and what it waits for."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from refdevice import control
from refdevice.channels import listening
from refdevice.kept import KeptDevice
from refdevice.machine import QMP
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY = "[   10.1] usbupdate[278]: busy, do not remove\n"
DONE = "[   90.2] usbupdate[301]: done, remove\r\n"
REFUSED = "[   50.3] usbupdate[278]: refused, nothing changed: It is for other hardware.\n"
UP = "[   14.4] systemd[1]: usbupdate-boot.service: Deactivated successfully.\n"


def run(*arguments: str | Path) -> int:
    return control.main([str(each) for each in arguments])


@pytest.fixture
def device(tmp_path: Path) -> Path:
    folder = tmp_path / "device"
    folder.mkdir()
    return folder


@pytest.fixture
def switched_on(device: Path) -> Iterator[Path]:
    """A device whose machine is this process: it is there, and says what the test writes into its journal."""
    (device / "qemu.pid").write_text(f"{os.getpid()}\n")
    (device / "since").write_text("0\n")
    (device / "journal.log").touch()
    with listening(device / QMP) as machine:
        machine.listen(socket.SOMAXCONN)
        yield device


@pytest.mark.parametrize(
    "command", [["start"], ["power-cut"], ["status"], ["pull"], ["wait", "done"], ["run", "true"], ["log"]]
)
def test_what_a_device_that_is_off_cannot_do_is_refused_with_advice(
    command: list[str], device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, device) == ExitCode.INPUT
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usbupdate-vm" in shown.err


def test_a_stick_that_is_put_into_a_device_that_is_off_is_in_at_the_next_start(device: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    stick.touch()
    assert run("plug", stick, device) == ExitCode.OK
    assert KeptDevice(device).stick() == stick
    assert run("plug", stick, device) == ExitCode.INPUT
    assert run("pull", device) == ExitCode.OK
    assert KeptDevice(device).stick() is None


def test_a_stick_that_is_not_there_is_named(device: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plug", tmp_path / "missing.img", device) == ExitCode.INPUT
    assert "missing.img" in capsys.readouterr().err


def test_a_device_is_not_built_over_another(device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (device / "disk.raw").write_bytes(b"somebody's device")
    (tmp_path / "root.json").touch()
    monkeypatch.setattr(control, "_prepare", lambda _root: None)
    assert run("build", "--root", tmp_path / "root.json", device) == ExitCode.INPUT
    assert (device / "disk.raw").read_bytes() == b"somebody's device"


def test_an_office_that_is_not_there_is_named(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "--root", "nowhere/1.root.json", device) == ExitCode.INPUT
    assert "nowhere/1.root.json" in capsys.readouterr().err


def test_waiting_ends_with_the_signal_and_shows_what_came_before(switched_on: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (switched_on / "journal.log").write_text(UP + BUSY + DONE)
    assert run("wait", "done", switched_on) == ExitCode.OK
    assert capsys.readouterr().out == "busy, do not remove\ndone, remove\n"


def test_waiting_for_another_signal_ends_when_the_device_is_through(
    switched_on: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (switched_on / "journal.log").write_text(BUSY + REFUSED)
    assert run("wait", "done", switched_on) == ExitCode.INPUT
    shown = capsys.readouterr()
    assert "It is for other hardware." in shown.out
    assert "'done'" in shown.err


def test_a_signal_from_before_the_stick_is_not_taken_for_its_own(switched_on: Path) -> None:
    (switched_on / "journal.log").write_text(DONE + REFUSED)
    (switched_on / "since").write_text(f"{len(DONE)}\n")
    assert run("wait", "refused", switched_on) == ExitCode.OK


def test_waiting_has_an_end(switched_on: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (switched_on / "journal.log").write_text(BUSY)
    assert run("wait", "done", switched_on, "--limit", "0.2") == ExitCode.INPUT
    assert "0.2 seconds" in capsys.readouterr().err


def test_a_device_is_up_when_it_has_confirmed_its_boot(switched_on: Path) -> None:
    (switched_on / "journal.log").write_text(DONE + UP)
    assert run("wait", "up", switched_on) == ExitCode.OK


def test_a_stick_that_comes_back_holds_what_was_put_onto_it(tmp_path: Path) -> None:
    (tmp_path / "folder/usbupdate").mkdir(parents=True)
    (tmp_path / "folder/usbupdate/READ-ME.txt").write_text("what this stick is")
    assert run("stick", tmp_path / "folder", tmp_path / "stick.img") == ExitCode.OK
    assert run("unstick", tmp_path / "stick.img", tmp_path / "back") == ExitCode.OK
    assert (tmp_path / "back/usbupdate/READ-ME.txt").read_text() == "what this stick is"
    assert run("unstick", tmp_path / "folder/usbupdate/READ-ME.txt", tmp_path / "other") == ExitCode.MEDIUM
