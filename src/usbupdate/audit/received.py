"""What an auditor may say has arrived: of each device, the newest checkpoint all of whose receipts are at hand.

A copy that is damaged or was tampered with speaks against itself, not against what whole copies prove: else whoever has one
stick in his hands could stop acknowledgements for ever. Where a device may have two histories, nothing has arrived.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import by_device
from usbupdate.core import checkpoint, envelope, merkle
from usbupdate.core.acknowledgements import Received
from usbupdate.core.layout import CHECKPOINT, RECEIPTS
from usbupdate.errors import EvidenceSignatureError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.audit.copies import LogCopy
    from usbupdate.audit.devices import Devices
    from usbupdate.audit.places import Place
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.checkpoint import Checkpoint
    from usbupdate.core.identity import Identity

_OF_ONE_COPY: Final = frozenset({
    Flaw.UNREADABLE,
    Flaw.RECEIPTS_MISSING,
    Flaw.MALFORMED,
    Flaw.CUT_SHORT,
    Flaw.TORN,
    Flaw.FOREIGN_DEVICE,
    Flaw.SIGNATURE,
    Flaw.MISSING,
    Flaw.OUT_OF_ORDER,
    Flaw.REPEATED,
    Flaw.IDENTITY_MISSING,
    Flaw.IDENTITY_MALFORMED,
    Flaw.IDENTITY_FOREIGN,
    Flaw.CHECKPOINT_MISSING,
    Flaw.CHECKPOINT_MALFORMED,
    Flaw.CHECKPOINT_SIGNATURE,
    Flaw.CHECKPOINT_BEHIND,
    Flaw.ACKNOWLEDGED_MALFORMED,
})  # fmt: skip
"""What anybody who has a stick can do to its copy, and what says nothing of what the device's key has signed elsewhere."""


def received(places: Iterable[Place], verdicts: Iterable[Verdict], devices: Devices) -> Iterator[Received]:
    """Yield what was received of each device whose key is enrolled and of which nothing says that it has two histories.

    Args:
        places: the copies that are kept for good.
        verdicts: what they come to.
        devices: the enrolled ones.
    """
    good = {each.device for each in verdicts if all(finding.flaw in _OF_ONE_COPY for finding in each.flaws)}
    for device, own in by_device(places):
        enrolment = devices.get(device) if device in good else None
        if enrolment is not None:
            found = joined((place.read() for place in own), enrolment.identity)
            if found is not None:
                note, lines = found
                yield Received(enrolment.identity, note, merkle.leaf_hashes(lines))


def joined(copies: Iterable[LogCopy], identity: Identity) -> tuple[bytes, list[bytes]] | None:
    """Return the newest checkpoint of which every receipt is in one copy or another, and their lines; None if there is none.

    The lines are those of the checkpoint: its root says so.
    """
    lines: dict[int, list[bytes]] = {}
    heads: dict[bytes, Checkpoint] = {}
    for copy in copies:
        for line in copy.files.get(RECEIPTS, b"").split(b"\n"):
            receipt = envelope.peek_or_none(line)
            if receipt is not None:
                same = lines.setdefault(receipt.number, [])
                if line not in same:
                    same.append(line)
        note = copy.files.get(CHECKPOINT, b"")
        if (head := _head(note, identity)) is not None:
            heads[note] = head
    one = {number: _signed(several, identity) if len(several) > 1 else several[0] for number, several in lines.items()}
    for note, head in sorted(heads.items(), key=lambda each: each[1].size, reverse=True):
        found = [one[number] for number in range(1, head.size + 1) if number in one]
        if len(found) == head.size and merkle.root(merkle.leaf_hashes(found)) == head.root:
            return note, found
    return None


def _signed(lines: Iterable[bytes], identity: Identity) -> bytes:
    """Return which of several lines with one number the device has signed; it has signed one, where nothing else was found."""
    for line in lines:
        try:
            envelope.open_line(line, identity)
        except (MalformedError, EvidenceSignatureError):
            continue
        return line
    return b""


def _head(note: bytes, identity: Identity) -> Checkpoint | None:
    try:
        return checkpoint.open_note(note, identity)
    except (MalformedError, EvidenceSignatureError):
        return None
