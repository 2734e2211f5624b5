"""What of a device's receipts lies on a stick, and what the stick is to hold next: an earlier state is gone on with.

A row of whole lines is an earlier state if each is one of the device's receipts, in order, and none is passed over but such as
the office has acknowledged. Lines are known by their leaf hashes, so also those that the device has given up are known.

Source: design, sections 5 and 7; ADR 0020.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from usbupdate.core.envelope import LINE_SIZE_MAX
from usbupdate.core.merkle import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.device.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in a file of receipts.

    Attributes:
        lines: the whole lines at its beginning that are the device's, as they stand there.
        last: the number of the last of them, 0 if there is none.
        lacking: the highest number that is passed over before that, 0 if none is.
        stray: what follows, up to the end of its first line; empty if nothing does.
        is_cut: whether that is all, and has no line feed: it may be the beginning of the next line.
    """

    lines: bytes = b""
    last: int = 0
    lacking: int = 0
    stray: bytes = b""
    is_cut: bool = True


@dataclass(frozen=True, slots=True)
class Continued:
    """What a file of receipts is to hold next, and the highest number of a receipt that is not in it, 0 if all are."""

    contents: bytes
    lacking: int


def compared(blocks: Iterable[bytes], ledger: Ledger) -> Held:
    """Return what lies in a file, given piece by piece; no more pieces are asked for than up to where it stops being ours.

    Raises:
        LedgerError: the device's own receipts could not be read.
    """
    places = _Places(ledger)
    lines, rest = BytesIO(), b""
    last = lacking = 0
    for block in blocks:
        rest += block
        begin = 0
        while (end := rest.find(b"\n", begin)) >= 0:
            number = places.next_of(leaf_hash(rest[begin:end]))
            if number is None:
                return Held(lines.getvalue(), last, lacking, rest[begin:end], is_cut=False)
            lacking = lacking if number == last + 1 else number - 1
            last = number
            lines.write(rest[begin : end + 1])
            begin = end + 1
        rest = rest[begin:]
        if len(rest) > LINE_SIZE_MAX:
            return Held(lines.getvalue(), last, lacking, rest, is_cut=False)
    return Held(lines.getvalue(), last, lacking, rest)


def continued(held: Held, ledger: Ledger) -> Continued:
    """Return what a file is to hold next that holds this now, whatever else is in it.

    Raises:
        LedgerError: the device's own receipts could not be read.
    """
    begin = max(_start(held, ledger), ledger.first())
    lacking = held.lacking if begin == held.last + 1 else begin - 1
    return Continued(held.lines + b"".join(line + b"\n" for line in ledger.lines(begin)), lacking)


def _start(held: Held, ledger: Ledger) -> int:
    """Return the number from which a file is gone on with; one without a whole line begins behind what has arrived."""
    known = ledger.acknowledged()
    behind = 1 if known is None else known.checkpoint.size + 1
    if held.last:
        return held.last + 1
    # It may have been cut off in the very first line of all.
    is_first = held.is_cut and held.stray and next(ledger.lines(), b"").startswith(held.stray) and ledger.first() == 1
    is_behind = next(ledger.lines(behind), b"").startswith(held.stray)
    return 1 if is_first and not is_behind else behind


class _Places:
    """Finds the numbers of receipts by their leaf hashes, going forward only."""

    def __init__(self, ledger: Ledger) -> None:
        known = ledger.acknowledged()
        self._acknowledged = 0 if known is None else known.checkpoint.size
        self._leaves: Iterator[tuple[int, bytes]] = enumerate(ledger.leaves(), 1)

    def next_of(self, leaf: bytes) -> int | None:
        """Return the number of a receipt behind the last one, if none is passed over that is not acknowledged."""
        for number, own in self._leaves:
            if own == leaf:
                return number
            if number > self._acknowledged:
                return None
        return None
