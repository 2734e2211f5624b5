"""`usbupdate demo`: the whole job, done by the real commands, each claim checked from the bytes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from usbupdate.cli.demo.stage import Stage
from usbupdate.cli.demo.story import tell


def demo(
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Keep everything here, to look at it afterwards.")
    ] = None,
) -> None:
    """Show the whole job on this computer: sign, carry, verify, install, commit or roll back, and audit."""
    if folder is not None:
        tell(Stage(folder.absolute(), sys.stdout))
        typer.echo(f"Everything lies in {folder}, to be looked at and tried on.")
        return
    with tempfile.TemporaryDirectory(prefix="usbupdate-demo-") as made:
        tell(Stage(Path(made), sys.stdout))
    typer.echo("The folder of this demonstration was removed; 'usbupdate demo --dir DIR' keeps it.")
