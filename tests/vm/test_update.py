"""A stick is put in and all goes well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refdevice.machine import Stick
from refdevice.stickimage import read_stick
from tests.vm import testbed

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest


@pytest.mark.smoke
def test_a_stick_is_put_in_and_the_release_is_committed_once(at_rest: Guest, stick: Path, tmp_path: Path) -> None:
    at_rest.machine.plug(Stick(stick))
    at_rest.expect("busy, do not remove")
    at_rest.expect("restarting, leave it in")
    at_rest.expect_boot("B, on trial")
    at_rest.expect("usbupdate.*done, remove")
    at_rest.expect_shell()
    status = at_rest.status()
    assert (status["booted"], status["state"], status["last_event"], status["receipts"]) == ("b", "idle", "committed", 2)
    # It stayed in: nothing is installed a second time.
    at_rest.run("systemctl is-system-running --wait")
    assert at_rest.status()["receipts"] == 2
    at_rest.machine.pull()
    read_stick(stick, tmp_path / "back")
    known = ("--devices", str(tmp_path / "known"))
    testbed.usbupdate("audit", "enroll", tmp_path / "back", *known)
    assert "reference-1" in testbed.usbupdate("audit", "verify", tmp_path / "back", *known)
