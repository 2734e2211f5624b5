"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Self

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_STEP: Final = 10


class InstallProgress:
    """Shows verification and installation on standard error. Implements `device.installer.Advance`; a context manager.

    Elsewhere than on a terminal it prints one line for every tenth.
    """

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = "working"
        self._tenths = -1

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - costs time that a service without a terminal saves
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415 - the same  # noqa: PLC0415 - the same

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def began(self, what: str) -> None:
        """Start another bar; see `device.installer.Advance`."""
        self._what = what
        self._task = None
        self._tenths = -1

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Show it; see `device.installer.Advance`."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(self._what, total=total_bytes)
            self._bar.update(self._task, completed=done_bytes)
        elif (tenths := done_bytes * _STEP // max(1, total_bytes)) > self._tenths:
            self._tenths = tenths
            typer.echo(f"{self._what}: {tenths * 100 // _STEP} %", err=True)
