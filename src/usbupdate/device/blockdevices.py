"""What the kernel says of block devices in sysfs and of mounts in mountinfo: nothing here opens a device.

A stick can claim any name and any label. What it cannot do is to be the disk from which the running system was started.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.errors import SlotUnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER: Final = re.compile(r"([0-9]+):([0-9]+)")
_USB: Final = re.compile(r"usb[0-9]+")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_UDEV_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")
_UNSUPPORTED: Final = (
    (re.compile(r"ubi.*"), "UBI volumes are not supported"),
    (re.compile(r"mtd.*"), "raw flash is not supported"),
    (re.compile(r"mmcblk[0-9]+(boot|rpmb|gp)[0-9]*"), "eMMC boot partitions are not supported"),
)
_SECTOR: Final = 512
_CLAIMS: Final = {"by-partlabel": "PARTNAME", "by-partuuid": "PARTUUID"}
"""Names that any disk can bear: folder under /dev/disk, and the field in which the kernel says what a partition bears."""
_CONTENTS: Final = frozenset({"by-label", "by-uuid"})


@dataclass(frozen=True, slots=True, order=True)
class Number:
    """The number by which the kernel knows a block device."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}:{self.minor}"


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A block device that was found: its path without links, its number, its size in bytes."""

    path: Path
    number: Number
    size: int


@dataclass(frozen=True, slots=True)
class BlockDevices:
    """Where the kernel is asked; everything but `/` is for tests."""

    sysfs: Path = field(default=Path("/sys"))
    devfs: Path = field(default=Path("/dev"))
    mountinfo: Path = field(default=Path("/proc/self/mountinfo"))

    def find(self, configured: str) -> BlockDevice:
        """Return the block device that a configured path names, if it is of a kind on which slots can lie.

        Raises:
            SlotUnusableError: it is missing, of another kind, or named in a way that another disk could imitate.
        """
        path = self._in_devfs(configured)
        _require_supported(configured, path.name)
        if path.parent.name in _CONTENTS:
            raise SlotUnusableError(path=configured, problem="its name comes from its contents, which both slots may share")
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise SlotUnusableError(path=configured, problem="it does not exist") from error
        _require_supported(configured, real.name)
        found = self._named(real.name) if real.is_relative_to(self.devfs.resolve()) else None
        if found is None:
            raise SlotUnusableError(path=configured, problem="it is not a block device")
        # udev's link leads to whichever claimant came last; what counts is the one that no stick can be.
        own = self._own(self._claiming(path))
        if len(own) == 1 and found not in own:
            (found,) = own
            real = self.devfs / self._directory(found).name
        return BlockDevice(path=real, number=found, size=self._integer(found, "size") * _SECTOR)

    def require_sole_claim(self, configured: str) -> None:
        """Refuse a name that more than one device bears, wherever they are.

        Raises:
            SlotUnusableError: another one bears it too.

        Source: design, section 9, "A stick can't pose as the device's disk".
        """
        if self._claiming(self._in_devfs(configured)) - {self.find(configured).number}:
            raise SlotUnusableError(path=configured, problem="more than one device claims that name")

    def root(self) -> Number | None:
        """Return the block device behind `/`, also beneath an overlay; None if it is not known."""
        mounts = list(self._mounts())
        at_root = [mount for mount in mounts if mount.point == "/"]
        if not at_root:
            return None
        # The last one covers those before it.
        lower = at_root[-1].lower
        covering = [mount for mount in mounts if lower and Path(lower).is_relative_to(mount.point)]
        behind = max(covering, key=lambda mount: len(mount.point)) if covering else at_root[-1]
        return self._behind(behind)

    def filesystem(self, path: Path) -> str | None:
        """Return the type of the file system on which a path without links lies; None if it is not known."""
        beneath = [mount for mount in self._mounts() if path.is_relative_to(mount.point)]
        # Of those with the same point, the last one covers those before it.
        return max(reversed(beneath), key=lambda mount: len(mount.point)).filesystem if beneath else None

    def is_mounted(self, device: Number) -> bool:
        """Tell whether the device is mounted anywhere, also by a file system that hides its device's number."""
        return any(device == self._behind(mount) for mount in self._mounts())

    def has_holders(self, device: Number) -> bool:
        """Tell whether another block device, such as one of the device mapper, is built on it."""
        return bool(_names(self._directory(device) / "holders"))

    def built_on(self, device: Number) -> frozenset[Number]:
        """Return the device and what it is mapped onto, such as a partition; whole disks of partitions are not among them."""
        below = [number for name in _names(self._directory(device) / "slaves") if (number := self._named(name))]
        return frozenset({device}.union(*(self.built_on(number) for number in below)))

    def disks(self, device: Number) -> frozenset[Number]:
        """Return the whole disks on which a device lies: several if it is mapped onto several."""
        return frozenset(self._disk(number) for number in self.built_on(device) if not self._is_mapped(number))

    def is_behind_usb(self, device: Number) -> bool:
        """Tell whether any disk of the device is attached by USB."""
        return any(
            _USB.fullmatch(part)
            for disk in self.disks(device)
            for part in self._directory(disk).relative_to(self._real()).parts
        )

    def has_stick(self) -> bool:
        """Tell whether a disk with something in it is attached by USB besides the one that the system runs from."""
        root = self.root()
        own = frozenset() if root is None else self.disks(root)
        return any(
            self.is_behind_usb(number) and not self.disks(number) & own and self._integer(number, "size") > 0
            for number, _ in self._all()
        )

    def _in_devfs(self, configured: str) -> Path:
        path = Path(configured)
        if not path.is_absolute() or ".." in path.parts or not path.is_relative_to("/dev"):
            raise SlotUnusableError(path=configured, problem="it is not a path under /dev")
        return self.devfs / path.relative_to("/dev")

    def _claiming(self, path: Path) -> set[Number]:
        """Return the devices that bear a name which any disk can bear; none for a name of another kind."""
        what = _CLAIMS.get(path.parent.name)
        if what is None:
            return set()
        name = _UDEV_ESCAPE.sub(lambda match: chr(int(match[1], 16)), path.name)
        return {number for number, fields in self._all() if fields.get(what) == name}

    def _own(self, devices: set[Number]) -> set[Number]:
        """Return those that lie on the disk of the running system."""
        root = self.root()
        return set() if root is None else {each for each in devices if self.disks(each) <= self.disks(root)}

    def _all(self) -> Iterator[tuple[Number, dict[str, str]]]:
        for name in _names(self.sysfs / "class" / "block"):
            number = self._named(name)
            if number is not None:
                lines = _text(self.sysfs / "class" / "block" / name / "uevent").splitlines()
                yield number, dict(line.split("=", 1) for line in lines if "=" in line)

    def _named(self, name: str) -> Number | None:
        match = _NUMBER.fullmatch(_text(self.sysfs / "class" / "block" / name / "dev").strip()) if name else None
        return Number(int(match[1]), int(match[2])) if match else None

    def _is_mapped(self, device: Number) -> bool:
        return bool(_names(self._directory(device) / "slaves"))

    def _disk(self, device: Number) -> Number:
        directory = self._directory(device)
        return (self._named(directory.parent.name) if (directory / "partition").exists() else None) or device

    def _behind(self, mount: _Mount) -> Number | None:
        """Return the block device of a mount; btrfs, for one, shows it only by its name."""
        if mount.number.major:
            return mount.number
        if not mount.source.startswith("/dev/"):
            return None
        return self._named((self.devfs / mount.source.removeprefix("/dev/")).resolve().name)

    def _directory(self, device: Number) -> Path:
        return (self.sysfs / "dev" / "block" / str(device)).resolve()

    def _real(self) -> Path:
        return self.sysfs.resolve()

    def _integer(self, device: Number, name: str) -> int:
        text = _text(self._directory(device) / name).strip()
        return int(text) if text.isdecimal() else 0

    def _mounts(self) -> Iterator[_Mount]:
        for line in _text(self.mountinfo).splitlines():
            fields = line.split(" ")
            match = _NUMBER.fullmatch(fields[2]) if len(fields) > 4 else None  # noqa: PLR2004 - the fifth is the mount point
            if match is None or "-" not in fields:
                continue
            after = fields[fields.index("-") + 1 :]
            source = after[1] if len(after) > 1 else ""
            options = after[2].split(",") if len(after) > 2 else []  # noqa: PLR2004 - type, source, options
            lower = [option.removeprefix("lowerdir=") for option in options if option.startswith("lowerdir=")]
            yield _Mount(
                number=Number(int(match[1]), int(match[2])),
                point=_unescaped(fields[4]),
                filesystem=after[0] if after else "",
                source=_unescaped(source),
                # Of several, the last is the lowest.
                lower=_unescaped(lower[0]).split(":")[-1] if lower else "",
            )


@dataclass(frozen=True, slots=True)
class _Mount:
    number: Number
    point: str
    filesystem: str
    source: str
    lower: str


def is_imitable(configured: str) -> bool:
    """Tell whether a configured path is a name that any disk could bear, rather than a place in the machine."""
    parts = Path(configured).parts
    return parts[:3] == ("/", "dev", "disk") and parts[3:4] != ("by-path",)


def _require_supported(configured: str, name: str) -> None:
    for pattern, problem in _UNSUPPORTED:
        if pattern.fullmatch(name):
            raise SlotUnusableError(path=configured, problem=problem)


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    """Return what a file of the kernel says; nothing if it is gone, as when a device was just removed."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
