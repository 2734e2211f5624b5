"""A stick that is put in again while its service still runs starts nothing by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate.core.policy import Insertion
from usbupdate.device.facts import StickDevice
from usbupdate.device.obligations import Rest
from usbupdate.device.replug import REPLUGS_MAX, plugging_mark, take_each_plugging
from usbupdate.errors import ForeignStickError, UsbupdateError

if TYPE_CHECKING:
    from pathlib import Path


class Port:
    """A USB port: which stick is in at each look, the last one for ever."""

    def __init__(self, *marks: str | None) -> None:
        self._marks = list(marks)
        self.taken: list[Insertion] = []

    def mark_of(self, source: Path) -> str | None:
        return self._marks.pop(0) if len(self._marks) > 1 else self._marks[0]

    def take(self, insertion: Insertion) -> Rest:
        self.taken.append(insertion)
        return Rest.IDLE


def test_a_stick_that_stays_in_is_taken_once(tmp_path: Path) -> None:
    port = Port("7")
    take_each_plugging(tmp_path, port.take, port.mark_of)
    assert len(port.taken) == 1


def test_a_stick_that_was_pulled_is_done_with(tmp_path: Path) -> None:
    port = Port("7", None)
    take_each_plugging(tmp_path, port.take, port.mark_of)
    assert len(port.taken) == 1


def test_another_plugging_in_under_the_same_name_is_a_new_insertion(tmp_path: Path) -> None:
    port = Port("7", "8", "8", "8")
    take_each_plugging(tmp_path, port.take, port.mark_of)
    assert port.taken[1:] == [Insertion.NEW]


def test_a_stick_that_was_refused_does_not_hide_the_next_one(tmp_path: Path) -> None:
    port = Port("7", "8", "8", "8")
    errors: list[UsbupdateError] = [ForeignStickError()]

    def take(insertion: Insertion) -> Rest:
        port.take(insertion)
        if errors:
            raise errors.pop()
        return Rest.IDLE

    take_each_plugging(tmp_path, take, port.mark_of)
    assert len(port.taken) == 2


def test_the_last_answer_is_the_exit_code(tmp_path: Path) -> None:
    port = Port("7")

    def take(insertion: Insertion) -> Rest:
        raise ForeignStickError

    with pytest.raises(ForeignStickError):
        take_each_plugging(tmp_path, take, port.mark_of)


def test_a_restart_is_not_kept_waiting(tmp_path: Path) -> None:
    port = Port("7", "8")

    def take(insertion: Insertion) -> Rest:
        port.take(insertion)
        return Rest.REBOOTING

    take_each_plugging(tmp_path, take, port.mark_of)
    assert len(port.taken) == 1


def test_a_loose_contact_does_not_go_on_for_ever(tmp_path: Path) -> None:
    port = Port(*map(str, range(10 * REPLUGS_MAX)))
    take_each_plugging(tmp_path, port.take, port.mark_of)
    assert len(port.taken) == 1 + REPLUGS_MAX


def test_what_is_no_block_device_bears_no_mark(tmp_path: Path) -> None:
    assert plugging_mark(tmp_path) is None
    assert plugging_mark(tmp_path / "none") is None


def test_the_kernels_number_of_a_disk_stands_for_its_partitions_too(tmp_path: Path) -> None:
    disk = tmp_path / "block" / "sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "sda1" / "partition").write_text("1\n")
    (disk / "diskseq").write_text("12\n")
    for folder in (disk, disk / "sda1"):
        assert StickDevice(tmp_path / folder.name, "8:0", folder).plugging == "12"
