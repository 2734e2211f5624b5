"""Which slot is running, by everything that can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbupdate.core.words import Slot

_PARAMETERS: Final = frozenset({"usbupdate.slot", "rauc.slot"})


def booted_slot(
    command_line: str, bootnames: Mapping[Slot, str], behind_root: Slot | None, told_by_loader: Slot | None = None
) -> Slot:
    """Return the slot that is running.

    Args:
        command_line: the kernel's, where the boot loader says which slot it chose, by its boot name.
        bootnames: what the boot loader calls each slot.
        behind_root: the slot whose device is mounted at `/`; None if it is neither's.
        told_by_loader: the slot that a custom boot loader's `get-current` names; None of any other.

    Raises:
        BootLoaderError: nothing tells, or two sources disagree; then nothing may be marked and nothing installed.

    Source: design, section 9, "Booted slot".
    """
    slots = {name: slot for slot, name in bootnames.items()}
    told = {slot for slot in (behind_root, told_by_loader) if slot is not None}
    for word in command_line.partition(" -- ")[0].split():
        parameter, _, value = word.partition("=")
        if parameter in _PARAMETERS:
            name = value.strip('"')
            if name not in slots:
                raise BootLoaderError(problem=f"the kernel command line names the unknown slot '{name}'")
            told.add(slots[name])
    if not told:
        raise BootLoaderError(problem="neither the kernel command line nor the mounted root tells which slot is running")
    if len(told) > 1:
        witnesses = "the kernel command line and the mounted root"
        if told_by_loader is not None:
            witnesses = f"get-current, {witnesses}"
        raise BootLoaderError(problem=f"{witnesses} disagree about which slot is running")
    return told.pop()
