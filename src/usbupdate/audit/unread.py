"""Receipts of a log that no copy at hand holds, though nothing is wrong with that: what they say is not known here.

A log may begin behind what the office has acknowledged. What accounts for the receipts before proves that they are these and no
others, or only that somebody keeps them; in neither case can an answer or a count rest on them.

Source: docs/format.md, section 12; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from usbupdate.audit.findings import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from usbupdate.audit.examined import Examined


class KnownBy(StrEnum):
    """What accounts for a receipt that is not here."""

    DIGEST = "digest"
    """Its leaf hash, from what was seen before: the device's signed checkpoint is over it."""
    WORD = "word"
    """Somebody whom the office names has said that it is kept."""


_KNOWN: Final[Mapping[KnownBy, str]] = {
    KnownBy.DIGEST: "known by their digests",
    KnownBy.WORD: "kept by the office's word",
}


@dataclass(frozen=True, slots=True)
class Unread:
    """Receipts `first` to `until`, which are not here."""

    first: int
    until: int
    known_by: KnownBy

    @property
    def count(self) -> int:
        """How many they are."""
        return self.until - self.first + 1

    def row(self) -> str:
        """Return what stands in a timeline in their place."""
        known = _KNOWN[self.known_by] if self.count > 1 else _KNOWN[self.known_by].replace("their digests", "its digest")
        return f"{span(self.first, self.until)}: not here, {known}"


def unread_of(longest: Examined, examined: Iterable[Examined]) -> tuple[Unread, ...]:
    """Return what no copy holds of the history that the longest one tells, where that may begin later."""
    if not longest.accounted:
        return ()
    known_by = KnownBy.DIGEST if longest.before else KnownBy.WORD
    leaves = longest.leaves()
    here = set(longest.proven) | longest.damaged
    for each in examined:
        first = 1 if each.proven or each.damaged else each.lacking + 1
        here |= {number for number, leaf in each.by_number() if first <= number <= len(leaves) and leaf == leaves[number - 1]}
    return tuple(Unread(first, until, known_by) for first, until in _runs(here, longest.accounted))


def spans(numbers: Sequence[int]) -> str:
    """Return rising numbers as a person tells them, such as "1 to 3 and 9"."""
    if not numbers:
        return ""
    gaps = _runs(set(numbers), numbers[-1])
    firsts = [numbers[0], *(until + 1 for _, until in gaps if until + 1 > numbers[0])]
    lasts = [*(first - 1 for first, _ in gaps if first > numbers[0]), numbers[-1]]
    told = [span(first, last) for first, last in zip(firsts, lasts, strict=True)]
    return " and ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)


def _runs(here: set[int], last: int) -> list[tuple[int, int]]:
    """Return the first and the last number of each run that is lacking among 1 to `last`."""
    edges = [0, *sorted(number for number in here if number <= last), last + 1]
    return [(before + 1, after - 1) for before, after in pairwise(edges) if after - before > 1]
