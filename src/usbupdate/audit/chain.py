"""One copy of one device's log, examined line by line: what is proven, and every flaw with the receipt it is about.

The steps, in this order, so that each flaw is told once and by its cause:

1. identity: whose folder, whose key, and is it the enrolled one;
2. each line: form, device, signature;
3. the numbers: none twice, none missing, in order;
4. the chain: each receipt names the one before;
5. the checkpoint: signed by the device, over these receipts and all of them;
6. what the auditor has seen of this device before;
7. the course of its releases: back only by an authorisation.

A device writes its checkpoint when the receipts are safe on the stick. So in a copy without one, a line that is no receipt of
this device may be what a cut left of a copy that was being written, and what is lacking beside it may have stood in its place.
What this device signed speaks for itself there as well.

Source: design, section 7; docs/format.md, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from usbupdate.audit.course import unexplained
from usbupdate.audit.findings import Finding, Flaw, runs_joined
from usbupdate.core import checkpoint, envelope, identity as identity_form
from usbupdate.core.identity import Identity
from usbupdate.core.layout import CHECKPOINT, IDENTITY, RECEIPTS
from usbupdate.core.merkle import leaf_hash, root
from usbupdate.core.receipt import NO_PREVIOUS
from usbupdate.core.words import DeviceId
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.audit.copies import LogCopy
    from usbupdate.core.checkpoint import Checkpoint
    from usbupdate.core.receipt import Receipt

UNKNOWN: Final = DeviceId("unknown")
LINES_MAX: Final = 1 << 17
"""More lines than receipts fit into the largest log."""
_OF_BEFORE: Final = frozenset({Flaw.REPEATED, Flaw.OUT_OF_ORDER})


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """A receipt that this device signed, and the line it stands in."""

    receipt: Receipt
    line: bytes


@dataclass(slots=True)
class Examined:
    """What one copy proves; `proven` is by receipt number, `damaged` are the numbers of lines that prove nothing."""

    device: DeviceId
    source: str
    identity: Identity | None = None
    proven: dict[int, ProvenReceipt] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    head: Checkpoint | None = None
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, flaw: Flaw, receipt: int | None = None, *, until: int | None = None, line: int | None = None, detail: str = ""
    ) -> None:
        """Note a flaw."""
        self.findings.append(Finding(self.device, flaw, self.source, receipt, until, line, detail))

    def last_number(self) -> int:
        """Return the highest number that a line of this copy bears."""
        return max((*self.proven, *self.damaged), default=0)

    def leaves(self) -> tuple[bytes, ...]:
        """Return the leaf hashes of the receipts from 1 up to the first that is not proven."""
        leaves: list[bytes] = []
        while len(leaves) + 1 in self.proven:
            leaves.append(leaf_hash(self.proven[len(leaves) + 1].line))
        return tuple(leaves)


def device_of(copy: LogCopy) -> DeviceId:
    """Return whose log a copy claims to be: its folder's word, else its identity's, else its first receipt's."""
    if copy.folder is not None:
        return copy.folder
    try:
        return identity_form.decode(copy.files.get(IDENTITY, b"")).device
    except MalformedError:
        pass
    first = envelope.peek_or_none(copy.files.get(RECEIPTS, b"").split(b"\n", 1)[0])
    return UNKNOWN if first is None else first.device


def examine(copy: LogCopy, enrolled: Identity | None, seen: Sequence[bytes]) -> Examined:
    """Return what a copy proves and what is wrong with it.

    Args:
        copy: as read.
        enrolled: the device's enrolled identity; without one its own word is taken, which makes it consistent at best.
        seen: the leaf hashes of this device's receipts that were seen before, from receipt 1 on.
    """
    examined = Examined(device_of(copy), copy.source)
    for name, problem in copy.unreadable.items():
        examined.add(Flaw.UNREADABLE, detail=f"{name}: {problem}")
    examined.identity = _identity(examined, copy, enrolled)
    if RECEIPTS not in copy.files and RECEIPTS not in copy.unreadable:
        examined.add(Flaw.RECEIPTS_MISSING)
    if examined.identity is not None:
        is_vouched_for = CHECKPOINT in copy.files or CHECKPOINT in copy.unreadable
        _read_lines(examined, examined.identity, copy.files.get(RECEIPTS, b""), may_be_torn=not is_vouched_for)
        _check_chain(examined)
        _check_head(examined, examined.identity, copy)
        _compare_with_seen(examined, seen)
        _check_course(examined)
    examined.findings = list(runs_joined(examined.findings))
    return examined


def _identity(examined: Examined, copy: LogCopy, enrolled: Identity | None) -> Identity | None:
    """Return by which key the copy is judged: the enrolled one, else the one that it brings along."""
    if IDENTITY in copy.unreadable:
        return enrolled
    if IDENTITY not in copy.files:
        examined.add(Flaw.IDENTITY_MISSING)
        return enrolled
    try:
        stated = identity_form.decode(copy.files[IDENTITY])
    except MalformedError as error:
        examined.add(Flaw.IDENTITY_MALFORMED, detail=str(error))
        return enrolled
    if stated.device != examined.device:
        examined.add(Flaw.IDENTITY_FOREIGN, detail=f"it names {stated.device}")
    elif enrolled is not None and stated.public_key != enrolled.public_key:
        examined.add(Flaw.KEY_CHANGED, detail=f"it is {stated.fingerprint}, not {enrolled.fingerprint}")
    return enrolled or Identity(examined.device, stated.public_key)


def _read_lines(examined: Examined, identity: Identity, receipts: bytes, *, may_be_torn: bool) -> None:
    # What is left behind the last line counts as one that is cut short: a stick full of line feeds must not fill the memory.
    lines = receipts.split(b"\n", LINES_MAX)
    unfinished = lines.pop()
    ahead = _Ahead(lines, identity.device)
    strays: dict[Flaw, list[int]] = {}
    number = 0
    for position, line in enumerate(lines):
        try:
            receipt = envelope.open_line(line, identity)
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
            _take(examined, ProvenReceipt(receipt, line), position + 1)
    for flaw, where in strays.items():
        examined.add(flaw, line=where[0], detail="" if len(where) == 1 else f"{len(where)} such lines, the last is {where[-1]}")
    if unfinished:
        examined.damaged.add(number + 1)
        examined.add(Flaw.TORN if may_be_torn else Flaw.CUT_SHORT, number + 1, line=len(lines) + 1)
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


def _take(examined: Examined, proven: ProvenReceipt, line: int) -> None:
    """Give a proven receipt its place, unless the place is taken."""
    number = proven.receipt.number
    if number in examined.proven:
        same = examined.proven[number].line == proven.line
        examined.add(Flaw.REPEATED if same else Flaw.FORKED, number, line=line)
        return
    if number < max(examined.proven, default=0):
        examined.add(Flaw.OUT_OF_ORDER, number, line=line)
    examined.proven[number] = proven


def _name_gaps(examined: Examined) -> None:
    torn = {finding.receipt for finding in examined.findings if finding.flaw is Flaw.TORN}
    last = 0
    for number in sorted({*examined.proven, *examined.damaged}):
        if number > last + 1:
            is_torn = last in torn or number in torn
            examined.add(Flaw.TORN if is_torn else Flaw.MISSING, last + 1, until=number - 1)
        last = number


def _check_chain(examined: Examined) -> None:
    for number, each in sorted(examined.proven.items()):
        before = examined.proven.get(number - 1)
        if number == 1:
            expected = NO_PREVIOUS
        elif before is not None:
            expected = envelope.line_digest(before.line)
        else:
            continue
        if each.receipt.previous != expected:
            examined.add(Flaw.CHAIN, number)


def _check_head(examined: Examined, identity: Identity, copy: LogCopy) -> None:
    if CHECKPOINT in copy.unreadable:
        return
    if CHECKPOINT not in copy.files:
        examined.add(Flaw.CHECKPOINT_MISSING)
        return
    try:
        head = checkpoint.open_note(copy.files[CHECKPOINT], identity)
    except MalformedError as error:
        examined.add(Flaw.CHECKPOINT_MALFORMED, detail=str(error))
        return
    except EvidenceSignatureError:
        examined.add(Flaw.CHECKPOINT_SIGNATURE)
        return
    last = examined.last_number()
    if head.size > last:
        examined.add(Flaw.MISSING, last + 1, until=head.size, detail=f"the checkpoint covers {head.size} receipts")
    if head.size < last:
        examined.add(Flaw.CHECKPOINT_BEHIND, head.size + 1, until=last)
    leaves = examined.leaves()
    # With a receipt missing or damaged among them the root cannot agree, and the cause is told already.
    if len(leaves) >= head.size:
        if root(leaves[: head.size]) != head.root:
            examined.add(Flaw.CHECKPOINT_ROOT, 1, until=max(head.size, 1))
        examined.head = head


def _compare_with_seen(examined: Examined, seen: Sequence[bytes]) -> None:
    for number, leaf in enumerate(seen, 1):
        each = examined.proven.get(number)
        if each is not None and leaf_hash(each.line) != leaf:
            examined.add(Flaw.SEEN_OTHERWISE, number)
            # The chain carries the difference into every later one.
            return


def _check_course(examined: Examined) -> None:
    receipts = (each.receipt for _, each in sorted(examined.proven.items()))
    for number, detail in unexplained(receipts, examined.device):
        examined.add(Flaw.WENT_BACK, number, detail=detail)
