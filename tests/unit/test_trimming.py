"""Acknowledged receipts are given up when room is needed, and nothing else is: no number, no proof, no memory."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.cutting import cut_at
from tests.receipts import acknowledgement, device, draft
from usbupdate import durable
from usbupdate.core import checkpoint, envelope, merkle
from usbupdate.core.receipt import Event
from usbupdate.device import leaffile, ledgercontents
from usbupdate.device.leaffile import Leaves
from usbupdate.device.ledger import LINES_KEPT, RESERVE, Ledger
from usbupdate.errors import ForkSuspectedError, LedgerError, LedgerShareError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IDENTITY, SIGNER = device("gw-0001")
COUNT = 40


def opened(folder: Path, size_max: int = 64 << 20) -> Ledger:
    return Ledger.open(folder, IDENTITY, lambda: SIGNER, size_max=size_max)


def filled(folder: Path, count: int = COUNT) -> tuple[Ledger, list[bytes]]:
    ledger = opened(folder)
    for number in range(1, count + 1):
        ledger.append(draft(number))
    return ledger, list(ledger.lines())


def size_of(folder: Path) -> int:
    return (folder / ledgercontents.RECEIPTS_FILE).stat().st_size


def trimmed(folder: Path, acknowledged: int, *, bound: float = 1.5) -> tuple[Ledger, list[bytes]]:
    """Return a ledger of which so many receipts are acknowledged, and that is over half its bound; and all its lines."""
    ledger, lines = filled(folder)
    ledger.checkpoint()
    ledger = opened(folder, int(size_of(folder) * bound))
    ledger.acknowledge(acknowledgement(lines[:acknowledged]))
    return ledger, lines


def require_same_tree(ledger: Ledger, lines: Sequence[bytes]) -> None:
    leaves = [merkle.leaf_hash(line) for line in lines]
    head = checkpoint.open_note(ledger.checkpoint(), IDENTITY)
    assert (head.size, head.root) == (len(leaves), merkle.root(leaves))
    assert list(ledger.leaves()) == leaves
    assert all(ledger.holds(envelope.peek_unproven(line).draft.id) for line in lines)
    assert list(ledger.lines()) == list(lines[ledger.first() - 1 :])


def test_what_is_acknowledged_stays_as_long_as_there_is_room(tmp_path: Path) -> None:
    ledger, lines = trimmed(tmp_path, 30, bound=3)
    assert ledger.first() == 1
    known = ledger.acknowledged()
    assert known is not None
    assert known.checkpoint.size == 30
    require_same_tree(opened(tmp_path), lines)


def test_the_oldest_go_until_there_is_room_again_and_the_tree_stays(tmp_path: Path) -> None:
    ledger, lines = trimmed(tmp_path, 35)
    assert 20 < ledger.first() - 1 <= 35
    assert size_of(tmp_path) < 0.4 * sum(map(len, lines))
    for each in (ledger, opened(tmp_path)):
        require_same_tree(each, lines)


def test_no_more_than_what_is_acknowledged_goes_however_much_room_is_needed(tmp_path: Path) -> None:
    ledger, lines = trimmed(tmp_path, 5)
    assert ledger.first() == 6
    require_same_tree(ledger, lines)


def test_the_newest_receipts_stay_though_all_are_acknowledged(tmp_path: Path) -> None:
    ledger, lines = trimmed(tmp_path, COUNT, bound=0.5)
    assert ledger.first() == COUNT - LINES_KEPT + 1
    newest = ledger.newest()
    assert newest == draft(COUNT)
    require_same_tree(ledger, lines)


def test_receipts_go_on_after_a_trim_with_number_chain_and_tree(tmp_path: Path) -> None:
    ledger, lines = trimmed(tmp_path, 30)
    for number in range(COUNT + 1, COUNT + 4):
        ledger.append(draft(number))
    added = list(ledger.lines(COUNT + 1))
    assert [envelope.open_line(line, IDENTITY).number for line in added] == [41, 42, 43]
    assert envelope.open_line(added[0], IDENTITY).previous == envelope.line_digest(lines[-1])
    require_same_tree(opened(tmp_path), [*lines, *added])


def test_a_receipt_that_was_trimmed_is_not_stated_again(tmp_path: Path) -> None:
    ledger, _ = trimmed(tmp_path, 30)
    ledger.append(draft(1))
    assert ledger.count() == opened(tmp_path).count() == COUNT


def test_room_is_made_when_a_receipt_needs_it(tmp_path: Path) -> None:
    ledger, lines = filled(tmp_path)
    ledger.checkpoint()
    bound = size_of(tmp_path) * 2 + 10
    ledger = opened(tmp_path, bound)
    ledger.acknowledge(acknowledgement(lines))
    assert ledger.first() == 1
    ledger.append(draft(COUNT + 1))
    assert ledger.first() > 1
    require_same_tree(opened(tmp_path), [*lines, *ledger.lines(COUNT + 1)])


def test_refusals_get_their_share_again_once_room_is_made(tmp_path: Path) -> None:
    ledger, lines = filled(tmp_path)
    ledger.checkpoint()
    ledger = opened(tmp_path, size_of(tmp_path) + RESERVE)
    for event in (Event.REJECTED, Event.FORK_SUSPECTED):
        with pytest.raises(LedgerShareError):
            ledger.append(draft(100, event))
    ledger = opened(tmp_path, size_of(tmp_path) + 10)
    ledger.acknowledge(acknowledgement(lines))
    assert size_of(tmp_path) < 0.5 * sum(map(len, lines))


def test_trimming_again_adds_to_what_was_trimmed(tmp_path: Path) -> None:
    ledger, lines = trimmed(tmp_path, 20, bound=0.8)
    first = ledger.first()
    assert first == 21
    ledger.acknowledge(acknowledgement(lines[:35]))
    ledger.append(draft(COUNT + 1))
    assert ledger.first() > first
    require_same_tree(opened(tmp_path), [*lines, *ledger.lines(COUNT + 1)])


@pytest.mark.parametrize("size", [COUNT + 1, COUNT + 100])
def test_an_acknowledgement_of_more_than_was_written_is_a_fork(tmp_path: Path, size: int) -> None:
    ledger, lines = filled(tmp_path)
    other = [*lines, *[b"x%d" % number for number in range(size - COUNT)]]
    with pytest.raises(ForkSuspectedError, match=f"{size} of them, and it has written {COUNT}"):
        ledger.acknowledge(acknowledgement(other))
    assert opened(tmp_path).acknowledged() is None


def test_an_acknowledgement_of_others_is_a_fork_also_below_what_is_known(tmp_path: Path) -> None:
    ledger, lines = filled(tmp_path)
    ledger.acknowledge(acknowledgement(lines[:20]))
    for size in (10, 20, 30):
        with pytest.raises(ForkSuspectedError, match=f"the first {size} are others"):
            ledger.acknowledge(acknowledgement([b"other", *lines[1:size]]))
    known = opened(tmp_path).acknowledged()
    assert known is not None
    assert known.checkpoint.size == 20


def test_an_older_acknowledgement_takes_nothing_back(tmp_path: Path) -> None:
    ledger, lines = filled(tmp_path)
    for size in (20, 7, 0):
        ledger.acknowledge(acknowledgement(lines[:size]))
        known = opened(tmp_path).acknowledged()
        assert known is not None
        assert known.checkpoint.size == 20


@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("effect", ["write_all", "sync_directory"])
def test_a_cut_at_any_step_of_a_trim_loses_nothing(tmp_path: Path, effect: str, step: int) -> None:
    ledger, lines = filled(tmp_path)
    ledger.checkpoint()
    bound = int(size_of(tmp_path) * 1.5)
    with cut_at(effect, step):
        opened(tmp_path, bound).acknowledge(acknowledgement(lines[:30]))
    after = opened(tmp_path, bound)
    require_same_tree(after, lines)
    after.acknowledge(acknowledgement(lines[:31]))
    assert after.first() > 1
    require_same_tree(opened(tmp_path, bound), lines)


def test_half_a_trim_is_understood_and_finished_by_the_next(tmp_path: Path) -> None:
    ledger, lines = filled(tmp_path / "whole")
    ledger.checkpoint()
    shutil.copytree(tmp_path / "whole", tmp_path / "done")
    done = opened(tmp_path / "done", int(size_of(tmp_path / "done") * 1.5))
    done.acknowledge(acknowledgement(lines[:30]))
    for name in (ledgercontents.LEAVES_FILE, ledgercontents.ACKNOWLEDGED_FILE):
        shutil.copy(tmp_path / "done" / name, tmp_path / "whole" / name)
    half = opened(tmp_path / "whole", int(size_of(tmp_path / "whole") * 1.5))
    assert half.first() == 1
    require_same_tree(half, lines)
    half.append(draft(COUNT + 1))
    assert half.first() == done.first()
    require_same_tree(opened(tmp_path / "whole"), [*lines, *half.lines(COUNT + 1)])


@pytest.mark.parametrize("effect", ["save", "Growing"])
def test_a_disk_that_lets_nothing_be_trimmed_keeps_nobody_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effect: str
) -> None:
    ledger, lines = filled(tmp_path)
    ledger.checkpoint()
    ledger.acknowledge(acknowledgement(lines[:30]))
    ledger = opened(tmp_path, int(size_of(tmp_path) * 1.5))
    whole = getattr(durable, effect)

    def full(path: Path, *more: object, **named: object) -> object:
        if path.name.startswith((ledgercontents.LEAVES_FILE, ledgercontents.RECEIPTS_FILE)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(durable, effect, full)
        ledger.append(draft(COUNT + 1))
    assert ledger.first() == 1
    require_same_tree(opened(tmp_path), [*lines, *ledger.lines(COUNT + 1)])


def test_what_was_kept_of_trimmed_receipts_is_missed_when_it_is_gone(tmp_path: Path) -> None:
    trimmed(tmp_path, 30)
    (tmp_path / ledgercontents.LEAVES_FILE).unlink()
    with pytest.raises(LedgerError, match="damaged or gone"):
        opened(tmp_path)


def test_receipts_behind_the_trimmed_ones_are_missed_when_they_are_gone(tmp_path: Path) -> None:
    trimmed(tmp_path, 30)
    path = tmp_path / ledgercontents.RECEIPTS_FILE
    rows = path.read_bytes().splitlines(keepends=True)
    for kept in ([], rows[1:], rows[:-1]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(LedgerError):
            opened(tmp_path)


@pytest.mark.parametrize("name", [ledgercontents.LEAVES_FILE, ledgercontents.ACKNOWLEDGED_FILE])
def test_a_change_of_any_byte_of_what_is_kept_is_found(tmp_path: Path, name: str) -> None:
    _, lines = trimmed(tmp_path, 30)
    path = tmp_path / name
    whole = path.read_bytes()
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            ledger = opened(tmp_path)
        except LedgerError:
            continue
        # A signature of a note was looked at when it came.
        assert name == ledgercontents.ACKNOWLEDGED_FILE
        require_same_tree(ledger, lines)
    for kept in (b"", whole[:-1], whole + b"\0"):
        path.write_bytes(kept)
        with pytest.raises(LedgerError):
            opened(tmp_path)


def test_an_acknowledgement_of_another_key_is_none_of_this_ledgers(tmp_path: Path) -> None:
    trimmed(tmp_path / "one", 30)
    other, signer = device("gw-0001", "another key")
    shutil.copytree(tmp_path / "one", tmp_path / "two", ignore=shutil.ignore_patterns("checkpoint"))
    with pytest.raises(LedgerError, match="its acknowledgement is of"):
        Ledger.open(tmp_path / "two", other, lambda: signer)


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16)), max_size=9, unique=True))
def test_leaf_hashes_are_read_back(entries: list[tuple[bytes, bytes]]) -> None:
    leaves = leaffile.decode(Leaves().followed_by(entries).encode())
    assert list(leaves) == entries
    for number, (leaf, _) in enumerate(entries, 1):
        assert leaves.hash_of(number) == leaf
        assert leaves.hash_of(leaves.number_of(leaf) or 0) == leaf
    assert leaves.number_of(b"x" * 32) is None
