"""GRUB with usbupdate's own boot script, `images/grub/usbupdate.cfg`.

For each slot, the environment block holds a state (good, trial or bad) and the tries left. The script takes the first in order
that is good or on trial and has tries left, and saves one try less before it starts it, at every boot; when none has any left,
the good ones get theirs back. A second block beside the first names the committed slot, for the day the first is unreadable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from usbupdate import durable
from usbupdate.core.lifecycle import Tried
from usbupdate.device.bootloaders import grubenv
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from usbupdate.core.words import Slot

TRIAL_TRIES: Final = 3
COMMITTED_TRIES: Final = 8
COMMITTED_BLOCK: Final = "committed"
"""The name of the second block's file, in the folder of the first."""

_ORDER: Final = "usbupdate_order"
_COMMITTED: Final = "usbupdate_committed"
_GIVEN: Final = {"good": COMMITTED_TRIES, "trial": TRIAL_TRIES}
_LEFT: Final = re.compile("[0-8]")


class GrubTriesLoader:
    """GRUB's memory of slots as usbupdate's boot script keeps it; implements `ports.BootLoader`.

    Args:
        environment: the file that holds the block; it must exist.
        bootnames: what the boot script calls each slot.
        booted: finds out which slot is running, or raises `BootLoaderError`.

    Source: design, section 6; docs/adr/0009-boot-scripts.md.
    """

    advice: ClassVar[str] = (
        "Set usbupdate_order, usbupdate_<name>_state and usbupdate_<name>_left there, with the bootnames of the configuration."
    )

    def __init__(self, environment: Path, bootnames: Mapping[Slot, str], booted: Callable[[], Slot]) -> None:
        self._environment = environment
        self._committed = environment.with_name(COMMITTED_BLOCK)
        self._bootnames = bootnames
        self._booted = booted

    def booted(self) -> Slot:
        """Return the slot that is running."""
        return self._booted()

    def mark_good(self, slot: Slot) -> None:
        """Make the slot choosable with all its tries, and the one that starts if the environment is lost."""
        environment = grubenv.read(self._environment)
        name = self._bootnames[slot]
        order = self._order(environment)
        self._change(environment, [*order, name] if name not in order else order, slot, "good", COMMITTED_TRIES)
        # After the first block: until that is written, the slot is on trial and may still be given up.
        self._commit_to(slot)

    def mark_bad(self, slot: Slot) -> None:
        """Make the slot one that the script does not choose, also where the environment is lost; it stays in the order."""
        environment = grubenv.read(self._environment)
        self._commit_to(slot.other)
        self._change(environment, self._order(environment), slot, "bad", 0)
        if grubenv.read(self._environment).variables.get(self._name(slot, "state")) != "bad":
            raise BootLoaderError(problem=f"slot {slot} could still be chosen after it was marked bad")

    def mark_active(self, slot: Slot) -> None:
        """Make the slot the first in order, with the tries of a trial, in one write."""
        environment = grubenv.read(self._environment)
        order = [self._bootnames[slot], self._bootnames[slot.other]]
        self._change(environment, order, slot, "trial", TRIAL_TRIES)

    def was_tried(self, slot: Slot) -> Tried:
        """Tell whether the slot was tried: one that used all its tries was, one that is marked bad was not."""
        variables = grubenv.read(self._environment).variables
        state = variables.get(self._name(slot, "state"))
        left = variables.get(self._name(slot, "left"), "")
        if state == "bad":
            return Tried.NO
        if state not in _GIVEN or not _LEFT.fullmatch(left) or int(left) > _GIVEN[state]:
            return Tried.UNKNOWN
        return Tried.YES if int(left) < _GIVEN[state] else Tried.NO

    def is_on_trial(self, slot: Slot) -> bool:
        """Tell whether the slot was made active and neither good nor bad since."""
        return grubenv.read(self._environment).variables.get(self._name(slot, "state")) == "trial"

    def knows(self, slot: Slot) -> bool:
        """Tell whether the environment holds what the script needs to know of the slot."""
        return self.was_tried(slot) is not Tried.UNKNOWN

    def _name(self, slot: Slot, what: str) -> str:
        return f"usbupdate_{self._bootnames[slot]}_{what}"

    def _order(self, environment: grubenv.Environment) -> list[str]:
        return [name for name in environment.words(_ORDER) if name in self._bootnames.values()]

    def _change(self, environment: grubenv.Environment, order: list[str], slot: Slot, state: str, left: int) -> None:
        ours = {name: value for name, value in environment.variables.items() if name.startswith("usbupdate_")}
        ours |= {_ORDER: " ".join(order), self._name(slot, "state"): state, self._name(slot, "left"): str(left)}
        if ours.items() <= environment.variables.items():
            # At every boot the same is said again, and flash wears.
            return
        # Ours first, so that they lie in the first of the block's two sectors: one sector is written whole or not at all.
        others = {name: value for name, value in environment.variables.items() if name not in ours}
        grubenv.write(self._environment, grubenv.Environment({**ours, **others}, environment.comments))

    def _commit_to(self, slot: Slot) -> None:
        """Make the second block name the slot, whatever has become of that block."""
        wanted = grubenv.Environment({_COMMITTED: self._bootnames[slot]})
        try:
            is_there = grubenv.read(self._committed) == wanted
        except BootLoaderError:
            # Not a block: GRUB only reads it, so it may be a new file.
            try:
                durable.save(self._committed, grubenv.encode(wanted))
            except OSError as error:
                problem = f"{self._committed} could not be written: {error.strerror or type(error).__name__}"
                raise BootLoaderError(problem=problem) from error
            is_there = grubenv.read(self._committed) == wanted
        if not is_there:
            grubenv.write(self._committed, wanted)
