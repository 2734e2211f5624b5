"""How receipts stand in the ledger's file: one line each, framed so that a torn append is told from damage.

    <length, 8 digits> <sha256 of the rest> <receipt id> <the receipt's line>

Length and digest let a reader of the file say of any byte whether it belongs to a whole record. A power cut leaves at most the
last record in parts; anything else that does not fit was damaged later, and nothing is cut off then.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.envelope import LINE_SIZE_MAX
from usbupdate.core.words import ReceiptId
from usbupdate.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_HEADER: Final = re.compile(rb"([0-9]{8}) ([0-9a-f]{64}) ([0-9a-f]{32}) ")
_HEADER_SIZE: Final = 8 + 1 + 64 + 1 + 32 + 1
RECORD_SIZE_MAX: Final = _HEADER_SIZE + LINE_SIZE_MAX + 1


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record; `end` is the offset in the file just behind it."""

    id: ReceiptId
    line: bytes
    end: int


def encode_record(receipt: ReceiptId, line: bytes) -> bytes:
    """Return the record of a line that has no line feed."""
    return b"%08d %s %s %s\n" % (len(line), _digest(receipt.encode("ascii"), line), receipt.encode("ascii"), line)


def records(file: BinaryIO, start: int = 0) -> Iterator[Record]:
    """Yield the whole records from `start`, and stop before a torn last one.

    Raises:
        LedgerError: a record was damaged that is not the torn last one; says which.
    """
    file.seek(start)
    end = start
    number = 0
    while True:
        number += 1
        head = file.read(_HEADER_SIZE)
        length = _announced(head)
        record = None if length is None else _whole(head + file.read(length + 1), end)
        if record is None:
            break
        end = record.end
        yield record
    file.seek(end)
    rest = file.read(RECORD_SIZE_MAX + 1)
    if len(rest) > RECORD_SIZE_MAX or _holds_a_record(rest):
        raise LedgerError(problem=f"record {number} is damaged, at byte {end}")


def _announced(head: bytes) -> int | None:
    """Return the length of the line behind a header, if it is a header."""
    match = _HEADER.fullmatch(head)
    length = int(match[1]) if match else None
    return length if length is not None and length <= LINE_SIZE_MAX else None


def _whole(raw: bytes, start: int) -> Record | None:
    """Return the record that `raw` is, all of it, or nothing."""
    match = _HEADER.match(raw)
    if match is None or not raw.endswith(b"\n"):
        return None
    line = raw[_HEADER_SIZE:-1]
    if len(line) != int(match[1]) or _digest(match[3], line) != match[2]:
        return None
    return Record(ReceiptId(match[3].decode("ascii")), line, start + len(raw))


def _holds_a_record(rest: bytes) -> bool:
    """Tell whether a whole record stands anywhere in what could not be read."""
    for match in _HEADER.finditer(rest):
        length = _announced(match[0])
        if length is not None and _whole(rest[match.start() : match.end() + length + 1], 0) is not None:
            return True
    return False


def _digest(receipt: bytes, line: bytes) -> bytes:
    return hashlib.sha256(receipt + b" " + line).hexdigest().encode("ascii")
