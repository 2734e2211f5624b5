"""Sticks that take no log: nothing is lost, and the update does not depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refdevice.machine import Stick
from refdevice.stickimage import FileSystem, Fill
from tests.vm import sticks
from tests.vm.steps import answer, await_commit, events, receipts_on

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest


def test_a_write_protected_stick_updates_and_the_next_one_gets_the_receipts(
    at_rest: Guest, stick: Path, tmp_path: Path
) -> None:
    before = stick.read_bytes()
    at_rest.machine.plug(Stick(stick, read_only=True))
    assert "cannot be written to" in (said := await_commit(at_rest))
    assert said.startswith("done, remove: ")
    status = at_rest.status()
    assert (status["booted"], status["state"], status["last_event"]) == ("b", "idle", "committed")
    at_rest.machine.pull()
    assert stick.read_bytes() == before

    _bring_receipts_home(at_rest, tmp_path, "committed")


@pytest.mark.parametrize("filesystem", [FileSystem.FAT32, FileSystem.EXFAT])
def test_a_full_stick_loses_no_receipt(at_rest: Guest, tmp_path: Path, filesystem: FileSystem) -> None:
    full = sticks.small_stick(tmp_path / "full.img", sticks.other_hardware_folder(), filesystem=filesystem, fill=Fill.TAKE_ALL)
    at_rest.machine.plug(Stick(full))
    assert "does not fit onto the stick" in (said := answer(at_rest))
    assert said.startswith("refused, nothing changed: The bundle another 9.0 is not for this hardware")
    at_rest.machine.pull()

    _bring_receipts_home(at_rest, tmp_path, "refused")


def _bring_receipts_home(guest: Guest, folder: Path, last: str) -> None:
    """Put a stick in that takes receipts, and hold that it gets all."""
    log_stick = sticks.small_stick(folder / "log.img", sticks.log_folder())
    guest.machine.plug(Stick(log_stick, serial="0002"))
    assert answer(guest) == "done, remove"
    guest.machine.pull()
    assert events(receipts_on(log_stick)) == ["provisioned", last]
