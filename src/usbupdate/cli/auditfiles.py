"""The auditor's commands that make files for others: the report, exports, evidence for a third party."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

from usbupdate import durable, plainfile
from usbupdate.audit.asked import Asked
from usbupdate.audit.depth import Depth
from usbupdate.audit.evidence.archive import archive, office_files
from usbupdate.audit.export.forms import Form, lines
from usbupdate.audit.export.records import records
from usbupdate.audit.selection import places_of
from usbupdate.audit.taken import Taken
from usbupdate.audit.verdict import verify
from usbupdate.cli import show
from usbupdate.cli.arguments import now
from usbupdate.cli.auditoptions import AsJson, DevicesFolder, KeptBy, OfficeRoot, Places, known, named_by
from usbupdate.cli.store import StoreAddress, opened_places
from usbupdate.core.plaintext import counted
from usbupdate.errors import ReportLibraryMissingError

_LINES_AT_ONCE: Final = 500


def report(
    html: Annotated[Path, typer.Option("--html", metavar="FILE", readable=False, help="The page to write.")],
    mounts: Places = None,
    repo: KeptBy = None,
    root: OfficeRoot = None,
    store: StoreAddress = None,
    devices: DevicesFolder = None,
    json: AsJson = False,
) -> None:
    """Write one page about the fleet and each device, for any browser without a network; it ends in the code of 'verify'."""
    try:
        from usbupdate.audit.report.page import page  # noqa: PLC0415 - its libraries come with an extra
    except ImportError as error:
        raise ReportLibraryMissingError(library=error.name or "a library") from error
    asked = Asked(named=named_by(repo, root, mounts, store))
    enrolled = known(devices)
    with opened_places(mounts or [], store) as places:
        verdicts = Taken(verify(places, enrolled, asked=asked))
        is_of_store = not mounts or store is not None
        written = page(verdicts, enrolled.names(), list(map(str, mounts or [])), now(), is_of_store=is_of_store)
    _save(html, written)
    _done(html, verdicts, as_json=json)


def export(
    form: Annotated[
        Form, typer.Option("--format", help="csv for a spreadsheet, jsonl for programs, ocsf and cef for collectors.")
    ],
    mounts: Places = None,
    repo: KeptBy = None,
    root: OfficeRoot = None,
    store: StoreAddress = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", readable=False, help="Where to; without it, standard output.")
    ] = None,
    devices: DevicesFolder = None,
) -> None:
    """Write every proven receipt and every finding for other programs; it ends in the code of 'verify'."""
    asked = Asked(named=named_by(repo, root, mounts, store))
    enrolled = known(devices)
    with opened_places(mounts or [], store) as places:
        verdicts = Taken(verify(places, enrolled, asked=asked))
        written = lines(form, records(verdicts, enrolled.names()), version("usbupdate"), now())
        if output is None:
            for piece in _pieces(written):
                typer.echo(piece, nl=False)
        else:
            _grow(output, written)
    if output is None:
        verdicts.require_good()
    else:
        _done(output, verdicts, as_json=False)


def evidence(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Whose evidence.")],
    output: Annotated[Path, typer.Option(metavar="FILE", readable=False, help="The archive to write, a ZIP file.")],
    mounts: Places = None,
    repo: Annotated[
        Path | None,
        typer.Option(metavar="REPO", readable=False, help="The office's repository or a stick: its metadata goes in as well."),
    ] = None,
    root: OfficeRoot = None,
    store: StoreAddress = None,
    devices: DevicesFolder = None,
    json: AsJson = False,
) -> None:
    """Put one device's evidence into an archive that a third party can check without us; it ends in the code of 'verify'."""
    asked = Asked(named=named_by(repo, root, mounts, store))
    enrolled = known(devices)
    with opened_places(mounts or [], store) as all_places:
        places = places_of(device, all_places)
        verdicts = Taken(verify(places, enrolled, Depth.THOROUGH, asked))
        verdict = next(iter(list(verdicts)))
        copies = [place.read() for place in places]
    office = office_files(repo, verdict) if repo else None
    _save(output, archive(verdict, enrolled.get(verdict.device), copies, office))
    _done(output, verdicts, as_json=json)


def _pieces(written: Iterator[str]) -> Iterator[bytes]:
    while some := list(islice(written, _LINES_AT_ONCE)):
        yield "".join(some).encode()


def _grow(path: Path, written: Iterator[str]) -> None:
    with plainfile.translated(path), durable.Growing(path.with_name(f"{path.name}.part")) as growing:
        for piece in _pieces(written):
            growing.write(piece)
        growing.become(path)


def _save(path: Path, contents: bytes) -> None:
    with plainfile.translated(path):
        durable.save(path, contents)


def _done(path: Path, verdicts: Taken, *, as_json: bool) -> None:
    count = len(verdicts.bare)
    show.result({"file": str(path), "devices": count}, [f"{path}: {counted(count, 'device')}"], as_json=as_json)
    verdicts.require_good()
