"""What an auditor may say has arrived: of each device in good order, the newest checkpoint all of whose receipts are at hand.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.audit.chain import device_of
from usbupdate.audit.verdict import Standing
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


def received(places: Iterable[Place], verdicts: Iterable[Verdict], devices: Devices) -> Iterator[Received]:
    """Yield what was received of each device whose evidence is in order and whose key is enrolled.

    Args:
        places: the copies that are kept for good.
        verdicts: what they come to.
        devices: the enrolled ones.
    """
    good = {verdict.device for verdict in verdicts if verdict.standing is Standing.OK}
    by_device: dict[str, list[Place]] = {}
    for place in places:
        device = place.folder or device_of(place.read())
        if device in good:
            by_device.setdefault(device, []).append(place)
    for device in sorted(good):
        enrolment = devices.get(device)
        if enrolment is not None:
            found = joined((place.read() for place in by_device[device]), enrolment.identity)
            if found is not None:
                note, lines = found
                yield Received(enrolment.identity, note, merkle.leaf_hashes(lines))


def joined(copies: Iterable[LogCopy], identity: Identity) -> tuple[bytes, list[bytes]] | None:
    """Return the newest checkpoint of which every receipt is in one copy or another, and their lines; None if there is none.

    The lines are those of the checkpoint: its root says so.
    """
    lines: dict[int, bytes] = {}
    heads: dict[bytes, Checkpoint] = {}
    for copy in copies:
        for line in copy.files.get(RECEIPTS, b"").split(b"\n"):
            receipt = envelope.peek_or_none(line)
            if receipt is not None:
                lines.setdefault(receipt.number, line)
        note = copy.files.get(CHECKPOINT, b"")
        if (head := _head(note, identity)) is not None:
            heads[note] = head
    for note, head in sorted(heads.items(), key=lambda each: each[1].size, reverse=True):
        found = [lines[number] for number in range(1, head.size + 1) if number in lines]
        if len(found) == head.size and merkle.root(merkle.leaf_hashes(found)) == head.root:
            return note, found
    return None


def _head(note: bytes, identity: Identity) -> Checkpoint | None:
    try:
        return checkpoint.open_note(note, identity)
    except (MalformedError, EvidenceSignatureError):
        return None
