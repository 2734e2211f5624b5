"""The file `acknowledgements`: for each device one line, the cosigned checkpoint up to which the office holds its receipts.

One line is one canonical JSON object, and lines stand by rising device id, each once. A device looks for its own line and for
nothing else: what stands on the others is neither read nor judged.

Source: design, section 7, "Acknowledgement"; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core import cosignature, strictjson
from usbupdate.core.cosignature import NOTE_SIZE_MAX
from usbupdate.core.layout import ACKNOWLEDGEMENTS
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usbupdate.core.identity import Identity
    from usbupdate.core.layout import MediumReader

ACKNOWLEDGEMENTS_SIZE_MAX: Final = 16 << 20
LINE_SIZE_MAX: Final = 8 << 10
"""Without its line feed; what JSON makes of the longest note with its line feeds and dashes fits."""

_DOCUMENT: Final = "acknowledgements"
_BLOCK: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Received:
    """What somebody holds of a device for good: its newest checkpoint, and the leaf hashes of the receipts from 1 on."""

    identity: Identity
    note: bytes
    leaves: Sequence[bytes]


def encode(notes: Mapping[DeviceId, bytes]) -> bytes:
    """Return the file with these notes; `decode` gives them back.

    Raises:
        MalformedError: a note is none about its device, or all together are too much for one file.
    """
    raw = b"".join(_encode_line(device, note) + b"\n" for device, note in sorted(notes.items()))
    decode(raw)
    return raw


def decode(raw: bytes) -> dict[DeviceId, bytes]:
    """Return the notes by device; no signature is looked at.

    Raises:
        MalformedError: it is not exactly what `encode` writes for some notes.
    """
    if len(raw) > ACKNOWLEDGEMENTS_SIZE_MAX:
        raise _broken(f"larger than {ACKNOWLEDGEMENTS_SIZE_MAX} bytes")
    notes: dict[DeviceId, bytes] = {}
    last = ""
    if raw and not raw.endswith(b"\n"):
        raise _broken("its last line is cut short")
    for line in raw.split(b"\n")[:-1]:
        device, note = _decode_line(line)
        if device <= last:
            raise _broken(f"{device} does not come after {last}")
        notes[device], last = note, device
    return notes


def find(medium: MediumReader, device: DeviceId) -> bytes | None:
    """Return the note about one device on a stick, or None if the stick brings none; no signature is looked at.

    The file is searched block by block, so neither its size nor the number of its lines costs memory.

    Raises:
        MalformedError: the file is too large, the device's line is not of its form, or another of the device follows it.
        MediumFileMissingError: there is no such file.
        RejectedError, MediumError: it is something else than an ordinary file, or could not be read.
    """
    size = medium.size(ACKNOWLEDGEMENTS)
    if size > ACKNOWLEDGEMENTS_SIZE_MAX:
        raise _broken(f"larger than {ACKNOWLEDGEMENTS_SIZE_MAX} bytes")
    beginning = b"\n" + strictjson.encode({"device": device})[:-1] + b","
    start = _position(medium, size, beginning)
    if start is None:
        return None
    window = medium.read_at(ACKNOWLEDGEMENTS, start, min(LINE_SIZE_MAX + len(beginning), size - start))
    line, feed, rest = window.partition(b"\n")
    if not feed:
        raise _broken("a line is too long, or cut short")
    if (feed + rest).startswith(beginning):
        raise _broken(f"{device} stands twice")
    return _decode_line(line)[1]


def _position(medium: MediumReader, size: int, beginning: bytes) -> int | None:
    """Return where the first line with this beginning stands, the line feed before it counted to it."""
    # As if a line feed stood before the first line.
    carried = b"\n"
    for offset in range(0, size, _BLOCK):
        block = carried + medium.read_at(ACKNOWLEDGEMENTS, offset, min(_BLOCK, size - offset))
        found = block.find(beginning)
        if found >= 0:
            return offset - len(carried) + found + 1
        carried = block[1 - len(beginning) :]
    return None


def _encode_line(device: DeviceId, note: bytes) -> bytes:
    return strictjson.encode({"device": device, "note": note.decode()})


def _decode_line(line: bytes) -> tuple[DeviceId, bytes]:
    fields = strictjson.decode(line, _DOCUMENT, limit=LINE_SIZE_MAX)
    device = DeviceId(fields.text("device", DEVICE_ID))
    note = fields.free_text("note", limit=NOTE_SIZE_MAX).encode()
    fields.done()
    stated = cosignature.peek_unproven(note)
    if stated.origin.split("/")[1] != device:
        fields.fail("note", "about another device")
    if _encode_line(device, note) != line:
        fields.fail("whole", "not in its one canonical form")
    return device, note


def _broken(problem: str) -> MalformedError:
    return MalformedError(document=_DOCUMENT, field="whole", problem=problem)
