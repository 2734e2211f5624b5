"""Receipts that no copy holds, against what is said of them in numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import given, strategies as st

from tests.receipts import device, draft
from usbupdate.audit.examined import Examined, ProvenReceipt
from usbupdate.audit.unread import KnownBy, spans, unread_of
from usbupdate.core.merkle import leaf_hash
from usbupdate.core.receipt import NO_PREVIOUS, Event, Receipt
from usbupdate.core.words import DeviceId

DEVICE = DeviceId("gw-1")
LEAVES = tuple(leaf_hash(b"%d" % number) for number in range(1, 30))
OTHERS = tuple(leaf_hash(b"other %d" % number) for number in range(1, 30))
RECEIPT = Receipt(device(DEVICE)[0].device, 1, NO_PREVIOUS, draft(1, Event.COMMITTED))


@dataclass(frozen=True)
class Copy:
    """A copy that holds receipts `first` to `last`, of this history or of another, with its contents read or only its root."""

    first: int
    last: int
    is_read: bool
    is_same: bool

    def holds(self) -> set[int]:
        return set(range(self.first, self.last + 1)) if self.is_same else set()

    def examined(self) -> Examined:
        leaves = LEAVES if self.is_same else OTHERS
        found = Examined(DEVICE, "a place")
        if self.is_read:
            found.proven = {number: _proven(leaves[number - 1]) for number in range(self.first, self.last + 1)}
            # A line that proves nothing is none of what the copy holds.
            found.damaged = {self.first - 1} if self.first > 1 else set()
        else:
            found.sealed, found.lacking = leaves[: self.last], self.first - 1
        return found


def _proven(leaf: bytes) -> ProvenReceipt:
    return ProvenReceipt(RECEIPT, b"", leaf)


@st.composite
def copies(draw: st.DrawFn, last: int) -> Copy:
    first = draw(st.integers(1, last))
    return Copy(first, draw(st.integers(first, last)), draw(st.booleans()), draw(st.booleans()))


@given(st.data(), st.integers(2, len(LEAVES)))
def test_what_no_copy_holds_is_named_and_nothing_else(data: st.DataObject, last: int) -> None:
    accounted = data.draw(st.integers(1, last - 1))
    longest = Copy(accounted + 1, last, is_read=True, is_same=True).examined()
    # What is damaged in it is told as that.
    longest.damaged = data.draw(st.sets(st.integers(1, accounted)))
    longest.accounted, longest.before = accounted, LEAVES[:accounted]
    others = data.draw(st.lists(copies(last), max_size=4))
    found = unread_of(longest, [longest, *(each.examined() for each in others)])
    named = [number for each in found for number in range(each.first, each.until + 1)]
    assert named == sorted(set(range(1, accounted + 1)).difference(longest.damaged, *(each.holds() for each in others)))
    assert {each.known_by for each in found} <= {KnownBy.DIGEST}
    assert sum(each.count for each in found) == len(named)


@given(st.integers(1, 20), st.integers(0, 5))
def test_what_is_kept_by_somebodys_word_is_told_from_what_is_known_by_its_digest(accounted: int, more: int) -> None:
    longest = Examined(DEVICE, "a place", accounted=accounted)
    longest.proven = {number: _proven(OTHERS[number - 1]) for number in range(accounted + 1, accounted + more + 1)}
    (found,) = unread_of(longest, [longest])
    assert (found.first, found.until, found.known_by) == (1, accounted, KnownBy.WORD)


def test_a_log_that_need_not_lack_anything_lacks_nothing() -> None:
    assert unread_of(Copy(1, 3, is_read=True, is_same=True).examined(), []) == ()


@given(st.sets(st.integers(1, 60)))
def test_numbers_are_told_so_that_a_person_gets_the_same_numbers(numbers: set[int]) -> None:
    told = spans(sorted(numbers))
    heard: set[int] = set()
    for part in re.split(", | and ", told) if told else ():
        first, _, last = part.partition(" to ")
        heard |= set(range(int(first), int(last or first) + 1))
    assert heard == numbers
    assert told.count(" and ") <= 1
