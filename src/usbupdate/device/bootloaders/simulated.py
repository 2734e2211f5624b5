"""A boot loader that counts tries at every boot, with its memory in one small file, kept durable as on a board.

`SimulatedLoader` is what the running system may do to that memory; `choose` is what the firmware does at a power cycle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import strictjson
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.errors import BootLoaderError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TRIAL_TRIES: Final = 3
COMMITTED_TRIES: Final = 8

_FORMAT: Final = 1
_SIZE_MAX: Final = 4096
_SLOT: Final = re.compile("[ab]")


@dataclass(frozen=True, slots=True)
class SlotMemory:
    """What the loader knows of a slot: whether it may be booted, the tries left, and how many it was given."""

    good: bool
    tries: int
    given: int


BAD: Final = SlotMemory(good=False, tries=0, given=0)
ON_TRIAL: Final = SlotMemory(good=True, tries=TRIAL_TRIES, given=TRIAL_TRIES)
COMMITTED: Final = SlotMemory(good=True, tries=COMMITTED_TRIES, given=COMMITTED_TRIES)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the loader keeps over a power cycle; `order` holds both slots, best first."""

    order: tuple[Slot, Slot]
    slots: Mapping[Slot, SlotMemory]

    def with_slot(self, slot: Slot, memory: SlotMemory) -> Memory:
        """Return the memory with one slot changed."""
        return replace(self, slots={**self.slots, slot: memory})


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot as a person sees it; `tries` is None once it is committed."""

    good: bool
    tries: int | None


def lay_down(path: Path, slot: Slot) -> None:
    """Make a new memory in which `slot` is the first in order and committed, and the other slot is bad.

    Raises:
        BootLoaderError: it could not be saved.
    """
    _save(path, Memory((slot, slot.other), {slot: COMMITTED, slot.other: BAD}))


def choose(path: Path, *, built_in: Slot = Slot.A) -> Slot:
    """Return the slot that a power cycle boots, having counted down and saved one of its tries before.

    The first in order that is good and has tries is taken. When there is none, the committed ones get their tries back, one on
    trial does not: otherwise a few quick power cycles would leave a device that boots nothing.

    Args:
        path: the loader's memory.
        built_in: what is booted, and nothing saved, when the memory cannot be read: firmware has to boot something, and only
            what was built into it is left. The agent then finds the memory unreadable too, and takes no offers.

    Raises:
        BootLoaderError: no slot is good, or the memory could not be saved.

    Source: design, section 6, last paragraph.
    """
    try:
        memory = _read(path)
    except BootLoaderError:
        return built_in
    good = [slot for slot in memory.order if memory.slots[slot].good]
    if not any(memory.slots[slot].tries for slot in good):
        for slot in good:
            if memory.slots[slot].given == COMMITTED_TRIES:
                memory = memory.with_slot(slot, COMMITTED)
    chosen = next((slot for slot in good if memory.slots[slot].tries), None)
    if chosen is None:
        raise BootLoaderError(problem="no slot is good, so nothing can be booted")
    before = memory.slots[chosen]
    _save(path, memory.with_slot(chosen, replace(before, tries=before.tries - 1)))
    return chosen


def status(path: Path) -> Mapping[Slot, SlotStatus]:
    """Return what the loader's memory says of each slot.

    Raises:
        BootLoaderError: it cannot be read.
    """
    memory = _read(path)
    return {
        slot: SlotStatus(good=each.good, tries=None if each.given == COMMITTED_TRIES else each.tries)
        for slot, each in sorted(memory.slots.items())
    }


class SimulatedLoader:
    """The loader's memory as the running system sees it; implements `ports.BootLoader`.

    Args:
        path: the file that `lay_down` made.
        booted: the slot that the last `choose` returned.
    """

    def __init__(self, path: Path, booted: Slot) -> None:
        self._path = path
        self._booted = booted

    def booted(self) -> Slot:
        """Return the slot that is running."""
        return self._booted

    def mark_good(self, slot: Slot) -> None:
        """Make the slot choosable, committed, with all its tries."""
        memory = _read(self._path)
        self._change(memory, memory.with_slot(slot, COMMITTED))

    def mark_bad(self, slot: Slot) -> None:
        """Make the slot one that is not chosen."""
        memory = _read(self._path)
        self._change(memory, memory.with_slot(slot, BAD))
        if _read(self._path).slots[slot].good:
            raise BootLoaderError(problem=f"slot {slot} could still be chosen after it was marked bad")

    def mark_active(self, slot: Slot) -> None:
        """Make the slot the first in order, with the tries of a trial."""
        memory = _read(self._path)
        self._change(memory, Memory((slot, slot.other), {**memory.slots, slot: ON_TRIAL}))

    def was_tried(self, slot: Slot) -> Tried:
        """Tell whether the slot was tried; one that is marked bad was not."""
        memory = _read(self._path).slots[slot]
        return Tried.YES if memory.good and memory.tries < memory.given else Tried.NO

    def is_on_trial(self, slot: Slot) -> bool:
        """Tell whether the slot was made active and neither good nor bad since."""
        return _read(self._path).slots[slot].given == TRIAL_TRIES

    def _change(self, before: Memory, after: Memory) -> None:
        # At every boot the same is said again, and flash wears.
        if after != before:
            _save(self._path, after)


def encode(memory: Memory) -> bytes:
    """Return a memory in the form of its file."""
    slots: dict[str, strictjson.Json] = {
        slot: {"good": each.good, "tries": each.tries, "given": each.given} for slot, each in memory.slots.items()
    }
    return strictjson.encode({"format": _FORMAT, "order": list(memory.order), "slots": slots})


def decode(raw: bytes) -> Memory:
    """Return the memory that a file holds.

    Raises:
        MalformedError: it holds none.
    """
    fields = strictjson.decode(raw, "boot loader's memory", limit=_SIZE_MAX)
    fields.integer("format", _FORMAT, _FORMAT)
    order = fields.texts("order", _SLOT, limit=2)
    slots = fields.inner("slots")
    memory = Memory(
        order=(Slot.A, Slot.B) if order[:1] == ("a",) else (Slot.B, Slot.A),
        slots={slot: _slot_memory(slots.inner(slot)) for slot in Slot},
    )
    if order != memory.order:
        fields.fail("order", "does not name each slot once")
    slots.done()
    fields.done()
    return memory


def _slot_memory(fields: strictjson.Fields) -> SlotMemory:
    memory = SlotMemory(
        good=fields.flag("good"),
        tries=fields.integer("tries", 0, COMMITTED_TRIES),
        given=fields.integer("given", 0, COMMITTED_TRIES),
    )
    if memory.given not in ((TRIAL_TRIES, COMMITTED_TRIES) if memory.good else (0,)):
        fields.fail("given", "not a number of tries that is ever given")
    if memory.tries > memory.given:
        fields.fail("tries", "more than were given")
    fields.done()
    return memory


def _read(path: Path) -> Memory:
    try:
        return decode(plainfile.read(path, _SIZE_MAX + 1))
    except OSError as error:
        raise BootLoaderError(problem=f"{path} could not be read: {error.strerror or type(error).__name__}") from error
    except MalformedError as error:
        raise BootLoaderError(problem=str(error)) from error


def _save(path: Path, memory: Memory) -> None:
    try:
        durable.save(path, encode(memory))
    except OSError as error:
        raise BootLoaderError(problem=f"{path} could not be saved: {error.strerror or type(error).__name__}") from error
