"""GRUB with the variables and the counting that RAUC defined, which many boards have already; see `images/grub/rauc.cfg`.

`ORDER` names the slots, best first; `<name>_OK` is 1 for a slot that may be booted, `<name>_TRY` is 1 once it was tried. At
every boot, the script takes the first in order with OK=1 and TRY=0, and sets TRY=1 on each slot that it looks at; so mark-good
must run after each boot. When none is left it sets TRY=0 on those with OK=1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from usbupdate.core.lifecycle import Tried
from usbupdate.device.bootloaders import grubenv
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from usbupdate.core.words import Slot


TRIAL: Final = "usbupdate_trial"
"""Names the slot on trial: the script's own variables look the same at every boot."""


class GrubLoader:
    """GRUB's memory of slots in a real environment block; implements `ports.BootLoader`.

    Args:
        environment: the file that holds the block; it must exist.
        bootnames: what the boot script calls each slot.
        booted: finds out which slot is running, or raises `BootLoaderError`.

    Source: design, section 6; RAUC's contrib/grub.conf.
    """

    advice: ClassVar[str] = "Set ORDER, <name>_OK and <name>_TRY there, with the bootnames of the configuration."

    def __init__(self, environment: Path, bootnames: Mapping[Slot, str], booted: Callable[[], Slot]) -> None:
        self._environment = environment
        self._bootnames = bootnames
        self._booted = booted

    def booted(self) -> Slot:
        """Return the slot that is running."""
        return self._booted()

    def mark_good(self, slot: Slot) -> None:
        """Make the slot choosable with its try; added to the order if it is not there."""
        environment = grubenv.read(self._environment)
        order = environment.words("ORDER")
        name = self._bootnames[slot]
        if name not in order:
            order = [*order, name]
        self._change(environment, {"ORDER": " ".join(order), f"{name}_OK": "1", f"{name}_TRY": "0", **self._decided(slot)})

    def mark_bad(self, slot: Slot) -> None:
        """Make the slot one that the script does not choose; it stays in the order."""
        name = self._bootnames[slot]
        self._change(grubenv.read(self._environment), {f"{name}_OK": "0", f"{name}_TRY": "0", **self._decided(slot)})
        if grubenv.read(self._environment).variables.get(f"{name}_OK") != "0":
            raise BootLoaderError(problem=f"slot {slot} could still be chosen after it was marked bad")

    def mark_active(self, slot: Slot) -> None:
        """Make the slot the first in order, with its try, in one write."""
        environment = grubenv.read(self._environment)
        name = self._bootnames[slot]
        order = [name, *(each for each in environment.words("ORDER") if each != name)]
        self._change(environment, {"ORDER": " ".join(order), f"{name}_OK": "1", f"{name}_TRY": "0", TRIAL: name})

    def was_tried(self, slot: Slot) -> Tried:
        """Tell whether the slot was tried; one that is marked bad was not."""
        environment = grubenv.read(self._environment)
        name = self._bootnames[slot]
        if name not in environment.words("ORDER"):
            return Tried.UNKNOWN
        match environment.variables.get(f"{name}_OK"), environment.variables.get(f"{name}_TRY"):
            case "1", "1":
                return Tried.YES
            case ("1", "0") | ("0", "0" | "1"):
                return Tried.NO
            case _:
                return Tried.UNKNOWN

    def is_on_trial(self, slot: Slot) -> bool:
        """Tell whether the slot was made active and neither good nor bad since."""
        return grubenv.read(self._environment).variables.get(TRIAL) == self._bootnames[slot]

    def knows(self, slot: Slot) -> bool:
        """Tell whether the environment holds what the script needs to know of the slot."""
        return self.was_tried(slot) is not Tried.UNKNOWN

    def _decided(self, slot: Slot) -> dict[str, str]:
        """Return what takes back that the slot is on trial, if it is."""
        return {TRIAL: ""} if self.is_on_trial(slot) else {}

    def _change(self, environment: grubenv.Environment, changes: Mapping[str, str]) -> None:
        # At every boot the same is said again, and flash wears.
        if changes.items() <= environment.variables.items():
            return
        grubenv.write(self._environment, environment.changed(changes))
