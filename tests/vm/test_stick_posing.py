"""Sticks that are more than one thing, or pose as something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refdevice.machine import Stick
from refdevice.partitiontable import Table
from refdevice.stickimage import FileSystem, Partition, make_disk
from tests.matrix import By, On, attack
from tests.vm import sticks, testbed
from tests.vm.steps import answer, events, nothing_changed, reason, receipts_on, require_no_other_answer

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest

_SIZE = 36 * testbed.MIB


def test_two_partitions_that_both_hold_usbupdate_are_refused_naming_both(at_rest: Guest, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    folder = sticks.other_hardware_folder()
    make_disk(stick, [Partition(folder, _SIZE), Partition(folder, _SIZE, volume_id=2)], table=Table.MBR)
    before = stick.read_bytes()
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(stick))
        said = answer(at_rest)
        assert said.startswith("refused, nothing changed: Both /dev/sda1 and /dev/sda2 hold a folder usbupdate.")
        require_no_other_answer(at_rest)
    assert at_rest.status()["receipts"] == 2
    at_rest.machine.pull()
    assert stick.read_bytes() == before


def test_of_two_partitions_the_one_that_holds_usbupdate_is_taken(at_rest: Guest, tmp_path: Path) -> None:
    stick = tmp_path / "stick.img"
    folder = sticks.other_hardware_folder()
    make_disk(stick, [Partition(None, _SIZE), Partition(folder, _SIZE, volume_id=2)], table=Table.MBR)
    at_rest.machine.plug(Stick(stick))
    said = answer(at_rest)
    assert said.startswith("refused, nothing changed: The bundle another 9.0 is not for this hardware")
    require_no_other_answer(at_rest)
    at_rest.machine.pull()
    receipts = receipts_on(stick, partition=2)
    assert events(receipts) == ["provisioned", "refused"]
    assert reason(receipts[1]) == "wrong-compatible"


@attack(
    By.STICK,
    On.SLOT,
    "a stick whose partitions are named like the device's own, while it runs",
    "slots and state are found on the device's own bus",
)
@pytest.mark.smoke
def test_a_stick_whose_partitions_are_named_like_the_device_s_own_is_used_for_nothing(at_rest: Guest, tmp_path: Path) -> None:
    stick, hostile = tmp_path / "stick.img", tmp_path / "hostile"
    _write_hostile(hostile)
    parts = [Partition(hostile, 8 * testbed.MIB, FileSystem.EXT4, name) for name in ("rootfs-a", "rootfs-b", "state")]
    release = testbed.stick_folder(testbed.next_release())
    make_disk(stick, [*parts, Partition(release, 256 * testbed.MIB, name="esp")], table=Table.GPT)
    with nothing_changed(at_rest):
        at_rest.machine.plug(Stick(stick))
        said = answer(at_rest)
        assert said.startswith("refused, nothing changed: ")
        assert "more than one device claims that name" in said
        require_no_other_answer(at_rest)
        # A release on trial is not judged by what else is plugged in.
        at_rest.run("usbupdate device check")
        assert "/dev/sd" not in at_rest.run("cat /proc/mounts")
    assert at_rest.run("findmnt -no SOURCE /var/lib/usbupdate") == "/dev/vda4"
    status = at_rest.status()
    assert (status["device"], status["booted"], status["state"], status["sequence"]) == ("reference-1", "a", "idle", 1)
    at_rest.machine.pull()

    # With it gone everything is as before.
    at_rest.run("udevadm settle; usbupdate device check")
    assert "more than one" not in str(at_rest.status())
    log_stick = sticks.small_stick(tmp_path / "log.img", sticks.log_folder())
    at_rest.machine.plug(Stick(log_stick, serial="0002"))
    assert answer(at_rest) == "done, remove"
    at_rest.machine.pull()
    receipts = receipts_on(log_stick)
    assert {*events(receipts)} == {"provisioned", "refused"}
    assert "slot-unusable" in {reason(each) for each in receipts[1:]}


def _write_hostile(folder: Path) -> None:
    """Write what a device would fall for that took this for its root or its state."""
    (folder / "trust").mkdir(parents=True)
    (folder / "etc/usbupdate").mkdir(parents=True)
    (folder / "usr/lib/usbupdate").mkdir(parents=True)
    (folder / "provisioned").write_text("")
    (folder / "state.json").write_text("{}")
    (folder / "trust/root.json").write_text("{}")
    (folder / "etc/usbupdate/device.toml").write_text('[device]\ncompatible = "hostile"\n')
    (folder / "usr/lib/usbupdate/release.json").write_text('{"name": "hostile", "version": "0", "sequence": 0}\n')


_COMPOSITE = r"""
set -e
modprobe dummy_hcd; modprobe libcomposite; modprobe usb_f_hid; modprobe usb_f_mass_storage
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
truncate -s 40M /tmp/medium; mkfs.vfat -F 32 /tmp/medium >/tmp/made
g=/sys/kernel/config/usb_gadget/g; mkdir $g; cd $g
echo 0x1d6b >idVendor; echo 0x0104 >idProduct
mkdir strings/0x409; echo composite-1 >strings/0x409/serialnumber
mkdir functions/hid.0; echo 1 >functions/hid.0/protocol; echo 1 >functions/hid.0/subclass; echo 8 >functions/hid.0/report_length
descriptor='\005\001\011\006\241\001\005\007\031\340\051\347\025\000\045\001\165\001\225\010\201\002\300'
printf "$descriptor" >functions/hid.0/report_desc
mkdir functions/mass_storage.0; echo /tmp/medium >functions/mass_storage.0/lun.0/file
mkdir configs/c.1; ln -s functions/hid.0 configs/c.1/; ln -s functions/mass_storage.0 configs/c.1/
ls /sys/class/udc >UDC
"""


@attack(
    By.STICK, On.SERVICE, "a stick that is a keyboard too", "only USB block devices are looked at; the rest is the kernel's"
)
def test_of_a_keyboard_with_a_stick_inside_only_the_stick_is_looked_at(at_rest: Guest) -> None:
    at_rest.run(f"({_COMPOSITE.strip()})".replace("\n", "; "))
    said = answer(at_rest)
    assert said.startswith("refused, nothing changed: The stick has no folder 'usbupdate'")
    at_rest.run("udevadm settle")
    # The keyboard is there, and started nothing.
    assert at_rest.run("ls /sys/bus/usb/drivers/usbhid /sys/bus/usb/drivers/usb-storage").count(":1.") == 2
    assert len(at_rest.transcript.heard("systemd.*Started usbupdate@")) == 1
    status = at_rest.status()
    assert (status["state"], status["last_event"], status["receipts"]) == ("idle", "refused", 2)
