"""A virtual machine that falls silent where no code of ours runs yet is told from one that works, and reset."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from refdevice import hang
from refdevice.channels import listening
from refdevice.hang import has_hung, resetting_when_hung
from refdevice.machine import CONSOLE, WATCH

if TYPE_CHECKING:
    import socket
    from pathlib import Path


@pytest.mark.parametrize(
    "last",
    [
        b"[   28.724945] reboot: Restarting system\r\r\n",
        b"BdsDxe: starting Boot0001\r\n\x1b[2J\x1b[01;01H\r\n",
        b"Welcome to GRUB!\n\n",
        b"x" * 10_000 + b"\nWelcome to GRUB!\r\n",
    ],
)
def test_silence_before_the_boot_script_is_a_hang(tmp_path: Path, last: bytes) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(b"usbupdate: booting slot A\r\n" + last)
    assert has_hung(console, 0.0)
    assert not has_hung(console, 3600.0)


@pytest.mark.parametrize(
    "last", [b"", b"Welcome to GRUB!", b"Welcome to GRUB!\nusbupdate: booting slot A\n", b"device login: \n"]
)
def test_a_machine_that_runs_what_is_ours_or_is_in_the_middle_of_a_line_is_left_alone(tmp_path: Path, last: bytes) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(last)
    assert not has_hung(console, 0.0)
    assert not has_hung(tmp_path / "none.log", 0.0)


def test_a_machine_that_hangs_is_reset_once_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hang, "_LOOK_S", 0.01)
    monkeypatch.setattr(hang, "has_hung", lambda *_: True)
    told: list[str] = []
    is_told = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        is_told.set()

    with listening(tmp_path / WATCH) as control, resetting_when_hung(tmp_path, tell):
        connection, _ = control.accept()
        with connection:
            asked = _answer_twice(connection)
            assert is_told.wait(10)
    assert asked == ["qmp_capabilities", "system_reset"]
    assert len(told) == 1


def _answer_twice(connection: socket.socket) -> list[str]:
    """Answer as QEMU does, and return what was asked for."""
    asked = []
    with connection.makefile("rwb") as lines:
        lines.write(b'{"QMP": {}}\n')
        for _ in range(2):
            lines.flush()
            asked.append(json.loads(lines.readline())["execute"])
            lines.write(b'{"return": {}}\n')
    return asked


@pytest.mark.parametrize("hangs", [False, True])
def test_one_that_works_and_one_that_is_switched_off_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    monkeypatch.setattr(hang, "_LOOK_S", 0.0)
    monkeypatch.setattr(hang, "_HUNG_S", 0.0)
    looked = threading.Semaphore(0)

    def look(path: Path, _silence_s: float) -> bool:
        assert path == tmp_path / f"{CONSOLE}.log"
        looked.release()
        return hangs

    monkeypatch.setattr(hang, "has_hung", look)
    with resetting_when_hung(tmp_path, pytest.fail):
        assert all(looked.acquire(timeout=10) for _ in range(3))
