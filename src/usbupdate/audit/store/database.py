"""Opening a store: which database, in which state, and how it is brought to this version's tables.

A transaction that writes takes its lock at once in SQLite, where a later wish to write could only fail; in PostgreSQL several
write side by side, and the unique keys of the tables make them agree.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVarTuple, assert_never

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from usbupdate import durable
from usbupdate.audit.store.address import Address, FileAddress, ServerAddress
from usbupdate.audit.store.schema import VERSION_TABLE
from usbupdate.core.plaintext import one_line
from usbupdate.errors import (
    EvidenceStoreFailedError,
    EvidenceStoreMissingError,
    EvidenceStoreNewerError,
    EvidenceStoreOlderError,
    StoreLibraryMissingError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Column, Row, Select, Table

Value = bytes | str | int | None
_Columns = TypeVarTuple("_Columns")
_WAIT_S: Final = 300.0
"""For other imports into the same file, each of which holds it for less than a second."""
_SETTINGS: Final = (
    # Of an empty file only. A line takes 2 KB: pages of the usual 4 KiB would be half empty, and of large ones too much is
    # written for each row that an index gets somewhere.
    "page_size = 16384",
    # A cut after a commit must not bring back what was before it.
    "synchronous = EXTRA",
    "foreign_keys = ON",
    # Or INSERT OR REPLACE would pass by the triggers that refuse to remove anything.
    "recursive_triggers = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "cache_size = -65536",
)
_PROBLEM_MAX: Final = 200
_ASKED_AT_ONCE: Final = 500
"""Values in one question; databases take some thousands."""
_READS: Final = "usbupdate_reads"
_UPGRADE_LOCK: Final = 0x7573_6275_7064_6174
"""An advisory lock of PostgreSQL: of two programs that find an older store, one upgrades it."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open store, of this version's form; its errors are all `EvidenceStoreError`.

    Sent to another process it opens the database there anew, once for all that is sent: a connection is of one process.
    """

    address: Address
    engine: Engine

    def __reduce__(self) -> tuple[Callable[[Address], Store], tuple[Address]]:
        return _opened_elsewhere, (self.address,)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the store and changes nothing."""
        with _told(self.address), self.engine.connect() as connection:
            yield connection.execution_options(**{_READS: True})

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection whose changes are kept together at the end, or not at all."""
        with _told(self.address), self.engine.begin() as connection:
            yield connection


@contextlib.contextmanager
def opened(address: Address) -> Iterator[Store]:
    """Yield a store to read from.

    Raises:
        EvidenceStoreError: there is none, or not of this version, or it cannot be used.
        StoreLibraryMissingError: the driver of this kind of database is not installed.
    """
    if isinstance(address, FileAddress) and not address.path.exists():
        raise EvidenceStoreMissingError(store=address.shown())
    with _connected(address) as store:
        with store.reading() as connection:
            match _revision(connection, address):
                case None:
                    raise EvidenceStoreMissingError(store=address.shown())
                case revision if revision != _scripts().get_current_head():
                    raise EvidenceStoreOlderError(store=address.shown())
        yield store


@contextlib.contextmanager
def opened_for_import(address: Address) -> Iterator[Store]:
    """Yield a store to import into; it is made if there is none, and upgraded if it is of an earlier version.

    Raises:
        EvidenceStoreError: it is of a later version, or cannot be used.
        StoreLibraryMissingError: the driver of this kind of database is not installed.
    """
    if isinstance(address, FileAddress):
        _make_private(address)
    with _connected(address) as store:
        with store.reading() as connection:
            is_current = _revision(connection, address) == _scripts().get_current_head()
        if not is_current:
            with store.writing() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
                # Again, for somebody else may have been faster.
                _revision(connection, address)
                upgrade(connection)
        yield store


@cache
def _opened_elsewhere(address: Address) -> Store:
    return Store(address, _engine(address))


def add(connection: Connection, table: Table, rows: Sequence[Sequence[Value]]) -> int:
    """Write rows, those that are there already left as they are; return how many are new.

    Args:
        connection: one that writes.
        table: where to.
        rows: values in the order of the table's columns. They must be in the order of the primary key: two programs that write
            the same rows then wait for each other and never in a circle.
    """
    if not rows:
        return 0
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" for _ in table.columns)
        statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({places}) ON CONFLICT DO NOTHING'  # noqa: S608 - names of ours
        return connection.exec_driver_sql(statement, [tuple(row) for row in rows]).rowcount
    # One array a column: an order of magnitude faster than a statement a row.
    arrays = ", ".join(f"%b::{column.type.compile(connection.dialect)}[]" for column in table.columns)
    statement = f'INSERT INTO "{table.name}" ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING'  # noqa: S608 - the same
    return connection.exec_driver_sql(statement, tuple(list(values) for values in zip(*rows, strict=True))).rowcount


def rows_among(
    connection: Connection, statement: Select[*_Columns], column: Column[bytes], wanted: Iterable[bytes]
) -> Iterator[Row[*_Columns]]:
    """Yield the rows of which a column is among wanted values, however many those are."""
    left = iter(wanted)
    while some := list(islice(left, _ASKED_AT_ONCE)):
        yield from connection.execute(statement.where(column.in_(some)))


def configuration(connection: Connection | None = None) -> Config:
    """Return what Alembic is to know: where the migrations are, and the connection on which they run."""
    config = Config()
    config.set_main_option("script_location", "usbupdate.audit.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version's form, within the connection's transaction."""
    command.upgrade(configuration(connection), "head")


@contextlib.contextmanager
def _connected(address: Address) -> Iterator[Store]:
    with _told(address):
        engine = _engine(address)
    try:
        yield Store(address, engine)
    finally:
        engine.dispose()


def _engine(address: Address) -> Engine:
    match address:
        case FileAddress(path):
            engine = create_engine("sqlite://", creator=lambda: _file_opened(path), poolclass=QueuePool)
            event.listen(engine, "begin", _begin_in_file)
            return engine
        case ServerAddress(location):
            try:
                return create_engine(make_url(f"postgresql+psycopg://{location}"))
            except ImportError as error:
                raise StoreLibraryMissingError(library="psycopg") from error
        case _:
            assert_never(address)


def _file_opened(path: Path) -> sqlite3.Connection:
    # It must be there: SQLite would make one as open as the umask lets it.
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
    )
    with contextlib.ExitStack() as unless_usable:
        unless_usable.callback(database.close)
        for setting in _SETTINGS:
            database.execute(f"PRAGMA {setting}")
        unless_usable.pop_all()
    return database


def _begin_in_file(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _make_private(address: FileAddress) -> None:
    try:
        durable.make_directory(address.path.parent)
        with contextlib.suppress(FileExistsError):
            durable.create(address.path, b"", mode=durable.PRIVATE)
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise EvidenceStoreFailedError(store=address.shown(), problem=problem) from error


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(configuration())


def _revision(connection: Connection, address: Address) -> str | None:
    """Return of which form a store is, or None for an empty database.

    Raises:
        EvidenceStoreNewerError: of one that this version does not know.
        EvidenceStoreFailedError: the database is used for something else.
    """
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        if tables and isinstance(address, FileAddress):
            raise EvidenceStoreFailedError(store=address.shown(), problem="it is a database of something else")
        return None
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    revision = context.get_current_revision()
    if revision is not None and revision not in {each.revision for each in _scripts().walk_revisions()}:
        raise EvidenceStoreNewerError(store=address.shown())
    return revision


@contextlib.contextmanager
def _told(address: Address) -> Iterator[None]:
    """Turn what a database says into an error of ours; nothing secret is in it, for only the database's own words are taken."""
    try:
        yield
    except DBAPIError as error:
        raise EvidenceStoreFailedError(store=address.shown(), problem=_words(error.orig or error)) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise EvidenceStoreFailedError(store=address.shown(), problem=type(error).__name__) from error


def _words(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return one_line(lines[0], _PROBLEM_MAX).rstrip(".")
