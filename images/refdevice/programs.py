"""The programs that make file systems, started with a fixed time and without the settings of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from usbupdate.device import process
from usbupdate.errors import ProgramMissingError

if TYPE_CHECKING:
    from pathlib import Path

MADE_AT: Final = 1_767_225_600
"""2026-01-01, midnight: every time on a stick that is made here."""
_TIMEOUT_S: Final = 600.0
_PLACE: Final = process.Place(
    environment={
        **process.BARE_ENVIRONMENT,
        "SOURCE_DATE_EPOCH": str(MADE_AT),
        "E2FSPROGS_FAKE_TIME": str(MADE_AT),
        "TZ": "UTC",
        "MTOOLSRC": os.devnull,
        "MTOOLS_SKIP_CHECK": "1",
    }
)


def run(program: str, *arguments: str | Path) -> None:
    """Run a program to its end.

    Raises:
        ProgramMissingError: it is not installed, or failed; what it said is in the text.
    """
    try:
        finished = process.run([program, *arguments], timeout_s=_TIMEOUT_S, place=_PLACE)
    except OSError as error:
        raise ProgramMissingError(program=program) from error
    if not finished.succeeded:
        words = " ".join(finished.output.decode("utf-8", errors="replace").split())
        raise ProgramMissingError(program=f"{program} ({words or finished.last_line})")
