from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.booted import booted_slot
from usbupdate.device.bootloaders.board import board_loader, told_by_loader
from usbupdate.device.bootloaders.custom import CustomLoader, current_slot
from usbupdate.device.bootloaders.settings import CustomConfiguration, SimulatedConfiguration
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from pathlib import Path

BOOTNAMES = {Slot.A: "A", Slot.B: "B"}


def program(folder: Path, script: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def loader_of(folder: Path, script: str) -> CustomLoader:
    return CustomLoader(program(folder, script), BOOTNAMES, lambda: Slot.A)


ODD = [
    "",
    "echo",
    "echo good bad",
    "echo Good",
    "echo good; exit 1",
    "printf '\\377'",
    "kill -9 $$",
    "echo warning >&2; echo good",
]


@pytest.mark.parametrize("script", ODD)
def test_an_odd_answer_is_an_error(tmp_path: Path, script: str) -> None:
    loader = loader_of(tmp_path, script)
    for act in (loader.was_tried, loader.knows, loader.mark_good, loader.mark_bad, loader.mark_active):
        with pytest.raises(BootLoaderError):
            act(Slot.B)


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BootLoaderError, match="could not be started"):
        CustomLoader(tmp_path / "none", BOOTNAMES, lambda: Slot.A).was_tried(Slot.A)


def test_a_loader_that_ignores_marks_is_an_error(tmp_path: Path) -> None:
    good = loader_of(tmp_path, 'case "$1" in get-primary) echo B;; get-state) echo good;; esac')
    with pytest.raises(BootLoaderError, match="could still be chosen"):
        good.mark_bad(Slot.B)
    with pytest.raises(BootLoaderError, match="not the next one"):
        good.mark_active(Slot.A)
    bad = loader_of(tmp_path, 'case "$1" in get-primary) echo B;; get-state) echo bad;; esac')
    with pytest.raises(BootLoaderError, match="could still be chosen"):
        bad.mark_bad(Slot.B)
    with pytest.raises(BootLoaderError, match="not good"):
        bad.mark_good(Slot.B)


def test_it_can_tell_of_a_bad_slot_only_that_it_was_not_tried(tmp_path: Path) -> None:
    assert loader_of(tmp_path, "echo bad").was_tried(Slot.B) is Tried.NO
    assert loader_of(tmp_path, "echo good").was_tried(Slot.B) is Tried.UNKNOWN


def test_names_that_the_program_does_not_know_are_found(tmp_path: Path) -> None:
    script = 'case "$1" in get-primary) echo rescue;; get-state) echo good;; esac'
    assert not loader_of(tmp_path, script).knows(Slot.A)


def test_the_running_slot_is_what_get_current_says(tmp_path: Path) -> None:
    assert current_slot(program(tmp_path, '[ "$1" = get-current ] && echo B'), BOOTNAMES) is Slot.B


@pytest.mark.parametrize("script", ["echo C", "echo", "exit 1", "echo A B"])
def test_an_unknown_running_slot_is_an_error(tmp_path: Path, script: str) -> None:
    with pytest.raises(BootLoaderError):
        current_slot(program(tmp_path, script), BOOTNAMES)


def test_get_current_is_one_source_beside_the_kernel_line_and_the_root(tmp_path: Path) -> None:
    settings = CustomConfiguration(program(tmp_path, "echo B"))
    told = told_by_loader(settings, BOOTNAMES)
    assert booted_slot("quiet", BOOTNAMES, None, told) is Slot.B
    assert booted_slot("rauc.slot=B", BOOTNAMES, Slot.B, told) is Slot.B
    for line, behind_root in (("usbupdate.slot=A", None), ("quiet", Slot.A), ("rauc.slot=B", Slot.A)):
        with pytest.raises(BootLoaderError, match=r"get-current.*disagree"):
            booted_slot(line, BOOTNAMES, behind_root, told)


def test_only_a_custom_boot_loader_is_asked(tmp_path: Path) -> None:
    assert told_by_loader(SimulatedConfiguration(tmp_path), BOOTNAMES) is None


def test_a_simulated_boot_loader_starts_no_board(tmp_path: Path) -> None:
    with pytest.raises(BootLoaderError, match="simulated"):
        board_loader(SimulatedConfiguration(tmp_path), BOOTNAMES, lambda: Slot.A)
