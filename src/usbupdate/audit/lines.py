"""Reading the lines of one copy: each is a receipt of this device at its place, or a finding with the number it should have."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from usbupdate.audit.depth import Checked
from usbupdate.audit.examined import Examined, ProvenReceipt
from usbupdate.audit.findings import Flaw
from usbupdate.core import envelope
from usbupdate.core.merkle import leaf_hashes_in
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Receipt
    from usbupdate.core.words import DeviceId

LINES_MAX: Final = 1 << 17
"""More lines than receipts fit into the largest log."""
_OF_BEFORE: Final = frozenset({Flaw.REPEATED, Flaw.OUT_OF_ORDER})


class Lines:
    """The lines of a `receipts.jsonl`, and what stands behind the last of them without an end."""

    def __init__(self, receipts: bytes) -> None:
        # What is left behind the last counts as one that is cut short: a stick full of line feeds must not fill the memory.
        self.leaves, self._end = leaf_hashes_in(receipts, LINES_MAX)
        self.unfinished: Final = receipts[self._end :]
        self._receipts: Final = receipts

    @cached_property
    def whole(self) -> list[bytes]:
        """The lines, each without its line feed; the quickest look at a log needs none of them."""
        return self._receipts[: self._end].split(b"\n")[:-1]


def read_lines(examined: Examined, identity: Identity, lines: Lines, *, sealed: int, may_be_torn: bool) -> None:
    """Take every line for a receipt, or note what is wrong with it and which numbers are missing.

    Args:
        examined: where to.
        identity: whose key counts.
        lines: the lines.
        sealed: so many of the first lines are proven by a checkpoint; the signatures of all others are checked.
        may_be_torn: nothing vouches for these lines, so a cut may have left what is no receipt.
    """
    ahead = _Ahead(lines.whole, identity.device)
    strays: dict[Flaw, list[int]] = {}
    number = 0
    highest = 0
    for position, line in enumerate(lines.whole):
        try:
            opened = envelope.open_sealed if position < sealed else envelope.open_line
            receipt = opened(line, identity)
        except (MalformedError, EvidenceSignatureError) as error:
            claim = envelope.peek_or_none(line)
            claimed = _claimed(claim, identity.device)
            flaw, detail = _flaw_behind(error, claim, identity)
            if may_be_torn:
                # Blocks of another log of the same build may fill a line that was not written, and it keeps its form.
                flaw, detail = Flaw.TORN, "" if claimed is None else "whole in form, and not signed by this device's key"
            named = _named(number + 1, claimed, position, ahead.of(position), is_blank=not line.strip())
            if named is None:
                strays.setdefault(flaw, []).append(position + 1)
                continue
            number = named
            examined.damaged.add(number)
            examined.add(flaw, number, line=position + 1, detail=detail)
        else:
            number = receipt.number
            _take(examined, ProvenReceipt(receipt, line, lines.leaves[position]), position + 1, highest)
            highest = max(highest, number)
    for flaw, where in strays.items():
        examined.add(flaw, line=where[0], detail="" if len(where) == 1 else f"{len(where)} such lines, the last is {where[-1]}")
    if lines.unfinished:
        examined.damaged.add(number + 1)
        examined.add(Flaw.TORN if may_be_torn else Flaw.CUT_SHORT, number + 1, line=len(lines.whole) + 1)
    examined.checked += Checked(by_contents=len(lines.leaves), by_signature=max(len(lines.leaves) - sealed, 0))
    _name_gaps(examined)
    if any(finding.flaw is Flaw.TORN for finding in examined.findings):
        # The blocks that were not written yet may hold what the device wrote there before.
        examined.findings = [
            replace(finding, flaw=Flaw.TORN) if finding.flaw in _OF_BEFORE else finding for finding in examined.findings
        ]


class _Ahead:
    """The next line that claims to be a receipt of the device; no line is looked at twice, however many claim nothing."""

    def __init__(self, lines: Sequence[bytes], device: DeviceId) -> None:
        claims = ((position, _claimed(envelope.peek_or_none(line), device)) for position, line in enumerate(lines))
        self._claims = ((position, number) for position, number in claims if number is not None)
        self._next: tuple[int, int] | None = (-1, 0)

    def of(self, position: int) -> tuple[int, int] | None:
        """Return where the first such line behind `position` stands and the number that it claims; positions must rise."""
        while self._next is not None and self._next[0] <= position:
            self._next = next(self._claims, None)
        return self._next


def _claimed(receipt: Receipt | None, device: DeviceId) -> int | None:
    """Return the number that an unproven line claims to have among a device's receipts, if it claims to be one of them."""
    return receipt.number if receipt is not None and receipt.device == device else None


def _named(expected: int, claimed: int | None, position: int, ahead: tuple[int, int] | None, *, is_blank: bool) -> int | None:
    """Return the number by which to call a line that proves nothing, or None for one that stands where no receipt is lacking.

    Its own word counts only if the next line agrees.
    """
    if claimed is not None:
        return claimed if ahead == (position + 1, claimed + 1) else expected
    if ahead is None:
        return None if is_blank else expected
    return None if ahead[0] - position > ahead[1] - expected else expected


def _flaw_behind(
    error: MalformedError | EvidenceSignatureError, claimed: Receipt | None, identity: Identity
) -> tuple[Flaw, str]:
    """Return why a line is no receipt of this device: a line of another device is told as that, not by its signature."""
    if claimed is not None and claimed.device != identity.device:
        return Flaw.FOREIGN_DEVICE, f"receipt {claimed.number} of {claimed.device}"
    if isinstance(error, EvidenceSignatureError):
        return Flaw.SIGNATURE, ""
    return Flaw.MALFORMED, str(error)


def _take(examined: Examined, proven: ProvenReceipt, line: int, highest: int) -> None:
    """Give a proven receipt its place, unless the place is taken."""
    number = proven.receipt.number
    if number in examined.proven:
        same = examined.proven[number].line == proven.line
        examined.add(Flaw.REPEATED if same else Flaw.FORKED, number, line=line)
        return
    if number < highest:
        examined.add(Flaw.OUT_OF_ORDER, number, line=line)
    examined.proven[number] = proven


def _name_gaps(examined: Examined) -> None:
    torn = {finding.receipt for finding in examined.findings if finding.flaw is Flaw.TORN}
    last = 0
    for number in sorted({*examined.proven, *examined.damaged}):
        first = max(last, examined.accounted) + 1
        if number > first:
            is_torn = last in torn or number in torn
            examined.add(Flaw.TORN if is_torn else Flaw.MISSING, first, until=number - 1)
        last = number
