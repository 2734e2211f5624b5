"""Which forms of export there are."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from usbupdate.audit.export.cef import cef_lines
from usbupdate.audit.export.lines import csv_lines, json_lines
from usbupdate.audit.export.ocsf import ocsf_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from usbupdate.audit.export.records import Record


class Form(StrEnum):
    """A form by its name on the command line."""

    CSV = "csv"
    JSONL = "jsonl"
    OCSF = "ocsf"
    CEF = "cef"


def lines(form: Form, records: Iterable[Record], program: str, now: datetime) -> Iterator[str]:
    """Yield the lines of an export, each with its end, while the records come.

    Args:
        form: which.
        records: what is exported.
        program: our version.
        now: when that is, in UTC.
    """
    match form:
        case Form.CSV:
            return csv_lines(records)
        case Form.JSONL:
            return json_lines(records)
        case Form.OCSF:
            return ocsf_lines(records, program, now)
        case Form.CEF:
            return cef_lines(records, program)
        case _:
            assert_never(form)
