from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate import durable
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from pathlib import Path

BOOTNAMES = {Slot.A: "A", Slot.B: "B"}


class Board:
    """A board with GRUB whose environment block holds just what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "grubenv"
        self.loader = GrubLoader(self.file, BOOTNAMES, lambda: Slot.A)

    def holds(self, **variables: str) -> None:
        self.file.write_bytes(grubenv.encode(grubenv.Environment(variables)))

    @property
    def variables(self) -> dict[str, str]:
        return dict(grubenv.read(self.file).variables)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_marking_good_uses_the_names_that_rauc_uses(board: Board) -> None:
    board.holds(ORDER="A B", A_OK="0", A_TRY="1", B_OK="0", B_TRY="0")

    board.loader.mark_good(Slot.A)

    assert board.variables == {"ORDER": "A B", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}


def test_marking_active_puts_the_slot_first(board: Board) -> None:
    board.holds(ORDER="A B", A_OK="1", A_TRY="0", B_OK="0", B_TRY="0")

    board.loader.mark_active(Slot.B)

    in_raucs_names = {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}
    assert board.variables == {**in_raucs_names, "usbupdate_trial": "B"}


def test_marking_bad_leaves_the_order(board: Board) -> None:
    board.holds(ORDER="B A", A_OK="1", A_TRY="0", B_OK="1", B_TRY="1")

    board.loader.mark_bad(Slot.B)

    assert board.variables == {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "0", "B_TRY": "0"}


@pytest.mark.parametrize("order", [None, "", "  ", "rescue"])
def test_a_slot_that_the_order_lacks_is_added_to_it(board: Board, order: str | None) -> None:
    board.holds(**({} if order is None else {"ORDER": order}))

    board.loader.mark_good(Slot.A)

    assert board.variables["ORDER"].split() == [*(order or "").split(), "A"]


def test_names_in_the_order_that_are_none_of_ours_are_kept(board: Board) -> None:
    board.holds(ORDER="A  C A B")

    board.loader.mark_active(Slot.B)

    assert board.variables["ORDER"] == "B A C"


def test_what_others_keep_in_the_block_is_carried_along(board: Board) -> None:
    kept = grubenv.Environment({"saved_entry": "0", "kernelopts": "a\\b\nc\udcff", "empty": ""}, (b"# WARNING: ours\n",))
    board.file.write_bytes(grubenv.encode(kept))

    board.loader.mark_active(Slot.B)

    after = grubenv.read(board.file)
    assert kept.variables.items() <= after.variables.items()
    assert after.comments == kept.comments


@pytest.mark.parametrize(
    ("variables", "answer"),
    [
        ({"ORDER": "B A", "B_OK": "1", "B_TRY": "1"}, Tried.YES),
        ({"ORDER": "B A", "B_OK": "1", "B_TRY": "0"}, Tried.NO),
        ({"ORDER": "B A", "B_OK": "0", "B_TRY": "0"}, Tried.NO),
        ({"ORDER": "B A", "B_OK": "0", "B_TRY": "1"}, Tried.NO),
        ({"ORDER": "A", "B_OK": "1", "B_TRY": "1"}, Tried.UNKNOWN),
        ({"B_OK": "1", "B_TRY": "1"}, Tried.UNKNOWN),
        ({"ORDER": "B A"}, Tried.UNKNOWN),
        ({"ORDER": "B A", "B_OK": "1"}, Tried.UNKNOWN),
        ({"ORDER": "B A", "B_OK": "", "B_TRY": ""}, Tried.UNKNOWN),
        ({"ORDER": "B A", "B_OK": "0x1", "B_TRY": "yes"}, Tried.UNKNOWN),
    ],
)
def test_was_tried(board: Board, variables: dict[str, str], answer: Tried) -> None:
    board.holds(**variables)

    assert board.loader.was_tried(Slot.B) is answer


def test_a_full_block_is_an_error_and_stays_as_it_is(board: Board) -> None:
    board.holds(ORDER="A B", filler="x" * 970)
    before = board.file.read_bytes()

    with pytest.raises(BootLoaderError, match="full"):
        board.loader.mark_good(Slot.A)
    assert board.file.read_bytes() == before


def test_the_block_is_written_in_place(board: Board) -> None:
    board.holds(ORDER="A B")
    before = board.file.stat()

    board.loader.mark_active(Slot.B)

    after = board.file.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


@pytest.mark.parametrize("act", ["mark_good", "mark_bad", "mark_active"])
def test_a_write_that_fails_is_an_error(board: Board, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    board.holds(ORDER="A B", A_OK="1", A_TRY="0", B_OK="1", B_TRY="1")

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable, "overwrite", fails)
    with pytest.raises(BootLoaderError, match="Input/output error"):
        getattr(board.loader, act)(Slot.B)


@pytest.mark.parametrize("act", ["mark_good", "mark_bad", "mark_active"])
def test_a_disk_that_ignores_writes_is_an_error(board: Board, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    board.holds(ORDER="A B", A_OK="1", A_TRY="0", B_OK="1", B_TRY="1")
    monkeypatch.setattr(durable, "overwrite", lambda *_: None)

    with pytest.raises(BootLoaderError, match="did not keep"):
        getattr(board.loader, act)(Slot.B)


@pytest.mark.parametrize(
    "rest",
    [
        b"A_OK",
        b"=1\n",
        b"foo\nA_OK=1\n",
        b"\nA_OK=1\n",
        b"A_OK=1\nA_OK=0\n",
        b"A_OK=1\0\n",
        b"A_OK=1\\\n",
        b"A OK=1\n",
        b"A=1\n\0",
    ],
    ids=repr,
)
def test_a_block_that_grub_would_read_differently_is_rejected(board: Board, rest: bytes) -> None:
    board.file.write_bytes((grubenv.HEADER + rest).ljust(grubenv.SIZE, b"#"))

    with pytest.raises(BootLoaderError):
        board.loader.was_tried(Slot.A)


@pytest.mark.parametrize("size", [0, 1, 1023, 1025, 4096])
def test_a_block_of_another_size_is_rejected(board: Board, size: int) -> None:
    board.holds(ORDER="A B")
    board.file.write_bytes(board.file.read_bytes().ljust(size, b"#")[:size])

    with pytest.raises(BootLoaderError, match="bytes instead of 1024"):
        board.loader.was_tried(Slot.A)
