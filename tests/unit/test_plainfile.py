from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from usbupdate import plainfile
from usbupdate.device import identity
from usbupdate.errors import ConfigurationError, UsbupdateError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.field import Field


def test_an_ordinary_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(file)
    assert plainfile.read(file, 100) == b"12345"
    assert plainfile.read(tmp_path / "link", 3) == b"123"
    assert plainfile.read(file, 0) == b""


def test_what_is_no_ordinary_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket", ".", "none"):
            with pytest.raises(OSError, match=r"."):
                plainfile.read(tmp_path / name, 100)
    with pytest.raises(OSError, match="not an ordinary file"):
        plainfile.read(tmp_path / "pipe", 100)


@pytest.mark.parametrize(
    "name",
    [
        "device.toml",
        "root.json",
        "state/state.json",
        "state/device.toml",
        f"state/{identity.FOLDER}/{identity.IDENTITY_FILE}",
        f"state/{identity.FOLDER}/{identity.KEY_FILE}",
        "state/ledger/receipts",
        "state/ledger/checkpoint",
        "state/trust/current/timestamp.json",
        "bootloader.json",
    ],
)
def test_a_pipe_in_place_of_any_file_of_the_device_does_not_stop_the_agent(field: Field, name: str) -> None:
    rig = field.rig
    if name.startswith("state/ledger/"):
        rig.insert(field.good)
    file = rig.folder / name
    file = next(file.parent.glob(f"{file.name}*"), file)
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    # What it says is held elsewhere; here it only must not wait for ever.
    with suppress(UsbupdateError):
        rig.insert(field.good)


def test_the_configuration_says_what_is_wrong(field: Field) -> None:
    path = field.rig.folder / "device.toml"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="not an ordinary file"):
        field.rig.bench.configuration()
