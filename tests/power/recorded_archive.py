"""A recorded update in one small file: only what the device remembers, and only where something changed in it.

A tar archive in a zstd frame: `esp` and `state` as they were before, `record` in the format of `blockrecord` with the writes to
these two, and `facts.json`. The programs on the EFI partition are left out: nothing here starts them.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import zstandard

from refdevice.fat32 import open_fat32
from refdevice.partitiontable import Extent
from refdevice.volume import find
from tests.power.recorded_disk import RecordedDisk, Sparse
from tests.vm.blockrecord import MAGIC, SECTOR, Part, Record, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.blockrecord import Entry

_PROGRAM: Final = ("EFI", "BOOT", "BOOTX64.EFI")
_SIZE_MAX: Final = 128 << 20


def save(disk: RecordedDisk, path: Path) -> None:
    """Write the archive of a recorded disk."""
    kept = _kept(disk)
    numbers = [entry.number for entry in kept]
    facts = {
        "esp": asdict(disk.esp),
        "state": asdict(disk.state),
        "whole_from": numbers.index(disk.whole_from),
        "is_good": disk.is_good,
    }
    members = {
        "facts.json": json.dumps(facts).encode(),
        "esp": _without_program(disk.esp_before.contents()),
        "state": disk.state_before.contents(),
        "record": _encoded(disk.record, kept),
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, contents in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    path.write_bytes(zstandard.ZstdCompressor(level=19).compress(archive.getvalue()))


def load(path: Path, folder: Path) -> RecordedDisk:
    """Return what an archive holds; its record is put into a folder."""
    archive = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=_SIZE_MAX)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        contents = {name: file.read() for name, file in members.items() if file is not None}
    facts = json.loads(contents["facts.json"])
    (folder / "record").write_bytes(contents["record"])
    return RecordedDisk(
        record=read_record(folder / "record"),
        esp=Part(**facts["esp"]),
        state=Part(**facts["state"]),
        esp_before=Sparse.of(contents["esp"]),
        state_before=Sparse.of(contents["state"]),
        whole_from=facts["whole_from"],
        is_good=facts["is_good"],
    )


def _kept(disk: RecordedDisk) -> list[Entry]:
    """Return the writes to the two parts and the flushes that make them durable."""
    written = {entry.number for part in (disk.esp, disk.state) for entry in disk.record.writes_to(part)}
    flushes = {*disk.cuts(), disk.whole_from}
    return [entry for entry in disk.record.entries if entry.number in written | flushes]


def _encoded(record: Record, entries: list[Entry]) -> bytes:
    parts = [struct.pack("<QQQI", MAGIC, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")]
    with record.path.open("rb") as file:
        for entry in entries:
            header = struct.pack("<QQQQ", entry.start // SECTOR, entry.size // SECTOR, entry.flags, 0)
            parts.append(header.ljust(SECTOR, b"\0"))
            if entry.data_at:
                file.seek(entry.data_at)
                parts.append(file.read(entry.size))
    return b"".join(parts)


def _without_program(esp: bytes) -> bytes:
    contents = bytearray(esp)
    volume = open_fat32(io.BytesIO(esp), Extent(0, len(esp)))
    for cluster in volume.heap.clusters(find(volume, _PROGRAM)):
        start = volume.heap.offset(cluster)
        contents[start : start + volume.heap.cluster_size] = bytes(volume.heap.cluster_size)
    return bytes(contents)
