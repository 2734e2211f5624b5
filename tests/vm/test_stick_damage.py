"""Sticks on which worn flash or careless pulling left its marks, blank ones, and a device without room: each is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refdevice.guest import BOOT_S
from refdevice.machine import JOURNAL, Stick
from refdevice.partitiontable import Table
from refdevice.stickdamage import Damage, damage
from refdevice.stickimage import FileSystem, Partition, make_disk
from tests.matrix import By, On, attack
from tests.vm import sticks, testbed
from tests.vm.steps import answer, events, nothing_changed, receipts_on

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest


@attack(
    By.STICK,
    On.SERVICE,
    "damaged file systems, real kernel: a folder that holds itself, garbage in the table, no beginning",
    "mounted read-only in a namespace of its own, and always answered",
)
@pytest.mark.parametrize(
    ("filesystem", "kind"),
    [
        (FileSystem.FAT32, Damage.TABLE_GARBAGE),
        (FileSystem.FAT32, Damage.FOLDER_LOOP),
        (FileSystem.FAT32, Damage.BOOT_SECTOR_ZEROED),
        (FileSystem.EXFAT, Damage.TABLE_GARBAGE),
        (FileSystem.EXFAT, Damage.FOLDER_LOOP),
        (FileSystem.EXFAT, Damage.BOOT_SECTOR_ZEROED),
    ],
)
def test_a_damaged_stick_is_answered_and_changes_nothing(
    at_rest: Guest, tmp_path: Path, filesystem: FileSystem, kind: Damage
) -> None:
    stick = testbed.stick_image(tmp_path / "stick.img", testbed.next_release(), filesystem=filesystem)
    damage(stick, kind)
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(stick))
        assert answer(at_rest).startswith("refused, nothing changed: ")
        at_rest.machine.pull()
    status = at_rest.status()
    assert (status["state"], status["receipts"]) == ("idle", 2)

    # A good one is taken as if nothing had been, and brings home what was said of the other.
    log_stick = sticks.small_stick(tmp_path / "log.img", sticks.log_folder())
    at_rest.machine.plug(Stick(log_stick, serial="0002"))
    assert answer(at_rest) == "done, remove"
    at_rest.machine.pull()
    first, second = events(receipts_on(log_stick))
    assert first == "provisioned"
    assert second in {"refused", "rejected"}


def test_a_partition_without_a_file_system_takes_no_answer_from_the_good_one_beside_it(at_rest: Guest, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    spoilt = Partition(None, 36 * testbed.MIB)
    good = Partition(sticks.log_folder(), 36 * testbed.MIB, volume_id=2)
    make_disk(stick, [spoilt, good], table=Table.MBR)
    damage(stick, Damage.BOOT_SECTOR_ZEROED)
    at_rest.machine.plug(Stick(stick))
    assert answer(at_rest) == "done, remove"
    # Both were announced, and both services ended by themselves.
    for name in ("sda1", "sda2"):
        ended = rf"usbupdate@{name}\.service: Deactivated successfully"
        at_rest.transcript.find(ended, limit_s=BOOT_S, channel=JOURNAL, position=0)
    assert at_rest.transcript.heard("refused, nothing changed") == []
    at_rest.machine.pull()
    assert events(receipts_on(stick, partition=2)) == ["provisioned"]


def test_a_blank_stick_beside_a_keyboard_is_answered(at_rest: Guest, tmp_path: Path) -> None:
    blank = tmp_path / "blank.img"
    with blank.open("wb") as file:
        file.truncate(8 * testbed.MIB)
    at_rest.machine.qmp.ask("device_add", driver="usb-kbd", id="keyboard", bus="usb.0")
    at_rest.run(
        "until test -e /sys/bus/usb/drivers/usbhid/*:1.0; do udevadm wait --timeout=1 /sys/bus/usb/drivers/usbhid; done"
    )
    at_rest.machine.plug(Stick(blank))
    assert "holds no file system" in (said := answer(at_rest))
    assert said.startswith("refused, nothing changed: /dev/sda ")
    at_rest.run("udevadm settle")
    assert len(at_rest.transcript.heard("systemd.*Started usbupdate@")) == 1
    assert at_rest.status()["receipts"] == 2


def test_a_device_whose_state_is_full_refuses_before_anything_changes_and_works_once_there_is_room(
    at_rest: Guest, stick: Path
) -> None:
    at_rest.attempt("cat /dev/zero >/var/lib/usbupdate/filler; sync")
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(stick))
        said = answer(at_rest)
        assert said.startswith("refused, nothing changed: "), said
        assert "No space left" in said
    at_rest.machine.pull()
    at_rest.run("rm /var/lib/usbupdate/filler; sync")
    at_rest.machine.plug(Stick(stick))
    at_rest.expect("installing: 10 %")
