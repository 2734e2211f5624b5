"""The monitor for systems without systemd takes what the rule would announce, one stick after the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.policy import Insertion
from usbupdate.device.monitor import Block, UdevSticks, is_stick, keep_watch
from usbupdate.device.obligations import Rest
from usbupdate.errors import ProgramMissingError

from .test_system_files import WANTS, follow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.field import Field

SDA1, SDB1 = Path("/dev/sda1"), Path("/dev/sdb1")


class EndError(Exception):
    """Nothing more will ever be plugged in."""


class Port:
    """A machine: what is in between one wait and the next."""

    def __init__(self, *moments: Mapping[Path, str]) -> None:
        self._moments = list(moments)

    def present(self) -> Mapping[Path, str]:
        return self._moments[0]

    def wait(self) -> None:
        del self._moments[0]
        if not self._moments:
            raise EndError


def watch(port: Port, how_it_came: Insertion = Insertion.NEW) -> list[tuple[Path, Insertion]]:
    taken: list[tuple[Path, Insertion]] = []

    def take(source: Path, insertion: Insertion) -> Rest:
        taken.append((source, insertion))
        return Rest.IDLE

    with pytest.raises(EndError):
        keep_watch(port, take, lambda _: how_it_came)
    return taken


def test_the_monitor_takes_what_the_rule_announces() -> None:
    usages, tables = ["", "filesystem", "crypto", "raid", "other"], ["", "dos", "gpt"]
    kinds = [("disk", 0), *(("partition", number) for number in (1, 9, 10, 16, 17, 20, 100, 256))]
    for bus, behind_usb, (kind, number), usage, table, size in product(
        ["", "usb", "ata"], [False, True], kinds, usages, tables, [0, 2048]
    ):
        device = {
            "ACTION": "add",
            "SUBSYSTEM": "block",
            "ENV{ID_BUS}": bus,
            "ENV{DEVTYPE}": kind,
            "ENV{ID_FS_USAGE}": usage,
            "ENV{ID_PART_TABLE_TYPE}": table,
            "ATTR{size}": str(size),
        } | ({"ATTR{partition}": str(number)} if number else {})
        block = Block(behind_usb or bus == "usb", kind, usage, table, size, number)
        assert is_stick(block) is (WANTS in follow(device, behind_usb=behind_usb)), block


def test_what_is_in_at_the_start_was_found_and_what_comes_later_is_new() -> None:
    taken = watch(Port({SDA1: "1"}, {SDA1: "1"}, {SDA1: "1", SDB1: "2"}, {}))
    assert taken == [(SDA1, Insertion.FOUND), (SDB1, Insertion.NEW)]


def test_a_stick_that_is_put_in_again_is_new_whatever_its_name() -> None:
    taken = watch(Port({}, {SDA1: "1"}, {SDA1: "2"}, {}, {SDA1: "3"}))
    assert taken == [(SDA1, Insertion.NEW)] * 3


def test_a_stick_that_stayed_in_and_appears_after_the_first_look_is_not_new() -> None:
    """Else a release that hangs would be installed anew at every start, for ever."""
    taken = watch(Port({}, {SDA1: "1"}, {}, {SDA1: "2"}), Insertion.FOUND)
    assert taken == [(SDA1, Insertion.FOUND), (SDA1, Insertion.NEW)]


def test_a_restart_ends_the_watch() -> None:
    keep_watch(Port({SDA1: "1", SDB1: "2"}), lambda *_: Rest.REBOOTING)


def test_an_internal_disk_is_never_among_the_sticks() -> None:
    try:
        sticks = UdevSticks(("vfat",))
    except (ProgramMissingError, OSError) as error:
        pytest.skip(f"no udev here: {error}")
    for path in sticks.present():
        assert re.search(r"/usb[0-9]+/", str(Path("/sys/class/block", path.name).resolve()))


def test_the_monitor_ends_in_order_when_it_is_told_to(field: Field) -> None:
    code = (
        "import sys\n"
        "from usbupdate.device import monitor\n"
        "class Nothing:\n"
        "    def __init__(self, allowed): assert 'vfat' in allowed\n"
        "    def present(self): return {}\n"
        "    def wait(self):\n"
        "        print('waiting', flush=True)\n"
        "        sys.stdin.read()\n"
        "from usbupdate.cli import device\n"
        "device.UdevSticks = Nothing\n"
        "from usbupdate.cli.main import run\n"
        "run()\n"
    )
    argv = [sys.executable, "-c", code, "device", "monitor", "--config", str(field.rig.folder / "device.toml")]
    running = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"waiting\n"
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, b"")
