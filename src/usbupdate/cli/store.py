"""`usbupdate audit import` and `audit store`: keep what came back, and look after the database in which it is kept."""

from __future__ import annotations

import getpass
import os
import platform
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from usbupdate.audit.copies import find_copies
from usbupdate.audit.store.address import ENVIRONMENT, Address, address_of
from usbupdate.cli import show
from usbupdate.cli.arguments import AsJson, now
from usbupdate.cli.progress import tallied
from usbupdate.core.plaintext import counted
from usbupdate.core.timefloor import format_time
from usbupdate.errors import NoEvidenceError, StoreLibraryMissingError, UnreadFilesError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.audit.places import Place
    from usbupdate.audit.store.database import Store
    from usbupdate.audit.store.importing import Imported
    from usbupdate.core.strictjson import Json

app = typer.Typer(no_args_is_help=True, help="Look after the database in which evidence is kept.")

StoreAddress = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL-OR-FILE",
        help=f"A file, or postgresql://USER@HOST/DATABASE. Else {ENVIRONMENT}, else a file in your home's folder for data.",
        show_default=False,
    ),
]


def import_logs(
    mounts: Annotated[list[Path], typer.Argument(metavar="MOUNT", help="Sticks that came back, or whatever 'verify' takes.")],
    store: StoreAddress = None,
    json: AsJson = False,
) -> None:
    """Keep every log for good, byte for byte, with where it came from; what is there already stays as it is."""
    places = find_copies([mount.absolute() for mount in mounts])
    address = address_of(store, os.environ)
    with _libraries():
        from usbupdate.audit.store.database import opened_for_import  # noqa: PLC0415 - only these commands may need the libraries
        from usbupdate.audit.store.importing import Importer, import_logs as keep  # noqa: PLC0415 - the same
    importer = Importer(person(), installed_version("usbupdate"))
    with opened_for_import(address) as opened, tallied("importing", len(places), quiet=json) as told:
        done = keep(opened, places, importer, lambda: format_time(now()), told)
    table: dict[str, Json] = {
        "store": address.shown(),
        "logs": done.logs,
        "new_logs": done.new_copies,
        "new_receipts": done.new_lines,
        "new_origins": done.new_origins,
        "unread": list(done.unread),
    }
    show.result(table, _told(address, done), as_json=json)
    if done.unread:
        raise UnreadFilesError(sources=", ".join(done.unread))


@app.command()
def upgrade(store: StoreAddress = None) -> None:
    """Bring a store of an earlier version to this version's form, or make an empty one."""
    address = address_of(store, os.environ)
    with _libraries():
        from usbupdate.audit.store.database import opened_for_import  # noqa: PLC0415 - only these commands may need the libraries
    with opened_for_import(address):
        typer.echo(f"{address.shown()} is of this version's form.")


@app.command()
def rebuild(store: StoreAddress = None) -> None:
    """Make the table by which reports ask anew from the evidence; the evidence stays as it is."""
    address = address_of(store, os.environ)
    with _libraries():
        from usbupdate.audit.store.database import opened_for_import  # noqa: PLC0415 - only these commands may need the libraries
        from usbupdate.audit.store.derived import rebuild as make_anew  # noqa: PLC0415 - the same
    with opened_for_import(address) as opened:
        typer.echo(f"{address.shown()}: {make_anew(opened)} receipts can be asked for.")


@contextmanager
def opened_places(mounts: list[Path], store: str | None) -> Iterator[list[Place]]:
    """Yield the logs in sticks and folders, and those in a store if one is named, or if nothing else is."""
    places: list[Place] = [*find_copies(mounts)]
    if mounts and store is None:
        yield places
        return
    with _store(address_of(store, os.environ)) as opened:
        from usbupdate.audit.store.reading import stored_places  # noqa: PLC0415 - only these commands may need the libraries

        stored = stored_places(opened)
        if not stored:
            raise NoEvidenceError(path=opened.address.shown())
        yield [*places, *stored]


@contextmanager
def _store(address: Address) -> Iterator[Store]:
    with _libraries():
        from usbupdate.audit.store.database import opened  # noqa: PLC0415 - only these commands may need the libraries
    with opened(address) as store:
        yield store


@contextmanager
def _libraries() -> Iterator[None]:
    """Say what is to be installed if a library of the store is not."""
    try:
        yield
    except ImportError as error:
        raise StoreLibraryMissingError(library=(error.name or "SQLAlchemy").partition(".")[0]) from error


def _told(address: Address, done: Imported) -> Iterator[str]:
    known = done.logs - done.new_copies
    yield (
        f"{counted(done.logs, 'log')}: {done.new_copies} new with {counted(done.new_lines, 'new receipt')}, "
        f"{known} known. All of it is in {address.shown()}."
    )


def person() -> str:
    """Return who does this, and at which computer, in one word."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    return f"{user}@{platform.node()}"
