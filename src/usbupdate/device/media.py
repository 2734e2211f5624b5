"""A stick as the agent holds it: a mounted folder, a block device that is mounted here, or an image file.

Read-only and harmless (`nosuid,nodev,noexec`) for as long as it is read, writable only for the moment in which the log goes
out, and never writable if it holds no folder `usbupdate`: such a stick is somebody else's.

Source: design, section 5.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate import durable
from usbupdate.core.layout import TOP
from usbupdate.core.policy import Insertion
from usbupdate.device import process
from usbupdate.device.facts import (
    FileSystem,
    StickDevice,
    connected_since_ms,
    device_of_number,
    medium_facts,
    probe,
    stick_device,
    was_in_at_start,
)
from usbupdate.device.images import unpacked_image
from usbupdate.device.presence import PresentMedium, is_there
from usbupdate.errors import (
    FileSystemNotAllowedError,
    ForeignStickError,
    MediumError,
    MediumGoneError,
    MediumUnreadableError,
    MountedElsewhereError,
    MountFailedError,
    StickReadOnlyError,
    TwoSticksError,
    UnusableFileError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.core.receipt import MediumFacts
    from usbupdate.device.configuration import Configuration
    from usbupdate.device.ports import Clock

RUN_DIR: Final = Path("/run/usbupdate/media")
_HARMLESS: Final = "nosuid,nodev,noexec"
_MOUNT_S: Final = 60.0
_HARDWARE: Final = frozenset({errno.EIO, errno.ENOMEDIUM, errno.ENXIO, errno.ENODEV, errno.EREMOTEIO, errno.ETIMEDOUT})
"""What the kernel says of a device that is there and answers wrongly, or no more."""


class Medium(Protocol):
    """A stick, for as long as the agent has it open."""

    @property
    def reader(self) -> DirectoryMedium:
        """What reads the files on the stick."""

    def facts(self) -> MediumFacts:
        """Return the hints for the receipt."""

    def writable(self) -> contextlib.AbstractContextManager[Path]:
        """Give the stick's top folder for the moment of writing the log; what was written is on the stick when it ends.

        Raises:
            ForeignStickError: the stick is none of ours, and is left as it is.
            StickReadOnlyError: it cannot be written to.
        """


@contextmanager
def opened(source: Path, configuration: Configuration, *, run_dir: Path = RUN_DIR) -> Iterator[Medium]:
    """Hold a stick open.

    The caller holds the device's lock: a mount that a killed command left behind in `run_dir` is taken away.

    Args:
        source: a mounted directory, a block device, or an image file with a FAT file system and no partition table.
        configuration: which file systems are allowed.
        run_dir: where block devices are mounted.

    Raises:
        UnusableFileError: it is none of these, or not there.
        RefusedError: mounted elsewhere, a file system that is not allowed, or two partitions with a folder `usbupdate`.
        MediumError: it could not be read.
    """
    try:
        mode = source.stat().st_mode
    except OSError as error:
        problem = error.strerror or "it cannot be looked at"
        # The hardware's word, where the name is right.
        if error.errno in _HARDWARE:
            raise MediumUnreadableError(name=str(source), problem=problem) from error
        raise UnusableFileError(path=str(source), problem=problem) from error
    if stat.S_ISDIR(mode):
        yield FolderMedium(source)
    elif stat.S_ISBLK(mode):
        with _mounted_device(stick_device(source), configuration.filesystems, run_dir) as medium:
            yield medium
    elif stat.S_ISREG(mode):
        with unpacked_image(source) as image:
            yield image
    else:
        raise UnusableFileError(path=str(source), problem="it is no folder, no block device and no image file")


def insertion_of(source: Path, clock: Clock) -> Insertion:
    """Return how a stick that udev announced came to the agent: put in just now, or in since the boot started.

    A folder or an image is named by a person or by the simulation, which knows.
    """
    try:
        device = stick_device(source)
    except UnusableFileError:
        return Insertion.NEW
    return Insertion.FOUND if was_in_at_start(device, clock.monotonic_ms()) else Insertion.NEW


def connected_ms(source: Path, clock: Clock) -> int | None:
    """Return when a stick was plugged in, in milliseconds since the start of this boot; None where nothing tells."""
    try:
        device = stick_device(source)
    except UnusableFileError:
        return None
    return connected_since_ms(device, clock.monotonic_ms())


class FolderMedium:
    """A stick that somebody else has mounted, or a copy of one. Implements `Medium`."""

    def __init__(self, folder: Path) -> None:
        self.reader = DirectoryMedium(folder)

    def facts(self) -> MediumFacts:
        """Return the hints for the receipt; a folder that is no mount point says nothing of a stick."""
        folder = self.reader.mount
        try:
            device = device_of_number(folder.stat().st_dev) if folder.is_mount() else None
        except OSError:
            # Pulled: what it said of itself is gone with it.
            device = None
        filesystem = FileSystem()
        if device is not None:
            with contextlib.suppress(MediumError):
                filesystem = probe(device.path)
        return medium_facts(filesystem, device)

    @contextmanager
    def writable(self) -> Iterator[Path]:
        """Give the folder itself; see `Medium`."""
        folder = self.reader.mount
        require_ours(folder)
        require_writable(folder, str(folder))
        yield folder


class DeviceMedium:
    """A partition that is mounted here, read-only. Implements `Medium`."""

    def __init__(self, device: StickDevice, filesystem: FileSystem, folder: Path, options: str) -> None:
        self.reader = PresentMedium(folder, lambda: is_there(device))
        self._device = device
        self._filesystem = filesystem
        self._options = options

    def facts(self) -> MediumFacts:
        """Return the hints for the receipt; see `Medium`."""
        return medium_facts(self._filesystem, self._device)

    @contextmanager
    def writable(self) -> Iterator[Path]:
        """Mount it read-write for the moment; see `Medium`."""
        folder = self.reader.mount
        # What is gone looks like a stick without our folder, and would be called somebody else's.
        if not is_there(self._device):
            raise MediumGoneError
        require_ours(folder)
        try:
            self._remount("rw")
            require_writable(folder, str(self._device.path))
            yield folder
        finally:
            # Read-only again also means that everything is on the stick. If that fails, `sync` is what is left.
            try:
                self._remount("ro")
            except StickReadOnlyError:
                os.sync()

    def _remount(self, mode: str) -> None:
        finished = _system(self._device, "mount", "-o", f"remount,{mode},{self._options}", str(self.reader.mount))
        if not finished.succeeded:
            raise StickReadOnlyError(name=str(self._device.path), problem=finished.last_line)


def require_ours(folder: Path) -> None:
    """Refuse to write to a stick without a folder `usbupdate` of its own; a link of that name is none.

    Raises:
        ForeignStickError: there is none.
    """
    try:
        ours = stat.S_ISDIR((folder / TOP).lstat().st_mode)
    except OSError:
        ours = False
    if not ours:
        raise ForeignStickError


def require_writable(folder: Path, name: str) -> None:
    """Refuse to write where the system already says that it will not let us.

    Raises:
        StickReadOnlyError: naming the stick by `name`.
    """
    try:
        read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY) or not os.access(folder / TOP, os.W_OK)
    except OSError as error:
        raise StickReadOnlyError(name=name, problem=error.strerror or "it cannot be looked at") from error
    if read_only:
        raise StickReadOnlyError(name=name, problem="it is write-protected")


@contextmanager
def _mounted_device(device: StickDevice, allowed: tuple[str, ...], run_dir: Path) -> Iterator[DeviceMedium]:
    """Hold the one partition that is meant mounted."""
    members = {member: _probe_member(member, device) for member in device.disk_members()}
    readable = [member for member, filesystem in members.items() if filesystem.type in allowed]
    wanted = [device] if device.is_partition else readable
    if not wanted or wanted[0] not in readable:
        meant = [members[device]] if device in members else list(members.values())
        found = ", ".join(filesystem.type for filesystem in meant if filesystem.type) or "no file system"
        raise FileSystemNotAllowedError(device=str(device.path), filesystem=found, allowed=", ".join(allowed))
    if len(readable) > 1:
        holders = [member for member in readable if _holds_ours(member, members[member], run_dir)]
        if len(holders) > 1:
            raise TwoSticksError(first=str(holders[0].path), second=str(holders[1].path))
        # udev names every partition, and one of a stick's partitions answers for the stick.
        wanted = holders or wanted
    with _mounted(wanted[0], members[wanted[0]], run_dir) as medium:
        yield medium


def _probe_member(member: StickDevice, meant: StickDevice) -> FileSystem:
    """Return what a partition holds; one beside the partition that is meant may be unreadable and counts for nothing then."""
    try:
        return probe(member.path)
    except MediumError:
        if member == meant:
            raise
        return FileSystem()


def _holds_ours(device: StickDevice, filesystem: FileSystem, run_dir: Path) -> bool:
    """Tell whether a partition holds a folder `usbupdate`; one that cannot be read holds nothing."""
    with contextlib.suppress(MountFailedError, ForeignStickError):
        with _mounted(device, filesystem, run_dir) as medium:
            require_ours(medium.reader.mount)
        return True
    return False


@contextmanager
def _mounted(device: StickDevice, filesystem: FileSystem, run_dir: Path) -> Iterator[DeviceMedium]:
    """Mount a partition in a folder of its own that only root may enter, and take it away whatever happens."""
    _require_unused(device, run_dir)
    try:
        durable.make_directory(run_dir, mode=durable.PRIVATE_FOLDER)
        folder = Path(tempfile.mkdtemp(prefix="stick-", dir=run_dir))
    except OSError as error:
        raise MountFailedError(
            device=str(device.path), problem=f"{run_dir}: {error.strerror or type(error).__name__}"
        ) from error
    try:
        yield DeviceMedium(device, filesystem, folder, _mount(device, filesystem, folder))
    finally:
        _unmount(device, folder)


def _mount(device: StickDevice, filesystem: FileSystem, folder: Path) -> str:
    """Mount read-only and return the options besides that; kernels before 5.10 and old mounts know no `nosymfollow`."""
    problem = ""
    for options in (f"{_HARMLESS},nosymfollow", _HARMLESS):
        finished = _system(device, "mount", "-t", filesystem.type, "-o", f"ro,{options}", str(device.path), str(folder))
        if finished.succeeded:
            return options
        problem = finished.last_line
    raise MountFailedError(device=str(device.path), problem=problem)


def _unmount(device: StickDevice, folder: Path) -> None:
    if _is_mounted(folder) and not _system(device, "umount", str(folder)).succeeded:
        # Pulled, or something still has a file open: out of sight now, and gone when the last file is closed.
        _system(device, "umount", "-l", str(folder))
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_mounted(folder: Path) -> bool:
    """Tell whether something is mounted in a folder of ours; a file system that fails there is one."""
    try:
        return folder.is_mount()
    except OSError:
        return True


def _require_unused(device: StickDevice, run_dir: Path) -> None:
    """Refuse a partition that anybody else has mounted and could change under our eyes."""
    for mount in _mounts_of(device):
        if mount.is_relative_to(run_dir):
            _unmount(device, mount)
        else:
            raise MountedElsewhereError(device=str(device.path), mount=f"it is mounted at {mount}")
    try:
        # The kernel says "busy" for mounts in other namespaces too, which no list of ours can show.
        os.close(os.open(device.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise MountedElsewhereError(device=str(device.path), mount="something else has claimed it") from error
        raise MountFailedError(device=str(device.path), problem=error.strerror or "it cannot be opened") from error


def _mounts_of(device: StickDevice) -> list[Path]:
    """Return where a block device is mounted, as far as this namespace shows."""
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[2] == device.number:
            # Blanks and the like stand there as three octal digits.
            mounts.append(Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])))
    return mounts


def _system(device: StickDevice, *argv: str) -> process.Finished:
    try:
        return process.run(argv, timeout_s=_MOUNT_S)
    except OSError as error:
        raise MountFailedError(device=str(device.path), problem=f"the program {argv[0]} is missing") from error
