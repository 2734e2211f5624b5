"""Which of two files counts that a cut may have left of one file of a log: the one in its place, or `*.part` beside it.

Writer and readers follow the same rule: whole is what is of its form up to its end. What is written over an older file of the
same form may be put together from both, so a signature tells: the checkpoint's own, and the last receipt's, since receipts name
each other; blocks that another log left would fit in there otherwise.

Source: docs/format.md, section 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.core import acknowledged, checkpoint, envelope, identity as identity_form
from usbupdate.core.layout import ACKNOWLEDGED, CHECKPOINT, IDENTITY, RECEIPTS
from usbupdate.errors import EvidenceSignatureError, MalformedError, NewerFormatError

if TYPE_CHECKING:
    from usbupdate.core.identity import Identity
    from usbupdate.core.words import DeviceId


def is_whole(name: str, contents: bytes, identity: Identity | None) -> bool:
    """Tell whether one of the small files that prove something is whole; of a file for people that cannot be told.

    Args:
        name: which of them.
        contents: unproven.
        identity: whose log it claims to be; without one, a checkpoint may have been put together from two.
    """
    try:
        if name == IDENTITY:
            identity_form.decode(contents)
        elif name == CHECKPOINT and identity is not None:
            checkpoint.open_note(contents, identity)
        elif name == CHECKPOINT:
            checkpoint.peek_unproven(contents)
        elif name == ACKNOWLEDGED:
            acknowledged.decode(contents)
        else:
            return False
    except (MalformedError, EvidenceSignatureError):
        return False
    except NewerFormatError:
        return True
    return True


def whole_size(receipts: bytes, identity: Identity | None, acknowledged_count: int) -> int:
    """Return how many bytes at the beginning of `receipts.jsonl` are whole lines, each of which follows on the one before.

    Args:
        receipts: unproven.
        identity: whose they claim to be; without one, the last of these lines may have been put together from two.
        acknowledged_count: how many of the first receipts are accounted for elsewhere, so that lines may be lacking among them.
    """
    before: bytes | None = None
    begin = end = 0
    while next_begin := receipts.find(b"\n", end) + 1:
        line = receipts[end : next_begin - 1]
        if not _may_follow(line, before, acknowledged_count):
            break
        begin, end, before = end, next_begin, line
    return end if identity is None or before is None or _is_signed(before, identity) else begin


def _may_follow(line: bytes, before: bytes | None, acknowledged_count: int) -> bool:
    """Tell whether a line is in form and names the one before it, if there is one, or may name one that is accounted for."""
    claim = envelope.peek_or_none(line)
    if claim is None or before is None:
        return claim is not None
    claim_before = envelope.peek_unproven(before)
    is_next = claim.previous == envelope.line_digest(before)
    return is_next or claim_before.number < claim.number - 1 <= acknowledged_count


def _is_signed(line: bytes, identity: Identity) -> bool:
    try:
        envelope.open_line(line, identity)
    except (MalformedError, EvidenceSignatureError):
        return False
    return True


def counts_instead(name: str, contents: bytes | None, part: bytes, identity: Identity | None, acknowledged_count: int) -> bool:
    """Tell whether `*.part` counts and not the file itself.

    Args:
        name: which file of a log.
        contents: of the file in its place; None where there is none that can be read.
        part: contents of the other one.
        identity: whose log it claims to be.
        acknowledged_count: as in `whole_size`.
    """
    if name != RECEIPTS:
        return is_whole(name, part, identity) and (contents is None or not is_whole(name, contents, identity))
    if contents is None:
        # A first copy; it counts as far as it goes.
        return True
    whole = whole_size(contents, identity, acknowledged_count)
    return whole < len(contents) and part.startswith(contents[:whole])


def begins_another_history(rest: bytes, receipts: bytes, identity: Identity) -> bool:
    """Tell whether a file holds other receipts in a device's name where it stops being the device's own.

    Anything else is what lay in the blocks of a file that was being made: the device's own receipts of before, or those of
    another one, whose log lies in a folder of its own. One row may be put together from both; what comes after a torn row is
    not looked at.

    Args:
        rest: the file from the beginning of the first row that differs, or as much of it as two rows can have.
        receipts: all of the device's own.
        identity: the device's.
    """
    row, _, others = rest.partition(b"\n")
    following = others.partition(b"\n")[0]
    return row not in receipts and (_is_signed(row, identity) or _follows(following, row, identity.device))


def _follows(line: bytes, before: bytes, device: DeviceId) -> bool:
    """Tell whether a line names the one before it, and both speak in a device's name, by whatever key."""
    claim, claim_before = envelope.peek_or_none(line), envelope.peek_or_none(before)
    if claim is None or claim_before is None:
        return False
    return claim.device == claim_before.device == device and claim.previous == envelope.line_digest(before)
