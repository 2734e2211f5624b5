"""What a power cut leaves of the two parts of the reference device's disk in which it remembers anything, as plain files.

They are recovered as the device itself would do it, by a replay of the journal.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from refdevice.fat32 import open_fat32
from refdevice.partitiontable import Extent
from refdevice.volume import find
from usbupdate.core import recordform
from usbupdate.device.bootloaders import grubenv
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.vm.blockrecord import Cut, Part, Record
    from usbupdate.core.record import DeviceRecord

BLOCKS: Final = ("grubenv", "committed")
PROGRAMS: Final = ("e2fsck", "debugfs")
PATH: Final = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_ENVIRONMENT: Final = {"PATH": PATH, "LC_ALL": "C"}
_BLOCK: Final = 64 << 10
_RECOVERED: Final = 1
"""The highest exit code of e2fsck with which a device's boot goes on."""


class NotRecoveredError(AssertionError):
    """The file system with the device's state is damaged in a way that no boot mends by itself."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """The contents of a part of a disk, most of which are zeros: `blocks` are the others, by where they begin."""

    size: int
    blocks: Mapping[int, bytes]

    @classmethod
    def of(cls, contents: bytes) -> Sparse:
        """Return these contents."""
        blocks = {start: contents[start : start + _BLOCK] for start in range(0, len(contents), _BLOCK)}
        return cls(len(contents), {start: block for start, block in blocks.items() if block.strip(b"\0")})

    def contents(self) -> bytes:
        """Return all of it."""
        whole = bytearray(self.size)
        for start, block in self.blocks.items():
            whole[start : start + len(block)] = block
        return bytes(whole)

    def lay(self, path: Path, changes: Iterable[tuple[int, bytes]]) -> Path:
        """Write the contents with these changes into a file, instead of what it held, and return its path."""
        with path.open("wb") as file:
            file.truncate(self.size)
            for start, data in itertools.chain(self.blocks.items(), changes):
                file.seek(start)
                file.write(data)
        return path


@dataclass(frozen=True, slots=True)
class Left:
    """What a cut leaves, in a folder: `state`, and beside it `esp` with the boot loader's two blocks."""

    folder: Path

    def record(self) -> DeviceRecord:
        """Return the device's state."""
        return recordform.decode((self.folder / "state/state.json").read_bytes())

    def block(self, name: str) -> dict[str, str] | None:
        """Return what one of the boot loader's blocks holds, or None if it is none."""
        try:
            return dict(grubenv.read(self.folder / "esp" / name).variables)
        except BootLoaderError:
            return None


@dataclass(frozen=True, slots=True)
class RecordedDisk:
    """What was done to the parts of a disk that count here.

    `esp` and `state` are where they lie, `esp_before` and `state_before` what they held before; `whole_from` is the number of
    the flush with which the slot that was written became whole, `is_good` whether the release in it passes its checks.
    """

    record: Record
    esp: Part
    state: Part
    esp_before: Sparse
    state_before: Sparse
    whole_from: int
    is_good: bool

    def cuts(self) -> Iterator[int]:
        """Yield the flushes that made something durable in these parts."""
        writes = sorted({entry.number for part in (self.esp, self.state) for entry in self.record.writes_to(part)})
        last = -1
        for flush in self.record.flushes():
            if any(last < number < flush for number in writes):
                yield flush
            last = flush

    def is_other_slot_whole(self, cut: Cut) -> bool:
        """Tell whether all of the release is sure to be in the slot that was written, after a cut."""
        return self.record.last_flush(cut.after) >= self.whole_from

    def lay(self, cut: Cut, folder: Path) -> Left:
        """Put what a cut leaves into a folder, instead of what was there.

        Raises:
            NotRecoveredError: the device could not mount its state any more.
        """
        blocks = folder / "esp"
        blocks.mkdir(exist_ok=True)
        with self.esp_before.lay(folder / "esp.img", self.record.surviving(cut, self.esp)).open("rb") as esp:
            volume = open_fat32(esp, Extent(0, self.esp.size))
            for name in BLOCKS:
                (blocks / name).write_bytes(b"".join(volume.heap.pieces(find(volume, ("grub", name)))))

        image = self.state_before.lay(folder / "state.img", self.record.surviving(cut, self.state))
        _recover(image)
        state = folder / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(mode=0o700)
        _run("debugfs", "-R", f"rdump / {state}", str(image))
        return Left(folder)


def _recover(image: Path) -> None:
    """Do what the device's own `fsck` does before it mounts; after that nothing may be left to mend."""
    for options, allowed in ((("-p",), _RECOVERED), (("-f", "-n"), 0)):
        said, exit_code = _run("e2fsck", *options, str(image))
        if exit_code > allowed:
            raise NotRecoveredError(said)


def _run(*command: str) -> tuple[str, int]:
    finished = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_ENVIRONMENT
    )
    return " ".join(finished.stdout.split()), finished.returncode
