from __future__ import annotations

import pytest

from usbupdate.core.words import Slot
from usbupdate.device.booted import booted_slot
from usbupdate.errors import BootLoaderError

BOOTNAMES = {Slot.A: "A", Slot.B: "B"}


@pytest.mark.parametrize(
    ("command_line", "behind_root", "booted"),
    [
        ("quiet usbupdate.slot=B", None, Slot.B),
        ("rauc.slot=A quiet\n", None, Slot.A),
        ("usbupdate.slot=B rauc.slot=B", Slot.B, Slot.B),
        ('rauc.slot="A"', Slot.A, Slot.A),
        ("quiet", Slot.B, Slot.B),
        ("quiet -- rauc.slot=A", Slot.B, Slot.B),
        ("xrauc.slot=A", Slot.B, Slot.B),
    ],
)
def test_sources_that_agree_name_the_slot(command_line: str, behind_root: Slot | None, booted: Slot) -> None:
    assert booted_slot(command_line, BOOTNAMES, behind_root) is booted


@pytest.mark.parametrize(
    ("command_line", "behind_root", "problem"),
    [
        ("quiet", None, "neither"),
        ("rauc.slot=A", Slot.B, "disagree"),
        ("rauc.slot=A usbupdate.slot=B", None, "disagree"),
        ("rauc.slot=A rauc.slot=B", Slot.A, "disagree"),
        ("rauc.slot=C", Slot.A, "unknown slot 'C'"),
        ("rauc.slot=", Slot.A, "unknown slot ''"),
        ("rauc.slot", Slot.A, "unknown slot ''"),
    ],
)
def test_sources_that_disagree_or_say_nothing_are_an_error(command_line: str, behind_root: Slot | None, problem: str) -> None:
    with pytest.raises(BootLoaderError, match=problem):
        booted_slot(command_line, BOOTNAMES, behind_root)
