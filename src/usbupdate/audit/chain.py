"""One copy of one device's log, examined line by line: what is proven, and every flaw with the receipt it is about.

The steps, in this order, so that each flaw is told once and by its cause:

1. identity: whose folder, whose key, and is it the enrolled one;
2. each line: form, device, signature;
3. the numbers: none twice, none missing, in order;
4. the chain: each receipt names the one before;
5. the checkpoint: signed by the device, over these receipts and all of them, those included that are accounted for elsewhere;
6. what the auditor has seen of this device before;
7. the course of its releases: back only by an authorisation.

A device writes its checkpoint when the receipts are safe on the stick. So in a copy without one, a line that is no receipt of
this device may be what a cut left of a copy that was being written, and what is lacking beside it may have stood in its place.
What this device signed speaks for itself there as well.

Receipts that the office has acknowledged need not be in a copy, if they are known from elsewhere, or if somebody who may say so
has said that the office keeps them; see `audit.accounts`.

Source: design, section 7; docs/format.md, sections 10 and 12.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from usbupdate.audit.accounts import NOWHERE, Elsewhere, account_for
from usbupdate.audit.course import turned_back, unexplained
from usbupdate.audit.depth import Checked, Depth
from usbupdate.audit.examined import Examined
from usbupdate.audit.findings import Flaw, runs_joined
from usbupdate.audit.lines import Lines, read_lines
from usbupdate.core import checkpoint, envelope, identity as identity_form
from usbupdate.core.checkpoint import Checkpoint
from usbupdate.core.identity import Identity
from usbupdate.core.layout import CHECKPOINT, IDENTITY, RECEIPTS
from usbupdate.core.merkle import root
from usbupdate.core.receipt import NO_PREVIOUS
from usbupdate.core.words import DeviceId
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.audit.copies import LogCopy
    from usbupdate.core.acknowledged import Acknowledged

UNKNOWN: Final = DeviceId("unknown")


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


def examine(
    copy: LogCopy,
    enrolled: Identity | None,
    seen: Sequence[bytes],
    depth: Depth = Depth.THOROUGH,
    elsewhere: Elsewhere = NOWHERE,
) -> Examined:
    """Return what a copy proves and what is wrong with it.

    Args:
        copy: as read.
        enrolled: the device's enrolled identity; without one its own word is taken, which makes it consistent at best.
        seen: the leaf hashes of this device's receipts that were seen before, from receipt 1 on.
        depth: how deep to look where the checkpoint proves the lines; otherwise each line is judged by itself at any depth.
        elsewhere: what may account for receipts that the copy lacks, besides what was seen.
    """
    examined = Examined(device_of(copy), copy.source)
    for name, problem in copy.unreadable.items():
        examined.add(Flaw.UNREADABLE, detail=f"{name}: {problem}")
    examined.identity = _identity(examined, copy, enrolled)
    if RECEIPTS not in copy.files and RECEIPTS not in copy.unreadable:
        examined.add(Flaw.RECEIPTS_MISSING)
    if examined.identity is not None:
        account = account_for(examined, examined.identity, copy, seen, elsewhere)
        _examine_lines(examined, examined.identity, copy, seen, depth)
        if account is not None:
            _check_behind(examined, account)
    examined.findings = list(runs_joined(examined.findings))
    return examined


def _examine_lines(examined: Examined, identity: Identity, copy: LogCopy, seen: Sequence[bytes], depth: Depth) -> None:
    lines = Lines(copy.files.get(RECEIPTS, b""))
    head = _head(identity, copy)
    sealed = 0
    if isinstance(head, Checkpoint):
        # A log that begins later is as good as whole if all that is before it is known.
        lacking = head.size - len(lines.leaves)
        before = examined.before[:lacking] if 0 < lacking <= len(examined.before) else ()
        leaves = (*before, *lines.leaves)
        if head.size <= len(leaves) and root(leaves[: head.size]) == head.root:
            examined.sealed = leaves[: head.size]
            sealed = head.size - len(before)
            examined.lacking = len(before)
            examined.checked = Checked(by_root=sealed)
            is_all = head.size == len(leaves) and not lines.unfinished
            if depth is Depth.QUICK and is_all and leaves[: len(seen)] == tuple(seen[: len(leaves)]):
                examined.head = head
                return
    is_vouched_for = CHECKPOINT in copy.files or CHECKPOINT in copy.unreadable
    read_lines(examined, identity, lines, sealed=0 if depth is Depth.THOROUGH else sealed, may_be_torn=not is_vouched_for)
    _check_chain(examined)
    _check_head(examined, head)
    _compare_with_seen(examined, seen)
    _check_course(examined)


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


def _head(identity: Identity, copy: LogCopy) -> Checkpoint | tuple[Flaw, str] | None:
    """Return the checkpoint that the device signed, or what is wrong with it; nothing if it cannot be read."""
    if CHECKPOINT in copy.unreadable:
        return None
    if CHECKPOINT not in copy.files:
        return Flaw.CHECKPOINT_MISSING, ""
    try:
        return checkpoint.open_note(copy.files[CHECKPOINT], identity)
    except MalformedError as error:
        return Flaw.CHECKPOINT_MALFORMED, str(error)
    except EvidenceSignatureError:
        return Flaw.CHECKPOINT_SIGNATURE, ""


def _check_head(examined: Examined, head: Checkpoint | tuple[Flaw, str] | None) -> None:
    if head is None:
        return
    if not isinstance(head, Checkpoint):
        flaw, detail = head
        examined.add(flaw, detail=detail)
        return
    examined.stated = head
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


def _check_behind(examined: Examined, account: Acknowledged) -> None:
    """Compare the root with the subtrees over what is lacking and the receipts behind, where those before are not at hand."""
    head, tree = examined.stated, account.tree()
    if head is None or len(examined.leaves()) >= head.size or head.size < tree.size:
        return
    for number in range(tree.size + 1, head.size + 1):
        each = examined.proven.get(number)
        if each is None:
            return
        tree.add(each.leaf)
    if not examined.accounted:
        if tree.root() == head.root:
            _call_begun_later(examined, account.checkpoint.size)
    elif tree.root() != head.root:
        examined.add(Flaw.CHECKPOINT_ROOT, account.checkpoint.size + 1, until=head.size)
    else:
        examined.head = head


def _call_begun_later(examined: Examined, count: int) -> None:
    """Tell of receipts that are not here as of those that no stick will bring: they were acknowledged, by an unchecked word."""
    examined.findings = [
        replace(each, flaw=Flaw.BEGINS_LATER)
        if each.flaw is Flaw.MISSING and (each.until or each.receipt or 0) <= count
        else each
        for each in examined.findings
    ]


def _compare_with_seen(examined: Examined, seen: Sequence[bytes]) -> None:
    for number, leaf in examined.by_number():
        if number <= len(seen) and leaf != seen[number - 1]:
            examined.add(Flaw.SEEN_OTHERWISE, number)
            # The chain carries the difference into every later one.
            return


def _check_course(examined: Examined) -> None:
    receipts = [each.receipt for _, each in sorted(examined.proven.items())]
    for number, detail in unexplained(receipts, examined.device):
        examined.add(Flaw.WENT_BACK, number, detail=detail)
    for number, detail in turned_back(receipts):
        examined.add(Flaw.TIME_BACKWARDS, number, detail=detail)
