"""How boot loaders remember slots, as values: what the firmware does at a boot, and what our marking does to the memory.

Each `mark_…` yields the memory after each separate durable write, so that a cut can fall between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot

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
    """Counts at every boot; refills the good ones when no slot has tries left."""

    order: tuple[Slot, ...] = (Slot.A, Slot.B)
    good: frozenset[Slot] = frozenset({Slot.A})
    full: tuple[int, int] = (FULL, 0)
    left: tuple[int, int] = (FULL, 0)

    def choose(self) -> tuple[Ours, Slot | None]:
        memory = self
        choosable = [slot for slot in self.order if slot in self.good and _at(self.left, slot)]
        if not choosable:
            memory = replace(self, left=self.full)
            choosable = [slot for slot in self.order if slot in self.good]
        if not choosable:
            return memory, None
        slot = choosable[0]
        return replace(memory, left=_with(memory.left, slot, _at(memory.left, slot) - 1)), slot

    def mark_good(self, slot: Slot) -> Iterator[Ours]:
        yield self._given(slot, FULL)

    def mark_bad(self, slot: Slot) -> Iterator[Ours]:
        yield replace(self, good=self.good - {slot}, full=_with(self.full, slot, 0), left=_with(self.left, slot, 0))

    def mark_active(self, slot: Slot) -> Iterator[Ours]:
        yield replace(self._given(slot, ON_TRIAL), order=(slot, slot.other))

    def was_tried(self, slot: Slot) -> Tried:
        return Tried.YES if slot in self.good and _at(self.left, slot) < _at(self.full, slot) else Tried.NO

    def can_choose(self, slot: Slot) -> bool:
        return slot in self.good

    def _given(self, slot: Slot, tries: int) -> Ours:
        return replace(self, good=self.good | {slot}, full=_with(self.full, slot, tries), left=_with(self.left, slot, tries))


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


def _at(pair: tuple[int, int], slot: Slot) -> int:
    return pair[0] if slot is Slot.A else pair[1]


def _with(pair: tuple[int, int], slot: Slot, value: int) -> tuple[int, int]:
    return (value, pair[1]) if slot is Slot.A else (pair[0], value)
