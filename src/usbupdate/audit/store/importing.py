"""Importing: what came is written down once, with where it came from, and nothing that stands there is touched.

Some thousand lines are one transaction, so a program that is killed leaves whole copies, and the same import again adds the
rest. Everything is keyed by its own digest: the same evidence, in any order, grouping and company, makes the same store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from usbupdate.audit.store.claims import claims_of
from usbupdate.audit.store.database import add, rows_among
from usbupdate.audit.store.evidence import Taken, runs_of, take_apart
from usbupdate.audit.store.schema import COPIES, FILES, LINES, ORIGINS, RECEIPTS, RUNS
from usbupdate.core.plaintext import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from usbupdate.audit.places import Place
    from usbupdate.audit.store.claims import Claims
    from usbupdate.audit.store.database import Store, Value

_LINES_AT_ONCE: Final = 20_000
_BYTES_AT_ONCE: Final = 64 << 20
_SOURCE_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Importer:
    """Who imports: a person and a computer in one word, and the version of this program."""

    name: str
    program: str


@dataclass(slots=True)
class Imported:
    """What an import came to, in numbers.

    Attributes:
        logs: copies that were read.
        new_origins: copies that had never been imported from there by this person.
        new_copies: copies that differ from all that were there.
        new_lines: lines that no earlier copy had.
        unread: sources of which a file could not be read.
    """

    logs: int = 0
    new_origins: int = 0
    new_copies: int = 0
    new_lines: int = 0
    unread: list[str] = field(default_factory=list)


def import_logs(
    store: Store, places: Iterable[Place], importer: Importer, now: Callable[[], str], told: Callable[[int], object]
) -> Imported:
    """Keep every copy in the places, and return how much of it is new.

    Args:
        store: where to.
        places: where the copies lie; each is read once.
        importer: who does it.
        now: tells the time, UTC, in the form of `core.words.TIME`.
        told: is called after each transaction with the number of copies that are safe by then.

    Raises:
        EvidenceStoreError: the database failed; what `told` was told of is kept.
    """
    done = Imported()
    for batch in _batches(places):
        _keep(store, batch, importer, now(), done)
        told(done.logs)
    return done


def _batches(places: Iterable[Place]) -> Iterator[list[Taken]]:
    batch: list[Taken] = []
    lines = size = 0
    for place in places:
        taken = take_apart(place.read())
        batch.append(taken)
        lines += len(taken.lines)
        size += sum(len(line) for _, line in taken.lines) + sum(map(len, taken.files.values()))
        if lines >= _LINES_AT_ONCE or size >= _BYTES_AT_ONCE or len(batch) >= _LINES_AT_ONCE:
            yield batch
            batch, lines, size = [], 0, 0
    if batch:
        yield batch


def _keep(store: Store, batch: Sequence[Taken], importer: Importer, at: str, done: Imported) -> None:
    done.logs += len(batch)
    done.unread += [taken.source for taken in batch if json.loads(taken.row.unreadable)]
    # Where nothing is new, nothing is locked and no file changes.
    with store.reading() as connection:
        fresh = _without_known_origins(connection, batch, importer)
    if not fresh:
        return
    with store.writing() as connection:
        known = {
            digest
            for (digest,) in rows_among(
                connection, select(COPIES.c.digest), COPIES.c.digest, {taken.row.digest for taken in fresh}
            )
        }
        copies = {taken.row.digest: taken for taken in fresh if taken.row.digest not in known}
        new_copies, new_lines = _keep_copies(connection, list(copies.values()))
        done.new_copies += new_copies
        done.new_lines += new_lines
        done.new_origins += add(
            connection,
            ORIGINS,
            [
                (copy, source, importer.name, at, importer.program)
                for copy, source in sorted({(taken.row.digest, _source(taken)) for taken in fresh})
            ],
        )


def _without_known_origins(connection: Connection, batch: Sequence[Taken], importer: Importer) -> list[Taken]:
    own = select(ORIGINS.c.copy, ORIGINS.c.source).where(ORIGINS.c.importer == importer.name)
    known = {tuple(each) for each in rows_among(connection, own, ORIGINS.c.copy, {taken.row.digest for taken in batch})}
    return [taken for taken in batch if (taken.row.digest, _source(taken)) not in known]


def _source(taken: Taken) -> str:
    # A path may have bytes that are no text, which no database takes.
    return printable(taken.source, _SOURCE_MAX)


def _keep_copies(connection: Connection, copies: Sequence[Taken]) -> tuple[int, int]:
    """Write copies, and return how many of them and of their lines were not there yet."""
    lines = {digest: line for taken in copies for digest, line in taken.lines}
    known = rows_among(connection, select(LINES.c.digest, LINES.c.previous), LINES.c.digest, lines)
    previous: dict[bytes, bytes | None] = dict(known)
    claims = {digest: claims_of(line) for digest, line in lines.items() if digest not in previous}
    previous |= {digest: said.previous if said else None for digest, said in claims.items()}
    new_lines = add(connection, LINES, [(digest, previous[digest], lines[digest]) for digest in sorted(claims)])
    files = {digest: contents for taken in copies for digest, contents in taken.files.items()}
    add(connection, FILES, sorted(files.items()))
    new_copies = add(connection, COPIES, [taken.row for taken in sorted(copies, key=lambda taken: taken.row.digest)])
    runs = [
        (taken.row.digest, ordinal, run.last, run.length)
        for taken in copies
        for ordinal, run in enumerate(runs_of((digest for digest, _ in taken.lines), previous))
    ]
    add(connection, RUNS, sorted(runs))
    add(connection, RECEIPTS, receipt_rows(claims))
    return new_copies, new_lines


def receipt_rows(claims: Mapping[bytes, Claims | None]) -> list[tuple[Value, ...]]:
    """Return the rows of `schema.RECEIPTS` for lines, given by digest."""
    rows = ((*said.columns[:2], digest, *said.columns[2:]) for digest, said in claims.items() if said is not None)
    return sorted(rows, key=lambda row: row[:3])
