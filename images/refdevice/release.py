"""A release of the reference device: an ext4 image for a slot, from the system's tree and what this release says of itself."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from refdevice import layout, rootfs
from refdevice.cache import digest_of
from refdevice.commands import run

if TYPE_CHECKING:
    from collections.abc import Callable

_log: Final = logging.getLogger(__name__)

NAME: Final = "reference"
_READ_ONLY: Final = ("-O", "^has_journal,^resize_inode", "-N", "24576")
"""Never written to while it is mounted, so without a journal, and with no more inodes than it needs."""
_ROOT_INODE: Final = 2
_FIRST_INODE: Final = 11
_UUID: Final = "75736275-7064-4174-8500-0000000000ff"
"""Of every release's file system, as images of one recipe often have it: a slot is never found by it."""


class Fault(StrEnum):
    """What is wrong with a release that should have been better."""

    PANICS = "panics"
    HANGS = "hangs"
    UNHEALTHY = "unhealthy"
    AGENT_RAISES = "agent-raises"
    NO_BOOT_UNIT = "no-boot-unit"
    NO_UDEV_RULE = "no-udev-rule"
    NO_ROOT = "no-root"
    EMERGENCY = "emergency"

    @property
    def words(self) -> str:
        """What a person sees of it."""
        return _FAULTS[self]


_FAULTS: Final = {
    Fault.PANICS: "the kernel panics",
    Fault.HANGS: "the system hangs while it starts",
    Fault.UNHEALTHY: "it starts, and its health check fails",
    Fault.AGENT_RAISES: "its own usbupdate ends with an error",
    Fault.NO_BOOT_UNIT: "the unit that judges a new release is missing",
    Fault.NO_UDEV_RULE: "it would see no more sticks",
    Fault.NO_ROOT: "the initramfs finds no root file system",
    Fault.EMERGENCY: "it ends in the emergency shell",
}


@dataclass(frozen=True, slots=True)
class Release:
    """What is built: its version and sequence, the office's root of trust, what is wrong with it, and another system if any.

    `settings` are drop-in files: where in the tree, and what they hold.
    """

    version: str
    sequence: int
    root: Path
    fault: Fault | None = None
    system: Path | None = None
    settings: tuple[tuple[str, str], ...] = field(default=())


def key_of(release: Release) -> str:
    """Return the digest of everything that the release's image is made from."""
    system = release.system or rootfs.system()
    said = f"{release.version}\n{release.sequence}\n{release.fault}\n{release.settings}"
    return digest_of(system.name, said, release.root, Path(__file__))


def build(release: Release, image: Path) -> None:
    """Write the image of a release."""
    _log.info("Making the image of release %s: about 10 seconds.", release.version)
    with rootfs.unpacked(release.system or rootfs.system()) as root:
        names = root / "usr/lib/usbupdate/release.json"
        names.write_text(json.dumps({"name": NAME, "version": release.version, "sequence": release.sequence}) + "\n")
        shutil.copyfile(release.root, root / "etc/usbupdate/root.json")
        for place, contents in release.settings:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(contents)
        if release.fault is not None:
            _breakage(release.fault)(root)
        write_ext4(root, image, layout.SLOT_SIZE, _UUID, *_READ_ONLY)


def write_ext4(root: Path, image: Path, size: int, uuid: str, *features: str) -> None:
    """Write a tree into a file system image; the same tree gives the same bytes, whoever made it and when."""
    with image.open("wb") as file:
        file.truncate(size)
    # A time later than the images' own would otherwise tell when the tree was unpacked.
    touch = ("touch", "--no-dereference", f"--date=@{layout.EPOCH}")
    run("find", root, "-newermt", f"@{layout.EPOCH}", "-exec", *touch, "{}", "+")
    # With all tables written at once: what is not used is zero, and costs a bundle nothing.
    options = f"hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-b", "4096", "-U", uuid, *features, "-E", options, "-d", root, image)
    _forget_origin(image)


def _forget_origin(image: Path) -> None:
    """Set the times that mke2fs takes over from the tree and that nobody can set there: those of the last change and access."""
    counts = dict(re.findall(r"^(Inode count|Free inodes): +(\d+)$", run("dumpe2fs", "-h", image), re.MULTILINE))
    used = int(counts["Inode count"]) - int(counts["Free inodes"])
    inodes = (_ROOT_INODE, *range(_FIRST_INODE, used + 1))
    orders = "".join(f"set_inode_field <{inode}> {name} @{layout.EPOCH}\n" for inode in inodes for name in ("atime", "ctime"))
    with tempfile.NamedTemporaryFile("w") as script:
        script.write(orders)
        script.flush()
        run("debugfs", "-w", "-f", script.name, image)


def _breakage(fault: Fault) -> Callable[[Path], None]:
    """Return what spoils a release's tree."""
    match fault:
        case Fault.PANICS:
            return _panic
        case Fault.HANGS:
            return _hang
        case Fault.UNHEALTHY:
            return lambda root: (root / "usr/lib/usbupdate/machine-works").unlink()
        case Fault.AGENT_RAISES:
            return _break_agent
        case Fault.NO_BOOT_UNIT:
            return _remove_boot_unit
        case Fault.NO_UDEV_RULE:
            return lambda root: (root / "usr/lib/udev/rules.d/90-usbupdate.rules").unlink()
        case Fault.NO_ROOT:
            return lambda root: _before_initramfs(root, "ROOT=/dev/vda9 ROOTDELAY=3\n")
        case Fault.EMERGENCY:
            return _require_missing_partition
        case _:
            assert_never(fault)


def _panic(root: Path) -> None:
    unit = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo c >/proc/sysrq-trigger'\n"
    (root / "etc/systemd/system/spoiled.service").write_text(unit)
    (root / "etc/systemd/system/sysinit.target.wants/spoiled.service").symlink_to("/etc/systemd/system/spoiled.service")


def _hang(root: Path) -> None:
    # The settings are read after each script of the initramfs. Not before the watchdog runs, which nobody feeds from then on.
    is_armed = 'read -r state </sys/class/watchdog/watchdog0/state && [ "$state" = active ]'
    _before_initramfs(root, f"while {is_armed}; do echo 'this release hangs'; sleep 10; done 2>/dev/null\n")


def _break_agent(root: Path) -> None:
    package = root / "usr/lib/python3/dist-packages/usbupdate"
    (package / "__init__.py").write_text('raise RuntimeError("this release is broken")\n')
    shutil.rmtree(package / "__pycache__")


def _remove_boot_unit(root: Path) -> None:
    (root / "etc/systemd/system/multi-user.target.wants/usbupdate-boot.service").unlink()
    (root / "usr/lib/systemd/system/usbupdate-boot.service").unlink()


def _require_missing_partition(root: Path) -> None:
    with (root / "etc/fstab").open("a") as table:
        table.write("/dev/vda9 /srv ext4 x-systemd.device-timeout=5s 0 2\n")


def _before_initramfs(root: Path, parameters: str) -> None:
    """Put an archive before the initramfs, with settings that its scripts read once the command line is understood."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conf").mkdir()
        (Path(folder) / "conf/param.conf").write_text(parameters)
        archive = Path(folder) / "archive"
        listing = f"cd '{folder}' && printf 'conf\\nconf/param.conf\\n' | cpio -o -H newc --quiet --reproducible >'{archive}'"
        run("sh", "-c", listing)
        initramfs = root / (root / "initrd.img").readlink()
        initramfs.write_bytes(archive.read_bytes() + initramfs.read_bytes())
