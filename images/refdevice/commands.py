"""Runs the programs that images are made with, through the project's one door for processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice.layout import EPOCH
from usbupdate.device import process

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT_S: Final = 900.0
_OUTPUT_SHOWN: Final = 16_000


class BuildError(Exception):
    """A program that makes a part of an image failed; the text says which, and how it ended."""


def run(*argv: str | Path, environment: Mapping[str, str] | None = None, output_limit: int = _OUTPUT_SHOWN) -> str:
    """Run a program to its end and return what it wrote.

    It gets this program's own environment, for proxies and package sources are named there, and the fixed time of all images.

    Raises:
        BuildError: it failed, or is not installed.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    fixed = {"SOURCE_DATE_EPOCH": str(EPOCH), "E2FSPROGS_FAKE_TIME": str(EPOCH), "LC_ALL": "C.UTF-8"}
    surroundings = {**os.environ, "PATH": path, **fixed, **(environment or {})}
    place = process.Place(str(Path.cwd()), surroundings)
    try:
        finished = process.run([str(each) for each in argv], timeout_s=_LIMIT_S, place=place, output_limit=output_limit)
    except OSError as error:
        raise BuildError(f"{argv[0]} is missing. Run 'make vm-install' first.") from error
    output = finished.output.decode("utf-8", errors="replace")
    if not finished.succeeded:
        command = " ".join(str(each) for each in argv)
        raise BuildError(f"{command}: exit code {finished.exit_code}\n{output}")
    return output
