"""A newcomer types `make vm`, follows what stands on the screen, and pulls the power cord in between."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final

import pexpect
import pytest

from tests.source import CHECKOUT
from tests.vm.steps import events, receipts_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUILD_S: Final = 900.0
_BOOT_S: Final = 300.0
_UPDATE_S: Final = 600.0
_LINE_LENGTH: Final = 500
"""No line is broken, so that each can be read as it was printed."""


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[pexpect.spawn[str]]:
    argv = ["vm", f"VM_DIR={tmp_path}/"]
    child = pexpect.spawn(
        "make", argv, cwd=str(CHECKOUT), encoding="utf-8", codec_errors="replace", dimensions=(50, _LINE_LENGTH)
    )
    with (tmp_path / "screen.log").open("w", encoding="utf-8") as log:
        child.logfile_read = log
        yield child
        child.close(force=True)
    # Where the test failed half-way, the machine may live on.
    subprocess.run([CHECKOUT / "images/usbupdate-vm", "power-cut", tmp_path / "vm-device"], check=False, capture_output=True)


def instruction(screen: pexpect.spawn[str], words: str, limit_s: float) -> str:
    """Return the next command line on the screen that has these words."""
    screen.expect(rf"(\S*usbupdate-vm {words}[^\r\n]*?)(?:   |\r)", timeout=limit_s)
    assert isinstance(screen.match, re.Match)
    return str(screen.match[1])


def type_elsewhere(line: str) -> None:
    done = subprocess.run(["bash", "-euc", line], cwd=CHECKOUT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.smoke
def test_what_stands_on_the_screen_leads_through_an_update_and_a_power_cut(screen: pexpect.spawn[str], tmp_path: Path) -> None:
    first = instruction(screen, "plug", _BUILD_S)
    plug = instruction(screen, "plug", _BOOT_S)
    assert plug == first
    cut = instruction(screen, "power-cut", _BOOT_S)
    type_elsewhere(plug)
    screen.expect("usbupdate says: busy", timeout=_BOOT_S)

    type_elsewhere(cut)
    screen.expect("Enter switches the device on again", timeout=_BOOT_S)
    # It waits for the person, on a terminal that shows what is typed.
    assert screen.isalive()
    assert screen.getecho()
    screen.sendline()
    screen.expect("The device is up", timeout=_BOOT_S)

    screen.expect("usbupdate says: done, remove", timeout=_UPDATE_S)
    way_home = instruction(screen, "pull", _BOOT_S)
    type_elsewhere(way_home)
    assert (tmp_path / "vm-returned/usbupdate/logs").is_dir()
    assert events(receipts_on(tmp_path / "vm-stick.img")) == ["provisioned", "committed"]

    screen.send("\x01x")
    screen.expect("The device is switched off", timeout=_BOOT_S)
    screen.expect(pexpect.EOF)
    screen.wait()
    assert screen.exitstatus == 0
