"""Each stick gets one answer, whatever its partitions hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from usbupdate.device.answering import is_answered_beside
from usbupdate.device.facts import PARTS_MAX, FileSystem, StickDevice
from usbupdate.errors import MediumUnreadableError

if TYPE_CHECKING:
    from pathlib import Path

UNREADABLE = "unreadable"
ALLOWED = ("vfat", "exfat")


def silent(sys: Path, *held: str) -> list[bool]:
    """Return for each partition of a stick whether it leaves the answer to another, by what each holds."""
    paths = [sys / "sda" / f"sda{number}" for number, _ in enumerate(held, start=1)]
    for path in paths:
        path.mkdir(parents=True)
        (path / "partition").touch()

    def probed(path: Path) -> FileSystem:
        filesystem = held[int(path.name.removeprefix("sda")) - 1]
        if filesystem == UNREADABLE:
            raise MediumUnreadableError(name=str(path), problem="its file system cannot be told")
        return FileSystem(type=filesystem)

    return [is_answered_beside(path, ALLOWED, lambda path: StickDevice(path, "", path), probed) for path in paths]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (["vfat"], [False]),
        ([""], [False]),
        (["", "vfat"], [True, False]),
        (["vfat", ""], [False, True]),
        (["", "", ""], [False, True, True]),
        (["crypto_LUKS"], [False]),
        (["vfat", "ext4"], [False, True]),
        (["ext4", "vfat", "exfat"], [True, False, True]),
        (["ext4", "crypto_LUKS"], [False, True]),
        ([UNREADABLE], [False]),
        (["", UNREADABLE], [True, False]),
    ],
)
def test_one_partition_of_a_stick_answers_for_all(tmp_path: Path, held: list[str], expected: list[bool]) -> None:
    assert silent(tmp_path, *held) == expected


def test_a_stick_without_partitions_answers_for_itself(tmp_path: Path) -> None:
    assert not is_answered_beside(tmp_path, ALLOWED, lambda path: StickDevice(path, "", path), lambda _: FileSystem())


def test_a_disk_with_partitions_leaves_the_answer_to_them(tmp_path: Path) -> None:
    silent(tmp_path, "vfat")
    disk = tmp_path / "sda"
    assert is_answered_beside(disk, ALLOWED, lambda path: StickDevice(path, "", path), lambda _: FileSystem("iso9660"))


def test_a_folder_is_no_partition(tmp_path: Path) -> None:
    assert not is_answered_beside(tmp_path, ALLOWED)


@attack(
    By.STICK,
    On.SERVICE,
    "a stick of very many partitions, each of which is announced and looks at all the others",
    "the first sixteen are looked at and answer for it; udev announces no others",
)
def test_a_stick_of_very_many_partitions_is_not_looked_at_by_each_of_them_for_all(tmp_path: Path) -> None:
    disk = tmp_path / "sda"
    parts = [disk / f"sda{number}" for number in range(1, 257)]
    for number, part in enumerate(parts, start=1):
        part.mkdir(parents=True)
        (part / "partition").write_text(f"{number}\n")
        (part / "dev").write_text(f"8:{number}\n")
    looked = 0

    def probed(_: Path) -> FileSystem:
        nonlocal looked
        looked += 1
        return FileSystem()

    answers = [is_answered_beside(part, ALLOWED, lambda path: StickDevice(path, "", path), probed) for part in parts]
    assert answers == [False] + 255 * [True]
    assert looked <= PARTS_MAX * PARTS_MAX
