"""The tables of the store.

What came is in the first five and is never changed: the database refuses it too (see the first migration). The last,
`receipts`, holds what lines claim, in columns to ask by. It proves nothing and can be made anew from the lines at any time.

Digests are raw SHA-256, 32 bytes. Times are UTC to the second in the form of `core.words.TIME`.

Source: ADR 0018.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

VERSION_TABLE: Final = "evidence_store_version"
_DIGEST: Final = LargeBinary(32)

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

LINES: Final = Table(
    "lines",
    METADATA,
    Column("digest", _DIGEST, primary_key=True, comment="of the line, without its line feed"),
    Column("previous", _DIGEST, comment="of the line before it, as the line itself says; nothing if it is no receipt"),
    # Last, so that SQLite walks a history without reading the lines themselves.
    Column("line", LargeBinary, nullable=False),
)
"""Each line of any `receipts.jsonl`, once, however many sticks brought it."""

FILES: Final = Table(
    "files",
    METADATA,
    Column("digest", _DIGEST, primary_key=True),
    Column("contents", LargeBinary, nullable=False),
)
"""Each `identity.json`, `checkpoint` and `acknowledged`, once, and what stood behind the last line feed of receipts."""

COPIES: Final = Table(
    "copies",
    METADATA,
    Column("digest", _DIGEST, primary_key=True, comment="over all other columns; see `evidence.copy_digest`"),
    Column("device", Text, nullable=False, index=True, comment="whose log it claims to be"),
    Column("folder", Text, comment="the device that its folder named, if it lay in one"),
    Column("identity", _DIGEST, ForeignKey("files.digest"), comment="of identity.json"),
    Column("checkpoint", _DIGEST, ForeignKey("files.digest"), comment="of checkpoint"),
    Column("receipts", _DIGEST, comment="of the whole receipts.jsonl as it came"),
    Column("rest", _DIGEST, ForeignKey("files.digest"), comment="of what stood behind the last line feed"),
    Column("unreadable", Text, nullable=False, comment="why a file that was there could not be read, by name; JSON"),
    Column("acknowledged", _DIGEST, ForeignKey("files.digest"), comment="of acknowledged"),
)
"""Each different copy of a device's log."""

RUNS: Final = Table(
    "runs",
    METADATA,
    Column("copy", _DIGEST, ForeignKey("copies.digest"), primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("last", _DIGEST, ForeignKey("lines.digest"), nullable=False),
    Column("length", Integer, nullable=False),
)
"""How a `receipts.jsonl` is made of lines: in each run, every line stands behind the one that it names as previous."""

ORIGINS: Final = Table(
    "origins",
    METADATA,
    Column("copy", _DIGEST, ForeignKey("copies.digest"), primary_key=True),
    Column("source", Text, primary_key=True, comment="where it lay"),
    Column("importer", Text, primary_key=True, comment="who imported it, and on which computer"),
    Column("imported", Text, nullable=False, comment="when that was first done"),
    Column("program", Text, nullable=False, comment="the version of usbupdate"),
)
"""Where each copy came from; one copy may have come from many places."""

RECEIPTS: Final = Table(
    "receipts",
    METADATA,
    # A line says of which device and number it is. Beside each other in the index, what one log brings is written in one place.
    Column("device", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("line", _DIGEST, primary_key=True),
    Column("event", Text, nullable=False),
    Column("wall", Text, nullable=False),
    Column("clock", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("monotonic_ms", BigInteger, nullable=False),
    Column("from_version", Text),
    Column("from_sequence", BigInteger),
    Column("to_version", Text),
    Column("to_sequence", BigInteger),
    Column("bundle", Text),
    Column("reason", Text),
    Column("count", BigInteger, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Index(None, "event", "wall"),
    Index(None, "to_version", "wall"),
)
"""What each line claims, unproven; two different lines may claim one number of one device, and both stand here."""

EVIDENCE: Final = (LINES, FILES, COPIES, RUNS, ORIGINS)
"""In the order in which they are written, so that nothing refers to what is not there yet."""
