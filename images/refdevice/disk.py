"""The device's whole disk as a factory would write it: firmware starts GRUB from it, and both slots hold the first release.

Slot b is marked bad all the same: nothing has proven it, and it is there only so that the first update has less to write.
"""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final

from refdevice import layout
from refdevice.cache import digest_of
from refdevice.commands import run
from refdevice.release import write_ext4
from refdevice.rootfs import IMAGES
from usbupdate.device.bootloaders import grubenv

_SECTOR: Final = 512
_FIRST: Final = layout.MIB
_GRUB_MODULES: Final = (
    *("part_gpt", "fat", "ext2", "linux", "normal", "configfile", "loadenv", "test", "regexp", "echo", "serial", "terminal"),
    *("reboot", "sleep", "halt", "true", "probe", "search", "efi_gop", "all_video", "minicmd"),
)
_STATE_UUID: Final = "75736275-7064-4174-8500-0000000000aa"
_STATE_FEATURES: Final = ("-O", "^metadata_csum")
"""The superblock is written in place at each mount. If the power goes between its two sectors, one that bears a checksum is
never mounted nor mended again; without one, all that changes lies in the first. Everything else goes by the journal."""
_FAT_ID: Final = "75736275"
_STARTER: Final = """\
regexp --set=1:esp "^\\\\(([^)]*)\\\\)" "$cmdpath"
set root="$esp"
configfile ($esp)/grub/grub.cfg
"""
"""Looks on the partition that GRUB was started from, so that no other disk can lend its script."""
_KERNEL_WORDS: Final = 'set more_words="console=tty0 console=ttyS0 quiet'


class BootScript(StrEnum):
    """Which of the two boot scripts GRUB runs."""

    USBUPDATE = "usbupdate"
    RAUC = "rauc"


_ENVIRONMENTS: Final = {
    BootScript.USBUPDATE: {
        "usbupdate_order": "A B",
        "usbupdate_A_state": "good",
        "usbupdate_A_left": "8",
        "usbupdate_B_state": "bad",
        "usbupdate_B_left": "0",
    },
    BootScript.RAUC: {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"},
}


def key_of(script: BootScript) -> str:
    """Return the digest of everything that the disk is made from, besides the release in it."""
    return digest_of(script, IMAGES / "grub", Path(__file__), Path(layout.__file__))


def build(first_release: Path, script: BootScript, disk: Path) -> None:
    """Write the disk of a new device."""
    end = _FIRST + sum(partition.size for partition in layout.PARTITIONS) + layout.MIB
    with disk.open("wb") as file:
        file.truncate(end)
    _partition(disk)
    with tempfile.TemporaryDirectory() as folder:
        esp, state = Path(folder) / "esp", Path(folder) / "state"
        _write_esp(esp, script)
        _write_state(state)
        _place(esp, disk, offset_of(layout.ESP))
        _place(first_release, disk, offset_of(layout.ROOTFS_A))
        _place(first_release, disk, offset_of(layout.ROOTFS_B))
        _place(state, disk, offset_of(layout.STATE))


def offset_of(wanted: layout.DiskPartition) -> int:
    """Return where on the disk a partition begins, in bytes."""
    return _FIRST + sum(partition.size for partition in layout.PARTITIONS if partition.number < wanted.number)


def _partition(disk: Path) -> None:
    lines = ["label: gpt", f"label-id: {layout.DISK_ID}", "unit: sectors", f"first-lba: {_FIRST // _SECTOR}"]
    for each in layout.PARTITIONS:
        start, size = offset_of(each) // _SECTOR, each.size // _SECTOR
        lines.append(f"start={start}, size={size}, type={each.kind}, uuid={each.uuid}, name={each.name}")
    with tempfile.NamedTemporaryFile("w", suffix=".sfdisk") as script:
        script.write("\n".join(lines) + "\n")
        script.flush()
        run("sh", "-c", 'exec sfdisk --quiet "$0" <"$1"', disk, script.name)


def _write_esp(image: Path, script: BootScript) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bootx64.efi"
        _write_grub(program)
        environment, committed = Path(folder) / "grubenv", Path(folder) / "committed"
        environment.write_bytes(grubenv.encode(grubenv.Environment(_ENVIRONMENTS[script])))
        committed.write_bytes(grubenv.encode(grubenv.Environment({"usbupdate_committed": "A"})))
        boot_script = Path(folder) / "grub.cfg"
        boot_script.write_text(_for_the_emulator((IMAGES / "grub" / f"{script}.cfg").read_text()))
        with image.open("wb") as file:
            file.truncate(layout.ESP.size)
        run("mkfs.fat", "-F", "32", "-i", _FAT_ID, "-n", "ESP", "--invariant", image)
        run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/grub")
        run("mcopy", "-i", image, program, "::/EFI/BOOT/BOOTX64.EFI")
        run("mcopy", "-i", image, boot_script, "::/grub/grub.cfg")
        run("mcopy", "-i", image, environment, committed, "::/grub/")


def _for_the_emulator(boot_script: str) -> str:
    """Return a boot script whose kernel stays out of the firmware's memory; see `layout.FIRMWARE_MIB`."""
    before, words, after = boot_script.partition(_KERNEL_WORDS)
    if not words:
        raise ValueError(f"no line with {_KERNEL_WORDS} in the boot script")
    return f"{before}{words} mem={layout.MEMORY_MIB - layout.FIRMWARE_MIB}M{after}"


def _write_grub(program: Path) -> None:
    """Write GRUB as one program with all that it needs inside, as grub-mkstandalone does, but without the time of day."""
    with tempfile.TemporaryDirectory() as folder:
        script, archive = Path(folder) / "boot/grub/grub.cfg", Path(folder) / "archive"
        script.parent.mkdir(parents=True)
        script.write_text(_STARTER)
        run(
            *("tar", "--create", f"--file={archive}", f"--directory={folder}", "--format=ustar", "--sort=name", "--mode=a=rX"),
            *("--owner=0", "--group=0", "--numeric-owner", f"--mtime=@{layout.EPOCH}", "boot"),
        )
        run(
            *("grub-mkimage", "--format=x86_64-efi", f"--output={program}", f"--memdisk={archive}"),
            *("--prefix=(memdisk)/boot/grub", "memdisk", "tar", *_GRUB_MODULES),
        )


def _write_state(image: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir(mode=0o700)
        write_ext4(root, image, layout.STATE.size, _STATE_UUID, *_STATE_FEATURES)
        # mke2fs does not take over the mode of the topmost folder, which holds the device's key.
        run("debugfs", "-w", "-R", "set_inode_field / mode 040700", image)


def _place(contents: Path, disk: Path, offset: int) -> None:
    run("dd", f"if={contents}", f"of={disk}", "bs=1M", f"seek={offset // layout.MIB}", "conv=notrunc,sparse", "status=none")


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a disk without its holes."""
    run("cp", "--sparse=always", "--reflink=auto", source, target)
