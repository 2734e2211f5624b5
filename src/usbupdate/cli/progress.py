"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final, Self

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

_STEP: Final = 10


class InstallProgress:
    """Shows verification and installation on standard error. Implements `device.installer.Advance`; a context manager.

    Elsewhere than on a terminal it prints one line for every tenth.

    Args:
        tell: is told the same lines, for whoever watches the service.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = "working"
        self._tenths = -1

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - costs time that a service without a terminal saves
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415 - the same

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
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
                # Not before: a bar that is drawn would write over a prompt.
                self._bar.start()
                self._task = self._bar.add_task(self._what, total=total_bytes)
            self._bar.update(self._task, completed=done_bytes)
        elif (tenths := done_bytes * _STEP // max(1, total_bytes)) > self._tenths:
            self._tenths = tenths
            line = f"{self._what}: {tenths * 100 // _STEP} %"
            typer.echo(line, err=True)
            if self._tell is not None:
                self._tell(line)


class Counted:
    """Counts bytes for a progress that is told sums; may be called from several threads.

    Args:
        shown: None where nothing is to be seen.
        total: the bytes of all the work, or 0 if nobody knows.
    """

    def __init__(self, shown: InstallProgress | None, total: int) -> None:
        self._shown = shown
        self._total = total
        self._done = 0
        self._lock = Lock()

    def __call__(self, size: int) -> None:
        """Take notice that so many bytes more are done."""
        with self._lock:
            # Estimates may be too low: 100 % is said once, by `finish`.
            self._done = min(self._done + size, self._total - 1) if self._total else 0
            if self._shown is not None and self._total:
                self._shown.advanced(self._done, self._total)

    def finish(self) -> None:
        """Take notice that all is done, although less had to be done than was thought."""
        if self._shown is not None and self._total:
            self._shown.advanced(self._total, self._total)


@contextmanager
def counted(what: str, total: int, *, quiet: bool) -> Iterator[Counted]:
    """Yield what is told the bytes done since the last call; `quiet` where one JSON document is all that is wanted."""
    if quiet:
        yield Counted(None, total)
        return
    with InstallProgress() as shown:
        shown.began(what)
        yield Counted(shown, total)
