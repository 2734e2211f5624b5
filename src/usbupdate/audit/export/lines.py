"""The plain forms: a table for a spreadsheet, and JSON a line for everything else."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Final

from usbupdate.audit.export.records import FIELDS
from usbupdate.core.plaintext import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.audit.export.records import Record
    from usbupdate.core.strictjson import Json

_FORMULA: Final = re.compile(
    "(^|[;|]) *(?=[-=+@\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH COMMERCIAL AT}])"
)
"""Where a spreadsheet takes a cell for something to calculate, or for a program to start; some part cells by semicolons."""
_CELL_MAX: Final = 4000


def csv_lines(records: Iterable[Record]) -> Iterator[str]:
    """Yield a table as RFC 4180 has it: a line of names, then a line for each record; no cell of it is a formula.

    Text from a log has one line, and an apostrophe before what a spreadsheet would calculate, also one that takes a semicolon
    for the end of a cell. Lists stand in one cell, their parts separated by ` | `.
    """
    yield _row(FIELDS)
    for record in records:
        yield _row([_cell(record.get(name)) for name in FIELDS])


def json_lines(records: Iterable[Record]) -> Iterator[str]:
    """Yield one JSON object in one line of ASCII for each record, with the fields that its kind has."""
    for record in records:
        yield json.dumps(record, separators=(",", ":")) + "\n"


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: Json) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case list():
            text = " | ".join(map(str, value))
        case _:
            text = str(value)
    return _FORMULA.sub(r"\g<0>'", one_line(text, _CELL_MAX))
