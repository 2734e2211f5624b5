"""Acknowledging: the office cosigns up to where it holds a device's receipts for good, and keeps that for the next sticks.

What was acknowledged once is never taken back: a device may have given up its own copy since. So the number never falls, and
what contradicts it is refused and named.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import acknowledgements, cosignature, merkle
from usbupdate.core.acknowledgements import ACKNOWLEDGEMENTS_SIZE_MAX
from usbupdate.core.checkpoint import open_note
from usbupdate.errors import AcknowledgementError, KeyUnusableError, MalformedError, NotAcknowledgerError, OfficeFileError
from usbupdate.packager import acknowledgers, keys

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from securesystemslib.signer import Signer

    from usbupdate.core.acknowledgements import Received
    from usbupdate.core.cosignature import Cosigner
    from usbupdate.core.words import DeviceId
    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office

FILE: Final = "acknowledgements"


@dataclass(frozen=True, slots=True)
class Done:
    """What an acknowledging came to.

    Attributes:
        counts: how many receipts of each device are acknowledged now.
        fresh: the devices of which that is news.
        refused: why a device's receipts were not acknowledged, by device.
    """

    counts: dict[DeviceId, int]
    fresh: tuple[DeviceId, ...]
    refused: dict[DeviceId, str]


def load(office: Office) -> dict[DeviceId, bytes]:
    """Return the cosigned checkpoints that the repository keeps, by device.

    Raises:
        OfficeFileError: they cannot be read, or are damaged.
    """
    path = office.path / FILE
    try:
        return acknowledgements.decode(plainfile.read(path, ACKNOWLEDGEMENTS_SIZE_MAX + 1))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OfficeFileError(path=str(path), problem=error.strerror or "it cannot be read") from error
    except MalformedError as error:
        raise OfficeFileError(path=str(path), problem=f"{error.field}: {error.problem}") from error


def acknowledge(
    office: Office, received: Iterable[Received], reference: str, now: datetime, ask: Passphrases = keys.no_passphrase
) -> Done:
    """Cosign what was received of each device, and keep it durably with what was acknowledged before.

    Args:
        office: the repository.
        received: what the office holds for good, each device once.
        reference: the key; the published list of bundles names it.
        now: the time that the cosignatures state.
        ask: who is asked for its passphrase.

    Raises:
        NotAcknowledgerError: the published list does not name the key; nothing was acknowledged.
        OfficeKeyError: the key cannot be used; as above.
        OfficeFileError: what was acknowledged before cannot be read; as above.
    """
    hand = _hand(office, reference, now, ask)
    notes = load(office)
    fresh, refused = [], {}
    for each in received:
        device = each.identity.device
        try:
            note = _acknowledged(each, notes.get(device), hand)
        except AcknowledgementError as error:
            refused[device] = error.problem
            continue
        if note != notes.get(device):
            notes[device] = note
            fresh.append(device)
    if fresh:
        try:
            raw = acknowledgements.encode(notes)
        except MalformedError as error:
            raise OfficeFileError(path=str(office.path / FILE), problem=f"{error.field}: {error.problem}") from error
        durable.save(office.path / FILE, raw)
    counts = {device: cosignature.peek_unproven(note).size for device, note in sorted(notes.items())}
    return Done(counts, tuple(fresh), refused)


@dataclass(frozen=True, slots=True)
class _Hand:
    """Who cosigns now, what signs for him, whom else the published list names, and the time."""

    cosigner: Cosigner
    signer: Signer
    named: tuple[Cosigner, ...]
    time_s: int

    def cosign(self, note: bytes) -> bytes:
        return cosignature.cosign(note, self.cosigner, self.time_s, self.signer)


def _hand(office: Office, reference: str, now: datetime, ask: Passphrases) -> _Hand:
    found = acknowledgers.key_of(reference, office, ask)
    if found is None:
        raise NotAcknowledgerError(key=reference)
    cosigner, key = found
    signer = keys.open_signer(reference, key, ask)
    if signer is None:
        raise KeyUnusableError(key=reference, problem="it is a public key, and only a private one signs")
    return _Hand(cosigner, signer, acknowledgers.published(office), int(now.timestamp()))


def _acknowledged(received: Received, before: bytes | None, hand: _Hand) -> bytes:
    """Return the note to keep of a device, which is the one from before where nothing has changed.

    Raises:
        AcknowledgementError: what was received contradicts what was acknowledged before, or is less.
    """
    head = open_note(received.note, received.identity)
    if merkle.root(received.leaves[: head.size]) != head.root:
        raise AcknowledgementError(problem="the receipts that were received are not those of the checkpoint")
    known = None if before is None else cosignature.peek_unproven(before)
    if before is None or known is None or known.origin != head.origin:
        # A device that was provisioned anew begins anew.
        return hand.cosign(received.note)
    if known.size > head.size:
        problem = f"{known.size} receipts were acknowledged before, and {head.size} are at hand"
        raise AcknowledgementError(problem=problem)
    if merkle.root(received.leaves[: known.size]) != known.root:
        raise AcknowledgementError(problem=f"the first {known.size} receipts are others than were acknowledged before")
    if known.size < head.size:
        return hand.cosign(received.note)
    kept = cosignature.without_others(before, hand.named)
    try:
        cosignature.open_note(kept, [hand.cosigner])
    except AcknowledgementError:
        return hand.cosign(kept)
    return kept
