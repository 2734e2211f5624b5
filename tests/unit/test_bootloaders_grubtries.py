from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from usbupdate import durable
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grubtries import COMMITTED_BLOCK, GrubTriesLoader
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from pathlib import Path

BOOTNAMES = {Slot.A: "A", Slot.B: "B"}
START = {
    "usbupdate_order": "A B",
    "usbupdate_A_state": "good",
    "usbupdate_A_left": "7",
    "usbupdate_B_state": "bad",
    "usbupdate_B_left": "0",
}
SECTOR = 512


class Board:
    """A board with our boot script whose environment block holds just what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "grubenv"
        self.second = folder / COMMITTED_BLOCK
        self.loader = GrubTriesLoader(self.file, BOOTNAMES, lambda: Slot.A)
        self.holds(START)

    def holds(self, variables: dict[str, str]) -> None:
        self.file.write_bytes(grubenv.encode(grubenv.Environment(variables)))

    @property
    def variables(self) -> dict[str, str]:
        return dict(grubenv.read(self.file).variables)

    @property
    def committed(self) -> str:
        return grubenv.read(self.second).variables["usbupdate_committed"]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_an_update_from_installation_to_commit(board: Board) -> None:
    board.loader.mark_good(Slot.A)
    assert board.variables == {**START, "usbupdate_A_left": "8"}
    board.loader.mark_bad(Slot.B)
    board.loader.mark_active(Slot.B)
    assert board.variables["usbupdate_order"] == "B A"
    assert (board.variables["usbupdate_B_state"], board.variables["usbupdate_B_left"]) == ("trial", "3")
    assert board.committed == "A"
    board.loader.mark_good(Slot.B)
    assert (board.variables["usbupdate_B_state"], board.variables["usbupdate_B_left"]) == ("good", "8")
    assert board.committed == "B"


def test_the_names_are_none_of_raucs(board: Board) -> None:
    rauc = {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "1"}
    board.holds(rauc)
    board.loader.mark_active(Slot.B)
    board.loader.mark_good(Slot.A)
    assert rauc.items() <= board.variables.items()


def test_what_is_condemned_is_not_what_starts_when_the_environment_is_lost(board: Board) -> None:
    board.second.write_bytes(grubenv.encode(grubenv.Environment({"usbupdate_committed": "B"})))
    board.loader.mark_bad(Slot.B)
    assert board.committed == "A"


def test_the_second_block_is_changed_before_a_slot_is_condemned_and_after_one_is_committed(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.loader.mark_good(Slot.A)
    board.loader.mark_active(Slot.B)
    written: list[str] = []
    overwrite = durable.overwrite

    def watch(path: Path, contents: bytes) -> None:
        written.append(path.name)
        overwrite(path, contents)

    monkeypatch.setattr(durable, "overwrite", watch)
    board.loader.mark_good(Slot.B)
    assert written == ["grubenv", "committed"]
    written.clear()
    board.loader.mark_bad(Slot.B)
    assert written == ["committed", "grubenv"]
    written.clear()
    board.loader.mark_good(Slot.A)
    board.loader.mark_active(Slot.B)
    assert written == ["grubenv"]


@pytest.mark.parametrize("contents", [None, b"", b"x" * 1024, b"x" * 2000, grubenv.HEADER.ljust(1024, b"#")])
def test_a_second_block_that_is_lost_is_made_again(board: Board, contents: bytes | None) -> None:
    if contents is not None:
        board.second.write_bytes(contents)
    board.loader.mark_good(Slot.A)
    assert board.committed == "A"
    assert board.second.stat().st_size == grubenv.SIZE


def test_a_second_block_that_cannot_be_written_is_an_error(board: Board) -> None:
    board.second.mkdir()
    with pytest.raises(BootLoaderError, match="committed"):
        board.loader.mark_good(Slot.A)


@pytest.mark.parametrize(
    ("state", "left", "answer"),
    [
        ("trial", "3", Tried.NO),
        ("trial", "2", Tried.YES),
        ("trial", "0", Tried.YES),
        ("good", "8", Tried.NO),
        ("good", "7", Tried.YES),
        ("good", "0", Tried.YES),
        ("bad", "0", Tried.NO),
        ("bad", "2", Tried.NO),
        ("bad", None, Tried.NO),
        ("trial", "4", Tried.UNKNOWN),
        ("trial", None, Tried.UNKNOWN),
        ("good", "", Tried.UNKNOWN),
        ("good", "9", Tried.UNKNOWN),
        ("good", "08", Tried.UNKNOWN),
        ("good", "-1", Tried.UNKNOWN),
        ("good", "\N{ARABIC-INDIC DIGIT THREE}", Tried.UNKNOWN),
        ("Good", "8", Tried.UNKNOWN),
        ("", "8", Tried.UNKNOWN),
        (None, "8", Tried.UNKNOWN),
    ],
)
def test_was_tried(board: Board, state: str | None, left: str | None, answer: Tried) -> None:
    values = {"usbupdate_B_state": state, "usbupdate_B_left": left}
    board.holds({name: value for name, value in values.items() if value is not None})
    assert board.loader.was_tried(Slot.B) is answer
    assert board.loader.knows(Slot.B) is (answer is not Tried.UNKNOWN)


@pytest.mark.parametrize("order", ["", "A A", "rescue", "B", "B rescue A"])
def test_an_odd_order_is_put_right(board: Board, order: str) -> None:
    board.holds({**START, "usbupdate_order": order})
    board.loader.mark_good(Slot.A)
    known = [name for name in dict.fromkeys(order.split()) if name in {"A", "B"}]
    assert board.variables["usbupdate_order"].split() == (known if "A" in known else [*known, "A"])
    board.loader.mark_active(Slot.B)
    assert board.variables["usbupdate_order"] == "B A"


def test_what_others_keep_is_carried_along_behind_what_is_ours(board: Board) -> None:
    others = {"saved_entry": "0", "kernelopts": "x" * 600}
    board.holds({**others, **START})
    board.loader.mark_active(Slot.B)
    assert others.items() <= board.variables.items()
    ours = board.file.read_bytes()[:SECTOR].split(b"saved_entry")[0]
    assert ours.count(b"usbupdate_") == len(START)


@pytest.mark.parametrize("act", ["mark_good", "mark_bad", "mark_active"])
@pytest.mark.parametrize("slot", Slot)
def test_a_cut_between_the_two_sectors_of_a_block_leaves_the_old_or_the_new(board: Board, act: str, slot: Slot) -> None:
    before = board.file.read_bytes()
    getattr(board.loader, act)(slot)
    after = board.file.read_bytes()
    for torn in (before[:SECTOR] + after[SECTOR:], after[:SECTOR] + before[SECTOR:]):
        assert grubenv.decode(torn) in (grubenv.decode(before), grubenv.decode(after))


@pytest.mark.parametrize("act", ["mark_good", "mark_bad", "mark_active"])
def test_a_disk_that_ignores_writes_is_an_error(board: Board, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    board.holds({**START, "usbupdate_B_state": "trial", "usbupdate_B_left": "1"})
    monkeypatch.setattr(durable, "overwrite", lambda *_: None)
    with pytest.raises(BootLoaderError, match="did not keep"):
        getattr(board.loader, act)(Slot.B)


@given(
    variables=st.dictionaries(
        st.sampled_from([*START, "ORDER", "usbupdate_C_state"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from("0123456789"),
    ),
    act=st.sampled_from(["mark_good", "mark_bad", "mark_active", "was_tried", "knows"]),
)
def test_no_contents_make_it_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str], act: str
) -> None:
    board = Board(tmp_path_factory.getbasetemp())
    board.holds(variables)
    with contextlib.suppress(BootLoaderError):
        getattr(board.loader, act)(Slot.B)
        if act.startswith("mark"):
            assert board.loader.knows(Slot.B)
