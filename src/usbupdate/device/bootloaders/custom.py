"""Any other boot loader, through a program that speaks for it: the contract of RAUC's custom boot loader backend.

| call | answer |
|---|---|
| `get-primary` | the bootname of the slot that starts next |
| `set-primary NAME` | none: NAME starts next, with its tries |
| `get-state NAME` | `good` or `bad`: whether NAME may be started |
| `set-state NAME good` or `bad` | none |
| `get-current` | the bootname of the running slot |

An answer is one line. Any other exit code than 0, another answer and none in time are errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from usbupdate.core.lifecycle import Tried
from usbupdate.device import process
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from usbupdate.core.words import Slot

_TIMEOUT_S: Final = 30.0


class CustomLoader:
    """The memory of slots behind a program; implements `ports.BootLoader`.

    Args:
        program: an executable of the image.
        bootnames: what it calls each slot.
        booted: finds out which slot is running from all that can tell, `current_slot` among it, or raises `BootLoaderError`.

    Source: design, sections 6 and 9; RAUC's reference, "Custom bootloader backend".
    """

    advice: ClassVar[str] = (
        "Let the program answer get-primary, get-state and get-current with the bootnames of the configuration."
    )

    def __init__(self, program: Path, bootnames: Mapping[Slot, str], booted: Callable[[], Slot]) -> None:
        self._program = program
        self._bootnames = bootnames
        self._booted = booted

    def booted(self) -> Slot:
        """Return the slot that is running."""
        return self._booted()

    def mark_good(self, slot: Slot) -> None:
        """Call the slot good; the program gives it all its tries. Said at every boot, for only the program knows the tries."""
        _run(self._program, "set-state", self._bootnames[slot], "good")
        if not self._is_good(slot):
            raise BootLoaderError(problem=f"slot {slot} is not good after it was marked good")

    def mark_bad(self, slot: Slot) -> None:
        """Make the slot neither the next one nor good."""
        # Also where it is called bad already: a slot out of tries may get them back, one that was marked bad may not.
        _run(self._program, "set-state", self._bootnames[slot], "bad")
        if self._is_primary(slot):
            _run(self._program, "set-primary", self._bootnames[slot.other])
        if self._is_primary(slot) or self._is_good(slot):
            raise BootLoaderError(problem=f"slot {slot} could still be chosen after it was marked bad")

    def mark_active(self, slot: Slot) -> None:
        """Make the slot the next one; the program gives it the tries of a trial."""
        _run(self._program, "set-primary", self._bootnames[slot])
        if not self._is_primary(slot):
            raise BootLoaderError(problem=f"slot {slot} is not the next one after it was marked active")

    def was_tried(self, slot: Slot) -> Tried:
        """Tell that a bad slot was not tried; of any other, the program cannot tell."""
        return Tried.UNKNOWN if self._is_good(slot) else Tried.NO

    def is_on_trial(self, slot: Slot) -> None:
        """Tell nothing: the program's contract has no word for it."""

    def knows(self, slot: Slot) -> bool:
        """Tell whether the program answers for the slot."""
        self._is_good(slot)
        return _ask(self._program, "get-primary") in self._bootnames.values()

    def _is_primary(self, slot: Slot) -> bool:
        return _ask(self._program, "get-primary") == self._bootnames[slot]

    def _is_good(self, slot: Slot) -> bool:
        state = _ask(self._program, "get-state", self._bootnames[slot])
        if state not in {"good", "bad"}:
            raise BootLoaderError(problem=f"{self._program} get-state answers '{state}', not good or bad")
        return state == "good"


def current_slot(program: Path, bootnames: Mapping[Slot, str]) -> Slot:
    """Return the slot that the program says is running.

    Raises:
        BootLoaderError: it does not say, or names none of ours.
    """
    name = _ask(program, "get-current")
    for slot, bootname in bootnames.items():
        if bootname == name:
            return slot
    raise BootLoaderError(problem=f"{program} get-current names the unknown slot '{name}'")


def _ask(program: Path, *arguments: str) -> str:
    words = _run(program, *arguments).decode("utf-8", errors="replace").split()
    if len(words) != 1:
        raise BootLoaderError(problem=f"{program} {arguments[0]} does not answer with one word")
    return words[0]


def _run(program: Path, *arguments: str) -> bytes:
    try:
        finished = process.run([program, *arguments], timeout_s=_TIMEOUT_S)
    except OSError as error:
        raise BootLoaderError(problem=f"{program} could not be started: {error.strerror}") from error
    if not finished.succeeded:
        raise BootLoaderError(problem=f"{program} {arguments[0]}: {finished.last_line}")
    return finished.output
