"""What the reference device consists of: its disk, its packages, its kernel modules. Everything else here follows from this.

The disk is a GPT with fixed identities, so that the same inputs give the same bytes:

1. `esp`: FAT. GRUB, its script and its environment block, the only thing that GRUB writes to.
2. `rootfs-a`, 3. `rootfs-b`: the two slots, ext4, mounted read-only.
4. `state`: ext4, shared by both slots: the device's key, state and receipts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20

MEMORY_MIB: Final = 512
FIRMWARE_MIB: Final = 32
"""At the end of the memory, where the stack of the firmware and the data of its drivers lie: Linux is kept out of there.

QEMU keeps what it translated, by memory page, until its buffer is full; no restart and no reset forgets it. Each write to a
page looks through all that is kept of it. When the firmware's stack, after a restart, came to lie in a page from which Linux
had run code, the firmware's timer interrupt took longer than the 10 ms to the next one, and the machine stood between firmware
and boot script for ever: after 2 and after 12 restarts of Linux in a row, seldom with a single one. No board does that.
"""

EPOCH: Final = 1_767_225_600
"""2026-01-01: every time in an image that is not signed."""

COMPATIBLE: Final = "usbupdate,reference"
DISK_ID: Final = "75736275-7064-4174-8500-000000000000"
SLOT_SIZE: Final = 256 * MIB


@dataclass(frozen=True, slots=True)
class DiskPartition:
    """A partition of the device's own disk; sizes in bytes, `kind` is the GPT type."""

    number: int
    name: str
    size: int
    uuid: str
    kind: str


_LINUX: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_ESP: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

ESP: Final = DiskPartition(1, "esp", 40 * MIB, "75736275-7064-4174-8500-0000000000e5", _ESP)
ROOTFS_A: Final = DiskPartition(2, "rootfs-a", SLOT_SIZE, "75736275-7064-4174-8500-00000000000a", _LINUX)
ROOTFS_B: Final = DiskPartition(3, "rootfs-b", SLOT_SIZE, "75736275-7064-4174-8500-00000000000b", _LINUX)
STATE: Final = DiskPartition(4, "state", 32 * MIB, "75736275-7064-4174-8500-00000000000d", _LINUX)
PARTITIONS: Final = (ESP, ROOTFS_A, ROOTFS_B, STATE)

SUITE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = (
    "dosfstools",
    "e2fsprogs",
    "initramfs-tools",
    "kmod",
    "linux-image-amd64",
    "lz4",
    "mount",
    "procps",
    "python3-minimal",
    "python3",
    "systemd",
    "systemd-sysv",
    "udev",
    "usr-is-merged",
)

MODULES: Final = (
    "block/virtio_blk",
    "char/hw_random/virtio-rng",
    "firmware/efi",
    "hid/hid",
    "hid/hid-generic",
    "hid/usbhid/usbhid",
    "leds/trigger/ledtrig-timer",
    "leds/uleds",
    "scsi/scsi_common",
    "scsi/scsi_mod",
    "scsi/sd_mod",
    "scsi/sg",
    "usb/common",
    "usb/core",
    "usb/gadget/function/usb_f_hid",
    "usb/gadget/function/usb_f_mass_storage",
    "usb/gadget/libcomposite",
    "usb/gadget/udc/dummy_hcd",
    "usb/gadget/udc/udc-core",
    "usb/host/xhci-hcd",
    "usb/host/xhci-pci",
    "usb/storage/uas",
    "usb/storage/usb-storage",
    "virtio",
    "watchdog/i6300esb",
    "watchdog/watchdog",
)
"""Of the kernel's drivers, those that this machine has; the gadget ones let a test build a hostile USB device inside it."""
