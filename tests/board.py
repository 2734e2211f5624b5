"""A board's block devices as the kernel would show them: folders and small files laid out as in sysfs and /dev."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from usbupdate.device.blockdevices import BlockDevices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOC: Final = "platform/soc/mmc0"
USB: Final = "pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host4/target4:0:0/4:0:0:0"


class Board:
    """Builds the trees under a folder; numbers are given by the caller, as the kernel gives them."""

    def __init__(self, folder: Path) -> None:
        self.sysfs = folder / "sys"
        self.devfs = folder / "dev"
        self.mountinfo = folder / "mountinfo"
        self._mounts: list[str] = []
        for each in (self.sysfs / "class" / "block", self.sysfs / "dev" / "block", self.devfs / "disk"):
            each.mkdir(parents=True)
        self.mountinfo.touch()

    @property
    def devices(self) -> BlockDevices:
        return BlockDevices(sysfs=self.sysfs, devfs=self.devfs, mountinfo=self.mountinfo)

    def disk(self, name: str, number: str, *, bus: str = SOC) -> Path:
        return self._device(self.sysfs / "devices" / bus / "block" / name, number)

    def partition(self, name: str, number: str, *, on: Path, label: str | None = None, size: int = 64 << 20) -> Path:
        folder = self._device(on / name, number, size=size)
        (folder / "partition").write_text("1\n")
        if label is not None:
            with (folder / "uevent").open("a") as file:
                file.write(f"PARTNAME={label}\n")
            self.link(f"disk/by-partlabel/{label}", name)
        return folder

    def mapping(self, name: str, number: str, *, on: Path) -> Path:
        folder = self._device(self.sysfs / "devices" / "virtual" / "block" / name, number)
        (folder / "slaves").mkdir()
        (folder / "slaves" / on.name).symlink_to(on)
        (on / "holders").mkdir(exist_ok=True)
        (on / "holders" / name).symlink_to(folder)
        return folder

    def link(self, path: str, name: str) -> None:
        """Make a link under /dev; a second one takes the first one's place, as with udev."""
        link = self.devfs / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self.devfs / name)

    def mount(self, number: str, point: str, *, kind: str = "ext4", source: str = "none", options: str = "rw") -> None:
        self._mounts.append(f"{25 + len(self._mounts)} 1 {number} / {point} rw,relatime shared:1 - {kind} {source} {options}\n")
        self.mountinfo.write_text("".join(self._mounts))

    def _device(self, folder: Path, number: str, *, size: int = 1 << 30) -> Path:
        folder.mkdir(parents=True)
        name = folder.name
        major, minor = number.split(":")
        (folder / "dev").write_text(number + "\n")
        (folder / "size").write_text(f"{size // 512}\n")
        (folder / "uevent").write_text(f"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n")
        (self.sysfs / "class" / "block" / name).symlink_to(folder)
        (self.sysfs / "dev" / "block" / number).symlink_to(folder)
        (self.devfs / name).touch()
        return folder


def gateway(folder: Path) -> Board:
    """Return a board that runs slot a from its eMMC, with a stick plugged in that has a partition of its own."""
    board = Board(folder)
    emmc = board.disk("mmcblk0", "179:0")
    board.partition("mmcblk0p1", "179:1", on=emmc, label="boot")
    board.partition("mmcblk0p2", "179:2", on=emmc, label="rootfs-a")
    board.partition("mmcblk0p3", "179:3", on=emmc, label="rootfs-b", size=32 << 20)
    board.disk("mmcblk0boot0", "179:8")
    stick = board.disk("sda", "8:0", bus=USB)
    board.partition("sda1", "8:1", on=stick)
    board.mount("0:2", "/", kind="rootfs", source="rootfs")
    board.mount("179:2", "/", source="/dev/root")
    return board


@contextmanager
def loop_device(backing: Path) -> Iterator[str]:
    """Yield a real block device whose contents are a file; skip the test where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        pytest.skip("a loop device takes root and losetup")
    made = subprocess.run(["losetup", "--find", "--show", str(backing)], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
