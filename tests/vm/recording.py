"""Whole updates of the reference device, once for all scenarios, with every write and flush to its disk and its stick."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from refdevice.cache import cached, digest_of
from refdevice.disk import copy_sparse
from refdevice.guest import Guest
from refdevice.machine import Disk, Start, Stick
from tests.vm import testbed
from tests.vm.blockrecord import Cut, Part, Record, read_record
from tests.vm.steps import answer

if TYPE_CHECKING:
    from refdevice.release import Fault

_DISK: Final = "disk.record"
_STICK: Final = "stick.record"
_STICK_BEFORE: Final = "stick-before.img"
_TIMELINE: Final = "timeline.json"
_LOOK_EVERY_S: Final = 0.005
_FILLER: Final = ("usr/share/filler", random.Random(4).randbytes(3 << 20).hex())  # noqa: S311 - the same at every build
"""What makes an installation long enough to be cut in its middle: else the two releases differ in a few bytes."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One update: the disk and the stick before it, and what was done to both from then on.

    `timeline` holds how long both records were at the same time, in bytes, from moment to moment.
    """

    disk_before: Path
    disk: Record
    stick_before: Path
    stick: Record
    timeline: tuple[tuple[int, int], ...]

    def disk_when_stick(self, after: int) -> int:
        """Return the disk's last entry at the time of an entry of the stick."""
        reached = bisect_left(self.timeline, _end(self.stick, after), key=lambda pair: pair[1])
        length = self.timeline[min(reached, len(self.timeline) - 1)][0]
        return max(entry.number for entry in self.disk.entries if _end(self.disk, entry.number) <= length)

    def stick_when_disk(self, after: int) -> int:
        """Return the stick's last entry at the time of an entry of the disk; -1 if there is none yet."""
        reached = bisect_left(self.timeline, _end(self.disk, after), key=lambda pair: pair[0])
        length = self.timeline[min(reached, len(self.timeline) - 1)][1]
        return max((entry.number for entry in self.stick.entries if _end(self.stick, entry.number) <= length), default=-1)

    def lay_disk(self, cut: Cut, target: Path) -> Path:
        """Make the disk as a cut leaves it, and return its path."""
        return _lay(self.disk_before, self.disk, cut, target)

    def lay_stick(self, cut: Cut, target: Path) -> Path:
        """Make the stick as a cut leaves it, and return its path."""
        return _lay(self.stick_before, self.stick, cut, target)


def recorded_update(fault: Fault | None = None) -> Recording:
    """Return an update to the next release by a stick that stays in, until the device says how it ended, and on to its rest."""
    resting = testbed.resting_device()
    release = testbed.next_release(fault, settings=(_FILLER,))
    key = digest_of(resting.disk.parent.name, testbed.stick_folder(release).name, Path(__file__))

    def build(target: Path) -> None:
        target.mkdir()
        used = testbed.stick_image(target / "stick.img", release)
        copy_sparse(used, target / _STICK_BEFORE)
        for name in (_DISK, _STICK):
            (target / name).touch()
        disk = testbed.overlay(resting.disk, target / "disk.qcow2")
        start = Start(Disk(disk.path, disk.format, target / _DISK), saved=resting.memory)
        with Guest(target, start) as guest, _Watch(target) as watch:
            guest.machine.run()
            guest.machine.plug(Stick(used, record=target / _STICK))
            guest.expect_boot("B, on trial")
            if fault is not None:
                guest.expect_boot("A")
            answer(guest)
            guest.expect_shell()
            guest.run("systemctl is-system-running --wait || true; sync")
            guest.transcript.keep(target / "transcript.log")
            guest.machine.end()
        (target / _TIMELINE).write_text(json.dumps(watch.seen))
        used.unlink()
        disk.path.unlink()

    folder = cached(f"recorded-{fault or 'good'}", key, build)
    timeline = tuple((int(disk), int(stick)) for disk, stick in json.loads((folder / _TIMELINE).read_text()))
    assert all(one <= other for first, second in pairwise(timeline) for one, other in zip(first, second, strict=True))
    disk, stick = read_record(folder / _DISK), read_record(folder / _STICK)
    return Recording(resting.disk, disk, folder / _STICK_BEFORE, stick, timeline)


class _Watch:
    """Looks from time to time how long the two records are: they have no clock in common."""

    def __init__(self, folder: Path) -> None:
        self.seen = [(0, 0)]
        self._files = folder / _DISK, folder / _STICK
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            disk, stick = (file.stat().st_size for file in self._files)
            if (disk, stick) != self.seen[-1]:
                self.seen.append((disk, stick))


def _end(record: Record, number: int) -> int:
    """Return where in its record an entry ends."""
    return record.entries[number].end


def _lay(before: Path, record: Record, cut: Cut, target: Path) -> Path:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", before, target], check=True)
    with target.open("r+b") as file:
        for start, data in record.surviving(cut, Part(0, target.stat().st_size)):
            file.seek(start)
            file.write(data)
    return target
