"""What an answer about a device cannot rest on: receipts that are known of, and that nobody could read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.audit.findings import Flaw, receipts_named
from usbupdate.audit.unread import KnownBy

if TYPE_CHECKING:
    from usbupdate.audit.findings import Finding
    from usbupdate.audit.unread import Unread
    from usbupdate.audit.verdict import Verdict

MISSING: Final = frozenset({
    Flaw.MISSING,
    Flaw.BEGINS_LATER,
    Flaw.CUT_SHORT,
    Flaw.TORN,
    Flaw.RECEIPTS_MISSING,
    Flaw.CHECKPOINT_MISSING,
    Flaw.CHECKPOINT_BEHIND,
    Flaw.UNREADABLE,
})  # fmt: skip
"""The findings that speak of something that is not there."""

_WHY: Final = {
    KnownBy.DIGEST: ("its digest agrees with what you have seen before", "their digests agree with what you have seen before"),
    KnownBy.WORD: ("by the office's word it is kept", "by the office's word they are kept"),
}


@dataclass(frozen=True, slots=True)
class Lacking:
    """What is lacking to a device's receipts.

    Attributes:
        parts: what is not here, each as a sentence without its end.
        is_elsewhere: whether some of it is kept, so that bringing the store answers for it.
        last: the number of the newest receipt that is here.
        later: how many newer ones are known of, in words; nothing where none is.
    """

    parts: tuple[str, ...]
    is_elsewhere: bool
    last: int
    later: str

    @classmethod
    def of(cls, verdict: Verdict) -> Lacking:
        """Return what is lacking to the receipts of a verdict."""
        last = verdict.receipts[-1].number if verdict.receipts else 0
        missing = [each for each in verdict.findings if each.flaw in MISSING]
        stated = max((each.until or each.receipt or 0 for each in missing if each.flaw is Flaw.MISSING), default=0)
        told_of = max((verdict.count, last, stated, *(each.until for each in verdict.unread)))
        parts = [*map(_unread, verdict.unread), *map(gap, missing)]
        if verdict.seen > told_of:
            parts.append(f"{_are_not_here(told_of + 1, verdict.seen)}, and you have seen {_those(told_of + 1, verdict.seen)}")
        count = max(verdict.seen, stated) - last
        how = ("was seen", "were seen") if verdict.seen >= stated else ("is missing", "are missing")
        later = f"{count} more {how[count > 1]}" if count > 0 else ""
        return cls(tuple(parts), bool(verdict.unread) or verdict.seen > told_of, last, later)

    def __bool__(self) -> bool:
        """Tell whether anything is lacking."""
        return bool(self.parts)

    def sentence(self) -> str:
        """Return what is not here and what to do about it; nothing where all is here."""
        if not self.parts:
            return ""
        told = "; ".join(self.parts)
        advice = ": bring the store (--store) to answer for that" if self.is_elsewhere else ""
        return f"{told[0].upper()}{told[1:]}{advice}."


def gap(finding: Finding) -> str:
    """Return what a finding says is not there."""
    what = str(finding.table()["what"])
    if finding.receipt is None:
        return what
    first, until = finding.receipt, finding.until or finding.receipt
    return _are_not_here(first, until) if finding.flaw is Flaw.MISSING else f"{receipts_named(first, until)}: {what}"


def _unread(each: Unread) -> str:
    one, more = _WHY[each.known_by]
    return f"{_are_not_here(each.first, each.until)} ({one if each.count == 1 else more})"


def _are_not_here(first: int, until: int) -> str:
    return f"{receipts_named(first, until)} {'is' if first == until else 'are'} not here"


def _those(first: int, until: int) -> str:
    return "it" if first == until else "them"
