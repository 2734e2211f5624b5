"""At which moments of a recorded update the power can be cut: what the device has durably remembered at each flush."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refdevice import layout
from refdevice.cache import cached, digest_of
from refdevice.disk import offset_of
from tests.power import recorded_disk as recorded_disk_module
from tests.power.recorded_disk import RecordedDisk, Sparse
from tests.vm.blockrecord import Cut, Part

if TYPE_CHECKING:
    from tests.vm.recording import Recording


@dataclass(frozen=True, slots=True)
class Moment:
    """A flush, and what stands on the disk from then on.

    `state` is the device's, `other` that of slot b for the boot loader, with the tries that it has left; `noted` is the slot
    that starts if that is lost; `is_written` tells whether slot b is whole.
    """

    after: int
    state: str
    other: str
    noted: str
    is_written: bool


def part_of(partition: layout.DiskPartition) -> Part:
    """Return where a partition lies."""
    return Part(offset_of(partition), partition.size)


def recorded_disk(recording: Recording, *, is_good: bool) -> RecordedDisk:
    """Return the parts of a recorded update in which the device remembers anything."""
    esp, state = part_of(layout.ESP), part_of(layout.STATE)
    last_write = max(entry.number for entry in recording.disk.writes_to(part_of(layout.ROOTFS_B)))
    with recording.disk_before.open("rb") as disk:
        before = []
        for part in (esp, state):
            disk.seek(part.start)
            before.append(Sparse.of(disk.read(part.size)))
    return RecordedDisk(
        recording.disk, esp, state, before[0], before[1], recording.disk.flushes(last_write)[0], is_good=is_good
    )


def moments(recording: Recording) -> list[Moment]:
    """Return every moment at which what the device remembers has changed, in their order."""
    key = digest_of(recording.disk.path.parent.name, Path(__file__), Path(recorded_disk_module.__file__))

    def build(target: Path) -> None:
        target.write_text(json.dumps([asdict(each) for each in _found(recorded_disk(recording, is_good=True))]))

    return [Moment(**each) for each in json.loads(cached("moments", key, build).read_text())]


def _found(disk: RecordedDisk) -> list[Moment]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for after in disk.cuts():
            cut = Cut(after)
            left = disk.lay(cut, Path(folder))
            memory, noted = left.block("grubenv") or {}, left.block("committed") or {}
            other = f"{memory.get('usbupdate_B_state')} {memory.get('usbupdate_B_left')}"
            state = type(left.record().state).__name__
            found.append(Moment(after, state, other, noted.get("usbupdate_committed", ""), disk.is_other_slot_whole(cut)))
    return found
