"""What an installation costs, in counts that are the same on every machine: a change that makes it dearer is seen here.

Seconds are measured by benchmarks/install.py. A number below may be lowered by whoever makes it so, and raised with a reason.
"""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.payload import CHUNK, ROOTFS, SlotFile, Told, an_image, packed
from usbupdate.core import frames
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import PIECES, WORKERS, unfinished_max

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.unpack import Failed
    from usbupdate.medium import DirectoryMedium

COUNT = 192
FULL = 128
"""Chunks with contents; the others are zeros."""

IMAGE = an_image(FULL) + bytes((COUNT - FULL) * CHUNK)
PAYLOAD = packed({ROOTFS: IMAGE}, chunks_per_pack=1000)
STORED = sum(pack.size for pack in PAYLOAD.artifact.packs)
INDEX = PAYLOAD.artifact.index.size
CALLS = ("open", "close", "read", "pread", "preadv", "pwrite", "fsync", "fstat", "lseek", "posix_fadvise")


class Costs:
    """What was asked of the system, and how many frames were decompressed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin to count."""
        self.calls: Counter[str] = Counter()
        self.read_bytes = 0
        self.decompressed = 0


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch, _direct_io: None) -> Costs:
    """Counts what is asked of the system until the test ends."""
    counted = Costs()

    def counting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            counted.calls[name] += 1
            answer = real(*arguments, **options)
            if isinstance(answer, bytes):
                counted.read_bytes += len(answer)
            return answer

        return call

    unpack = frames.unpack

    def unpacking(frame: bytes, size: int, dictionary: bytes = b"") -> bytes | Failed:
        counted.decompressed += 1
        return unpack(frame, size, dictionary)

    for name in CALLS:
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    monkeypatch.setattr(frames, "unpack", unpacking)
    return counted


def install(mount: Path, medium: DirectoryMedium, slot: SlotFile, workers: int, costs: Costs) -> None:
    PAYLOAD.write(mount)
    image = slot.open()
    costs.reset()
    with medium.kept_open():
        installer = Installer(PAYLOAD.manifest, medium, {ROOTFS: image}, workers=workers)
        installer.verify(Told())
        installer.install(Told())
    image.close()


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_an_empty_slot_costs_two_readings_of_the_stick_and_one_of_the_slot(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, costs: Costs, workers: int
) -> None:
    slot = SlotFile(tmp_path / "slot", b"\xaa" * len(IMAGE))

    install(mount, medium, slot, workers, costs)

    # One block of each chunk of zeros shows that it is something else.
    looks = costs.calls["preadv"] + costs.calls["pread"] - COUNT - 2 * FULL - (COUNT - FULL)
    assert costs.decompressed == FULL
    assert costs.read_bytes == INDEX + 2 * STORED
    assert costs.calls["pwrite"] == COUNT
    # The others are looked at sixteen times in vain, and then rarely.
    assert looks <= 17 + unfinished_max(workers) + FULL // 8
    assert sum(costs.calls.values()) <= 4 * COUNT + 3 * FULL


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_what_was_installed_before_costs_one_reading_of_the_slot_and_nothing_else(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, costs: Costs, workers: int
) -> None:
    slot = SlotFile(tmp_path / "slot", IMAGE)

    install(mount, medium, slot, workers, costs)

    assert (costs.decompressed, costs.calls["pwrite"], costs.read_bytes) == (0, 0, INDEX)
    # The first look at zeros is a block and the chunk, and so for those that are looked at meanwhile.
    assert COUNT < costs.calls["preadv"] <= COUNT + workers
    assert sum(costs.calls.values()) <= COUNT + 64


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_an_installation_that_goes_on_reads_and_writes_what_is_missing(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, costs: Costs, workers: int
) -> None:
    done = 3 * FULL // 4
    slot = SlotFile(tmp_path / "slot", IMAGE[: done * CHUNK] + b"\xaa" * ((COUNT - done) * CHUNK))

    install(mount, medium, slot, workers, costs)

    assert (costs.decompressed, costs.calls["pwrite"]) == (FULL - done, COUNT - done)
    assert costs.read_bytes < INDEX + 2 * STORED * (FULL - done + 1) // FULL
    # What it held was read when it was looked at, and what was written is read back; with some looks in vain.
    assert costs.calls["preadv"] <= COUNT + 17 + unfinished_max(workers) + (COUNT - FULL) + (COUNT - done) // 8


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_zeros_that_the_slot_holds_are_read_once(
    mount: Path, medium: DirectoryMedium, tmp_path: Path, costs: Costs, workers: int
) -> None:
    slot = SlotFile(tmp_path / "slot", bytes(len(IMAGE)))

    install(mount, medium, slot, workers, costs)

    assert costs.calls["pwrite"] == FULL
    assert costs.calls["preadv"] <= COUNT + 17 + unfinished_max(workers) + FULL // 8 + 3


def test_memory_is_a_few_chunks_a_thread(mount: Path, medium: DirectoryMedium, tmp_path: Path, costs: Costs) -> None:
    slot = SlotFile(tmp_path / "slot", b"\xaa" * len(IMAGE))
    PAYLOAD.write(mount)

    tracemalloc.start()
    try:
        install(mount, medium, slot, WORKERS, costs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < (PIECES * WORKERS + 4) * CHUNK
