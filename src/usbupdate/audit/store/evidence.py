"""How a copy of a log is taken apart so that nothing is kept twice, and what must come out when it is put together again.

A `receipts.jsonl` is a row of lines, and a line names the one before it. So a whole log is kept as its last line and how many
there are, whatever lies between: every older copy of it, and every longer one, needs one more such row and the lines that are
new. Where a line does not follow the one that it names, another run begins; a log in which somebody moved or changed lines has
some more of them.

Source: ADR 0018.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from usbupdate.audit.chain import device_of
from usbupdate.audit.lines import LINES_MAX
from usbupdate.core import strictjson
from usbupdate.core.layout import ACKNOWLEDGED, CHECKPOINT, IDENTITY, RECEIPTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from usbupdate.audit.copies import LogCopy
    from usbupdate.core.strictjson import Json


class Run(NamedTuple):
    """So many lines, each of which stands behind the one that it names as previous; `last` is the digest of the last."""

    last: bytes
    length: int


class CopyRow(NamedTuple):
    """A row of `schema.COPIES`."""

    digest: bytes
    device: str
    folder: str | None
    identity: bytes | None
    checkpoint: bytes | None
    receipts: bytes | None
    rest: bytes | None
    unreadable: str
    acknowledged: bytes | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A copy taken apart.

    Attributes:
        row: what is kept of it as a whole.
        source: where it lay.
        files: contents that are kept whole, by digest.
        lines: the lines in order, with their digests.
    """

    row: CopyRow
    source: str
    files: dict[bytes, bytes]
    lines: Sequence[tuple[bytes, bytes]]


def digest_of(contents: bytes) -> bytes:
    """Return the raw SHA-256."""
    return hashlib.sha256(contents).digest()


def take_apart(copy: LogCopy) -> Taken:
    """Return what is to be kept of a copy."""
    files: dict[bytes, bytes] = {}

    def kept(contents: bytes | None) -> bytes | None:
        if contents is None:
            return None
        files[digest := digest_of(contents)] = contents
        return digest

    receipts = copy.files.get(RECEIPTS)
    # A stick full of line feeds must not fill the memory: what stands behind so many lines is kept in one piece.
    lines = [] if receipts is None else receipts.split(b"\n", LINES_MAX)
    rest = lines.pop() if lines else b""
    row = CopyRow(
        digest=b"",
        device=device_of(copy),
        folder=copy.folder,
        identity=kept(copy.files.get(IDENTITY)),
        checkpoint=kept(copy.files.get(CHECKPOINT)),
        receipts=None if receipts is None else digest_of(receipts),
        rest=kept(rest or None),
        unreadable=strictjson.encode(dict(copy.unreadable)).decode(),
        acknowledged=kept(copy.files.get(ACKNOWLEDGED)),
    )
    return Taken(row._replace(digest=copy_digest(row)), copy.source, files, [(digest_of(line), line) for line in lines])


def copy_digest(row: CopyRow) -> bytes:
    """Return the digest by which a copy is known: over all that is kept of it as a whole."""
    table: dict[str, Json] = {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in row._asdict().items()
        # A copy without the last one is known by the digest by which it was known before there was that column.
        if name != "digest" and not (name == "acknowledged" and value is None)
    }
    return digest_of(strictjson.encode(table))


def is_as_it_came(row: CopyRow) -> bool:
    """Tell whether a row is what `take_apart` made; in one that is not, any column may hold anything."""
    try:
        return copy_digest(row) == row.digest
    except (TypeError, ValueError):
        return False


def runs_of(lines: Iterable[bytes], previous: Mapping[bytes, bytes | None]) -> list[Run]:
    """Return how lines follow each other, given their digests in order and which one each says that it follows."""
    runs: list[Run] = []
    for digest in lines:
        if runs and previous[digest] == runs[-1].last:
            runs[-1] = Run(digest, runs[-1].length + 1)
        else:
            runs.append(Run(digest, 1))
    return runs
