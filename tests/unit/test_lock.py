from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from usbupdate.device.lock import LOCK_FILE, locked, locked_after_waiting
from usbupdate.device.process import run
from usbupdate.errors import DeviceLockedError, ExitCode, NotProvisionedError, UnusableFileError

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys, time
from pathlib import Path
from usbupdate.device.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_command_is_told_at_once(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(DeviceLockedError) as raised, locked(tmp_path):
            pass
        assert raised.value.exit_code is ExitCode.BUSY
    with locked(tmp_path):
        pass


def test_sigkill_frees_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DeviceLockedError), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        with locked_after_waiting(tmp_path):
            pass


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        listing = run(["ls", "-l", "/proc/self/fd"], timeout_s=20).output
    assert LOCK_FILE.encode() + b"\n" not in listing


def test_a_device_without_state_is_not_provisioned(tmp_path: Path) -> None:
    with pytest.raises(NotProvisionedError), locked(tmp_path / "none"):
        pass


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnusableFileError), locked(tmp_path):
        pass
    assert not os.path.lexists(tmp_path / "elsewhere")
