"""Devices that are switched on: with a stick in already, again and again, and without their state."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from refdevice import disk as device_disk, layout
from refdevice.guest import BOOT_S
from refdevice.machine import CONSOLE, Disk, Stick
from refdevice.partitiontable import Table
from refdevice.stickimage import FileSystem, Partition, make_disk
from tests.matrix import By, On, attack
from tests.vm import sticks, testbed
from tests.vm.steps import answer, await_commit, boot_memory, events, nothing_changed, receipts_on, require_no_other_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.vm.conftest import StartDevice

FULL: Final = {"usbupdate_A_state": "good", "usbupdate_A_left": "8", "usbupdate_B_state": "bad"}
"""What the boot loader remembers of a device that is at rest in its first release."""
GRUB_STARTS: Final = "usbupdate: booting slot A, (.*)"
KERNEL_STARTS: Final = "Booting in blind mode"


@pytest.mark.smoke
def test_a_stick_that_is_in_at_power_on_is_installed_from(start_device: StartDevice, switched_off: Disk, stick: Path) -> None:
    device = start_device(disk=switched_off)
    device.machine.plug(Stick(stick))
    device.machine.run()
    device.expect_boot("A, 7 tries left")
    assert await_commit(device) == "done, remove"
    status = device.status()
    assert (status["booted"], status["state"], status["sequence"], status["receipts"]) == ("b", "idle", 2, 2)
    device.machine.pull()
    assert events(receipts_on(stick)) == ["provisioned", "committed"]


@attack(By.CHANCE, On.SLOT, "the switch is flipped again and again", "a committed release has eight tries")
@pytest.mark.parametrize(
    ("cycles", "left"),
    [pytest.param(4, 3, id="four"), pytest.param(10, 5, id="more than there are tries")],
)
def test_quick_power_cycles_before_the_agent_runs_leave_the_committed_release(
    start_device: StartDevice, tmp_path: Path, cycles: int, left: int
) -> None:
    # Without a cache that loses what the boot loader counted: then every cycle costs a try, which is the worst case here.
    disk = whole_disk(tmp_path)
    for cycle in range(cycles):
        device = start_device(disk=disk)
        device.machine.run()
        device.transcript.expect(GRUB_STARTS, limit_s=BOOT_S, channel=CONSOLE)
        if cycle % 2:
            device.transcript.expect(KERNEL_STARTS, limit_s=BOOT_S, channel=CONSOLE)
        device.machine.cut_power()

    device = start_device(disk=disk)
    device.machine.run()
    # The other slot is bad, so that all tries of this one come back once they are used up.
    device.expect_boot(f"A, {left} tries left")
    device.expect_shell()
    device.run("systemctl is-system-running --wait; usbupdate device check")
    assert boot_memory(device).items() >= FULL.items()
    status = device.status()
    assert (status["booted"], status["state"], status["sequence"], status["receipts"]) == ("a", "idle", 1, 1)


@attack(By.STICK, On.SLOT, "the same at power-on", "boot loader and system name the disk, not a label")
def test_a_stick_that_poses_as_the_device_s_disk_at_power_on_fools_nothing(
    start_device: StartDevice, switched_off: Disk, tmp_path: Path
) -> None:
    stick = tmp_path / "stick.img"
    make_impostor(stick, tmp_path / "hostile")
    device = start_device(disk=switched_off)
    device.machine.plug(Stick(stick))
    device.machine.run()
    device.expect_boot("A, 7 tries left")
    assert answer(device).startswith("refused, nothing changed: ")
    device.expect_shell()
    device.run("systemctl is-system-running --wait")
    require_no_other_answer(device)
    # It does bear what is ours.
    assert device.run("lsblk -no PARTLABEL,PARTUUID /dev/sda2").split() == [layout.ROOTFS_A.name, layout.ROOTFS_A.uuid]
    assert device.run("findmnt -no SOURCE /; findmnt -no SOURCE /var/lib/usbupdate; findmnt -no SOURCE /boot/efi") == (
        "/dev/vda2\n/dev/vda4\n/dev/vda1"
    )
    assert "/dev/sd" not in device.run("cat /proc/mounts")
    assert boot_memory(device).items() >= FULL.items()
    status = device.status()
    assert (status["device"], status["booted"], status["state"], status["sequence"]) == ("reference-1", "a", "idle", 1)
    assert status["last_event"] == "refused"
    device.machine.pull()

    # With it gone everything is as before.
    device.run("udevadm settle; usbupdate device check")
    log_stick = sticks.small_stick(tmp_path / "log.img", sticks.log_folder())
    device.machine.plug(Stick(log_stick, serial="0002"))
    assert answer(device) == "done, remove"
    device.machine.pull()
    assert {*events(receipts_on(log_stick))} == {"provisioned", "refused"}


def whole_disk(folder: Path) -> Disk:
    """Return a copy of the disk of a device that was at rest when its power was cut."""
    disk = folder / "disk.raw"
    device_disk.copy_sparse(testbed.resting_device().disk, disk)
    return Disk(disk)


def make_impostor(stick: Path, folder: Path) -> None:
    """Write a stick whose partitions bear the names, the PARTUUIDs and the file systems' UUIDs of the device's own."""
    (folder / "sbin").mkdir(parents=True)
    (folder / "provisioned").write_text("")
    (folder / "state.json").write_text("{}")
    own = (layout.ROOTFS_A, layout.ROOTFS_B, layout.STATE)
    parts = [Partition(folder, 8 * testbed.MIB, FileSystem.EXT4, each.name) for each in own]
    release = testbed.stick_folder(testbed.next_release())
    make_disk(stick, [Partition(release, 256 * testbed.MIB, name=layout.ESP.name), *parts], table=Table.GPT)
    subprocess.run(["sfdisk", "--quiet", "--disk-id", stick, layout.DISK_ID], check=True)
    for each in layout.PARTITIONS:
        subprocess.run(["sfdisk", "--quiet", "--part-uuid", stick, str(each.number), each.uuid], check=True)


def _spoil_state(disk: Path) -> None:
    """Leave nothing there by which the file system could be known."""
    with disk.open("r+b") as file:
        file.seek(device_disk.offset_of(layout.STATE))
        file.write(bytes(testbed.MIB))


def _remove_state(disk: Path) -> None:
    subprocess.run(["sfdisk", "--quiet", "--delete", disk, str(layout.STATE.number)], check=True)


@pytest.mark.parametrize("lose", [pytest.param(_spoil_state, id="unreadable"), pytest.param(_remove_state, id="gone")])
def test_a_device_without_its_state_confirms_its_boot_and_installs_nothing(
    start_device: StartDevice, stick: Path, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    disk = whole_disk(tmp_path)
    lose(disk.path)
    before = stick.read_bytes()
    device = start_device(disk=disk)
    device.machine.run()
    device.expect_boot("A, 7 tries left")
    device.expect_shell()
    device.run("systemctl is-system-running --wait || true")
    assert boot_memory(device).items() >= FULL.items()
    with nothing_changed(device):
        device.machine.plug(Stick(stick))
        device.transcript.expect("Started usbupdate@", limit_s=BOOT_S)
        assert (said := answer(device)).startswith("refused, nothing changed: ")
        assert "/var/lib/usbupdate" in said
    status = device.status()
    assert (status["device"], status["booted"], status["state"], status["receipts"]) == ("", "a", "unknown", 0)
    assert device.run("ls -A /var/lib/usbupdate") == ""
    device.machine.pull()
    assert stick.read_bytes() == before
