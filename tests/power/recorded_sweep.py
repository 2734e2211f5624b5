"""Cuts through all of one recorded update: at each flush, and between two of them with whatever chance leaves of the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.power.recorded_device import RecordedDevice, Rested
from tests.vm.blockrecord import Cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.power.recorded_disk import RecordedDisk

SEEDS: Final = (1, 2)
"""How often chance decides before each flush what of the unflushed writes is there."""


@dataclass(slots=True)
class Tally:
    """What a sweep saw: how often a cut in which state, with or without survivors, led by which boots to which end."""

    cuts: int = 0
    ends: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, cut: Cut, rested: Rested) -> None:
        """Note how one cut ended."""
        self.cuts += 1
        mode = "all lost" if cut.seed is None else "some survive"
        self.ends[rested.state, mode, " ".join(rested.slots), rested.last_event] += 1
        self.problems += [f"{cut}, {rested.state}: {problem}" for problem in rested.problems]

    def states(self) -> set[str]:
        """Return in which states the device was cut."""
        return {state for state, *_ in self.ends}

    def lines(self) -> Iterator[str]:
        """Yield the table: how many cuts, in which state and mode, the slots that were started, the last receipt."""
        for (state, mode, slots, event), count in sorted(self.ends.items()):
            yield f"{count:4} {state:11} {mode:13} {slots:8} {event}"


def sweep(disk: RecordedDisk, folder: Path, seeds: tuple[int, ...] = SEEDS) -> Tally:
    """Cut, restart and judge; `folder` is empty, best in memory."""
    tally = Tally()
    device = RecordedDevice(disk, folder)
    for cut in _cuts(disk, seeds):
        tally.add(cut, device.rest_after(cut))
    return tally


def _cuts(disk: RecordedDisk, seeds: tuple[int, ...]) -> Iterator[Cut]:
    for flush in disk.cuts():
        # Just before a flush there is most to lose, in the middle there may be a half of what belongs together.
        yield from (Cut(flush - 1, seed) for seed in seeds)
        yield Cut(flush)
