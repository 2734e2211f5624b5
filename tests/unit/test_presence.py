"""A stick that was pulled is told from one that lacks something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate.device.facts import StickDevice
from usbupdate.device.presence import PresentMedium, is_there
from usbupdate.errors import MediumFileMissingError, MediumGoneError

if TYPE_CHECKING:
    from pathlib import Path

FILE = ("usbupdate", "file")


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    (tmp_path / "stick/usbupdate").mkdir(parents=True)
    (tmp_path / "stick/usbupdate/file").write_bytes(b"contents")
    return tmp_path / "stick"


def test_a_file_that_a_stick_lacks_is_missing_while_the_stick_is_in(mount: Path) -> None:
    medium = PresentMedium(mount, lambda: True)
    assert medium.names(("usbupdate",)) == ("file",)
    with pytest.raises(MediumFileMissingError):
        medium.read(("usbupdate", "other"), 10)


def test_on_a_stick_that_was_pulled_nothing_is_missing_and_no_folder_is_empty(mount: Path) -> None:
    medium = PresentMedium(mount, lambda: False)
    other = ("usbupdate", "other")
    for ask in (lambda: medium.read(other, 9), lambda: medium.read_at(other, 0, 1), lambda: medium.size(other)):
        with pytest.raises(MediumGoneError):
            ask()
    with pytest.raises(MediumGoneError):
        medium.names(("usbupdate",))


def test_what_was_still_read_from_a_stick_that_was_pulled_is_good(mount: Path) -> None:
    medium = PresentMedium(mount, lambda: False)
    assert (medium.read(FILE, 8), medium.read_at(FILE, 3, 5), medium.size(FILE)) == (b"contents", b"tents", 8)


def test_a_stick_is_there_while_the_kernel_lists_it_and_it_can_be_read(tmp_path: Path) -> None:
    path, sys = tmp_path / "sda1", tmp_path / "sys"
    device = StickDevice(path, "8:1", sys)
    assert not is_there(device)
    sys.mkdir()
    assert not is_there(device)
    path.write_bytes(bytes(8192))
    assert is_there(device)
    sys.rmdir()
    assert not is_there(device)


def test_a_stick_that_gives_nothing_back_is_gone(tmp_path: Path) -> None:
    (tmp_path / "sda1").write_bytes(b"")
    assert not is_there(StickDevice(tmp_path / "sda1", "8:1", tmp_path))
