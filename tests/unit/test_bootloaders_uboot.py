"""U-Boot's loader with libubootenv's own tools, on a redundant environment in two files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.uboot import MISSING, SIZE, UbootBoard
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device import process
from usbupdate.device.bootloaders.uboot import UbootLoader
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"libubootenv-tool is not here: {', '.join(MISSING)}")

BOOTNAMES = {Slot.A: "A", Slot.B: "B"}
START = {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"}


@pytest.fixture
def board(tmp_path: Path) -> UbootBoard:
    made = UbootBoard(tmp_path)
    made.set(**START, ethaddr="00:11:22:33:44:55")
    return made


@pytest.fixture
def loader(board: UbootBoard) -> UbootLoader:
    return UbootLoader(board.config, BOOTNAMES, lambda: Slot.A)


def variables(board: UbootBoard) -> dict[str, str]:
    """Return the variables; what others keep there must be there still."""
    read = board.variables
    assert read.pop("ethaddr") == "00:11:22:33:44:55"
    return read


def test_an_update_in_raucs_names(board: UbootBoard, loader: UbootLoader) -> None:
    loader.mark_bad(Slot.B)
    assert variables(board) == {"BOOT_ORDER": "A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"}
    loader.mark_active(Slot.B)
    trial = {"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3", "usbupdate_trial": "B"}
    assert variables(board) == trial
    board.set(BOOT_B_LEFT="2")
    loader.mark_good(Slot.B)
    assert variables(board) == {"BOOT_ORDER": "B A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "3"}


def test_a_slot_that_the_order_lost_is_put_back_into_it(board: UbootBoard, loader: UbootLoader) -> None:
    board.set(BOOT_ORDER="B rescue")
    loader.mark_good(Slot.A)
    assert variables(board)["BOOT_ORDER"] == "B rescue A"


def test_the_order_is_never_left_empty(board: UbootBoard, loader: UbootLoader) -> None:
    # A boot script that finds none puts both slots into it, the bad one too.
    board.set(BOOT_ORDER="B")
    loader.mark_bad(Slot.B)
    assert variables(board) == {"BOOT_ORDER": "A", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"}


@pytest.mark.parametrize(
    ("left", "answer"),
    [
        ("3", Tried.NO),
        ("2", Tried.YES),
        ("0", Tried.YES),
        ("a", Tried.NO),
        ("A", Tried.NO),
        ("0x2", Tried.YES),
        ("10", Tried.NO),
        ("", Tried.UNKNOWN),
        ("three", Tried.UNKNOWN),
        ("-1", Tried.UNKNOWN),
        ("1 2", Tried.UNKNOWN),
        ("1" * 9, Tried.UNKNOWN),
    ],
)
def test_tries_are_hexadecimal(board: UbootBoard, loader: UbootLoader, left: str, answer: Tried) -> None:
    board.set(BOOT_B_LEFT=left)
    assert loader.was_tried(Slot.B) is answer
    assert loader.knows(Slot.B) is (answer is not Tried.UNKNOWN)


def test_odd_tries_are_put_right_by_marking(board: UbootBoard, loader: UbootLoader) -> None:
    board.set(BOOT_B_LEFT="three")
    loader.mark_active(Slot.B)
    assert variables(board)["BOOT_B_LEFT"] == "3"


@pytest.mark.parametrize("order", ["", "   "])
def test_a_missing_order_is_an_error_and_is_not_made_up(board: UbootBoard, loader: UbootLoader, order: str) -> None:
    board.set(BOOT_ORDER=order)
    before = [copy.read_bytes() for copy in board.copies]
    for act in (loader.mark_good, loader.mark_bad, loader.mark_active, loader.was_tried, loader.knows):
        with pytest.raises(BootLoaderError, match="BOOT_ORDER is not set"):
            act(Slot.B)
    assert [copy.read_bytes() for copy in board.copies] == before


def test_a_lost_environment_is_not_replaced_by_a_default(board: UbootBoard, loader: UbootLoader) -> None:
    for copy in board.copies:
        copy.write_bytes(b"\xff" * SIZE)
    with pytest.raises(BootLoaderError, match="fw_printenv"):
        loader.mark_good(Slot.A)
    assert all(copy.read_bytes() == b"\xff" * SIZE for copy in board.copies)


@pytest.mark.parametrize("act", ["mark_good", "mark_bad", "mark_active"])
def test_a_cut_while_a_copy_is_written_leaves_order_and_tries_as_they_were(
    board: UbootBoard, loader: UbootLoader, act: str
) -> None:
    board.set(BOOT_ORDER="A B", BOOT_B_LEFT="1")
    old = board.variables
    before = [copy.read_bytes() for copy in board.copies]
    getattr(loader, act)(Slot.B)
    new = board.variables
    assert new != old
    after = [copy.read_bytes() for copy in board.copies]
    changed = [number for number in (0, 1) if before[number] != after[number]]
    assert len(changed) >= 1
    # What one call of the tools writes last is one copy; torn at any place, the other one counts.
    for size in (1, 4, 5, 64, SIZE // 2):
        for number in changed:
            torn = after[number][:size] + b"\xff" * (SIZE - size)
            board.copies[number].write_bytes(torn)
            assert board.variables in (old, new)
            board.copies[number].write_bytes(after[number])


def test_order_and_tries_are_written_by_one_call(
    board: UbootBoard, loader: UbootLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    run = process.run

    def watch(argv: list[str], *, timeout_s: float) -> process.Finished:
        started.append(argv[0])
        return run(argv, timeout_s=timeout_s)

    monkeypatch.setattr(process, "run", watch)
    loader.mark_active(Slot.B)
    assert started.count("fw_setenv") == 1
    started.clear()
    loader.mark_active(Slot.B)
    assert "fw_setenv" not in started


def test_missing_tools_are_an_error(board: UbootBoard, loader: UbootLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BARE_ENVIRONMENT", {"PATH": "/nowhere"})
    with pytest.raises(BootLoaderError, match="could not be started"):
        loader.mark_good(Slot.A)


def test_a_missing_configuration_is_an_error(tmp_path: Path) -> None:
    loader = UbootLoader(tmp_path / "none", BOOTNAMES, lambda: Slot.A)
    with pytest.raises(BootLoaderError, match="fw_printenv"):
        loader.was_tried(Slot.A)


@pytest.mark.parametrize(
    "printed",
    ["", "BOOT_ORDER\n", "BOOT_ORDER=A B\nBOOT_ORDER=B A\n", "BOOT_ORDER=\n", "## Error\n", "\xff\0=\n"],
    ids=repr,
)
def test_odd_output_of_the_tools_is_an_error(loader: UbootLoader, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda *_, timeout_s: process.Finished(0, printed.encode("latin-1")))
    with pytest.raises(BootLoaderError):
        loader.was_tried(Slot.A)


def test_what_was_not_kept_is_an_error(board: UbootBoard, loader: UbootLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    run = process.run

    def forgets(argv: list[str], *, timeout_s: float) -> process.Finished:
        return process.Finished(0, b"") if argv[0] == "fw_setenv" else run(argv, timeout_s=timeout_s)

    monkeypatch.setattr(process, "run", forgets)
    with pytest.raises(BootLoaderError, match="did not keep"):
        loader.mark_active(Slot.B)
