"""How boot loaders remember slots, as values: what the firmware does at a boot, and what our marking does to the memory.

Each `mark_…` yields the memory after each separate durable write, so that a cut can fall between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from tests.power.grub_scripts import Disk, usbupdate
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.errors import BootLoaderError

_T = TypeVar("_T")

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = 8
ON_TRIAL = 3
UBOOT_TRIES = 3


class Memory(Protocol):
    """A boot loader's memory; immutable."""

    def choose(self) -> tuple[Memory, Slot | None]: ...
    def mark_good(self, slot: Slot) -> Iterator[Memory]: ...
    def mark_bad(self, slot: Slot) -> Iterator[Memory]: ...
    def mark_active(self, slot: Slot) -> Iterator[Memory]: ...
    def was_tried(self, slot: Slot) -> Tried: ...
    def can_choose(self, slot: Slot) -> bool: ...


@dataclass(frozen=True)
class Ours:
    """What `usbupdate.cfg` and `GrubTriesLoader` do; `committed` is the second block, `is_lost` the fate of the first."""

    order: tuple[Slot, ...] = (Slot.A, Slot.B)
    states: tuple[str, str] = ("good", "bad")
    left: tuple[int, int] = (FULL, 0)
    committed: Slot = Slot.A
    is_lost: bool = False

    def lose(self) -> Ours:
        """Return what is left when the first block cannot be read any more."""
        return replace(self, is_lost=True)

    def choose(self) -> tuple[Ours, Slot | None]:
        return _started(self)

    def mark_good(self, slot: Slot) -> Iterator[Ours]:
        marked = self._marked(slot, "good", FULL)
        yield marked
        if self.committed is not slot:
            yield replace(marked, committed=slot)

    def mark_bad(self, slot: Slot) -> Iterator[Ours]:
        marked = self._marked(slot, "bad", 0)
        if self.committed is slot:
            yield replace(self, committed=slot.other)
        yield replace(marked, committed=slot.other)

    def mark_active(self, slot: Slot) -> Iterator[Ours]:
        yield replace(self._marked(slot, "trial", ON_TRIAL), order=(slot, slot.other))

    def was_tried(self, slot: Slot) -> Tried:
        self._require()
        given = {"good": FULL, "trial": ON_TRIAL, "bad": 0}[_at(self.states, slot)]
        return Tried.YES if _at(self.left, slot) < given else Tried.NO

    def can_choose(self, slot: Slot) -> bool:
        return slot is self.committed if self.is_lost else _at(self.states, slot) != "bad"

    def _marked(self, slot: Slot, state: str, tries: int) -> Ours:
        self._require()
        return replace(self, states=_with(self.states, slot, state), left=_with(self.left, slot, tries))

    def _require(self) -> None:
        if self.is_lost:
            raise BootLoaderError(problem="the environment block is lost")


@cache
def _started(memory: Ours) -> tuple[Ours, Slot | None]:
    variables = {"usbupdate_order": " ".join(memory.order)}
    for slot in Slot:
        variables[f"usbupdate_{slot}_state"] = _at(memory.states, slot)
        variables[f"usbupdate_{slot}_left"] = str(_at(memory.left, slot))
    committed = {"usbupdate_committed": str(memory.committed)}
    disk = Disk(None if memory.is_lost else variables, committed, frozenset(Slot))
    start = usbupdate(disk, (Slot.A, Slot.B))
    after = start.variables or variables
    left = (int(after["usbupdate_a_left"]), int(after["usbupdate_b_left"]))
    return replace(memory, left=left), None if start.slot is None else Slot(start.slot)


@dataclass(frozen=True)
class RaucGrub:
    """RAUC's GRUB script: one try, counted at every boot; a rescue entry when none is left."""

    order: tuple[Slot, ...] = (Slot.A, Slot.B)
    ok: tuple[int, int] = (1, 0)
    tried: tuple[int, int] = (0, 0)

    def choose(self) -> tuple[RaucGrub, Slot | None]:
        tried = self.tried
        for slot in self.order:
            is_choice = _at(self.ok, slot) == 1 and _at(tried, slot) == 0
            tried = _with(tried, slot, 1)
            if is_choice:
                return replace(self, tried=tried), slot
        cleared = tuple(0 if ok else tries for ok, tries in zip(self.ok, tried, strict=True))
        return replace(self, tried=(cleared[0], cleared[1])), None

    def mark_good(self, slot: Slot) -> Iterator[RaucGrub]:
        yield replace(self, ok=_with(self.ok, slot, 1), tried=_with(self.tried, slot, 0))

    def mark_bad(self, slot: Slot) -> Iterator[RaucGrub]:
        yield replace(self, ok=_with(self.ok, slot, 0), tried=_with(self.tried, slot, 0))

    def mark_active(self, slot: Slot) -> Iterator[RaucGrub]:
        yield replace(self, order=(slot, slot.other), ok=_with(self.ok, slot, 1), tried=_with(self.tried, slot, 0))

    def was_tried(self, slot: Slot) -> Tried:
        return Tried.YES if _at(self.ok, slot) and _at(self.tried, slot) else Tried.NO

    def can_choose(self, slot: Slot) -> bool:
        return _at(self.ok, slot) == 1


@dataclass(frozen=True)
class RaucUboot:
    """RAUC's U-Boot script: three tries at every boot, and order and tries written one after the other."""

    order: tuple[Slot, ...] = (Slot.A,)
    left: tuple[int, int] = (UBOOT_TRIES, 0)

    def choose(self) -> tuple[RaucUboot, Slot | None]:
        for slot in self.order:
            if _at(self.left, slot) > 0:
                return replace(self, left=_with(self.left, slot, _at(self.left, slot) - 1)), slot
        return replace(self, left=(UBOOT_TRIES, UBOOT_TRIES)), None

    def mark_good(self, slot: Slot) -> Iterator[RaucUboot]:
        yield replace(self, left=_with(self.left, slot, UBOOT_TRIES))

    def mark_bad(self, slot: Slot) -> Iterator[RaucUboot]:
        without = replace(self, order=tuple(each for each in self.order if each is not slot))
        yield without
        yield replace(without, left=_with(self.left, slot, 0))

    def mark_active(self, slot: Slot) -> Iterator[RaucUboot]:
        refilled = replace(self, left=_with(self.left, slot, UBOOT_TRIES))
        yield refilled
        yield replace(refilled, order=(slot, *(each for each in self.order if each is not slot)))

    def was_tried(self, slot: Slot) -> Tried:
        return Tried.YES if slot in self.order and _at(self.left, slot) < UBOOT_TRIES else Tried.NO

    def can_choose(self, slot: Slot) -> bool:
        return slot in self.order


def _at(pair: tuple[_T, _T], slot: Slot) -> _T:
    return pair[0] if slot is Slot.A else pair[1]


def _with(pair: tuple[_T, _T], slot: Slot, value: _T) -> tuple[_T, _T]:
    return (value, pair[1]) if slot is Slot.A else (pair[0], value)
