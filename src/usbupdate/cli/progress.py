"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, ProgressColumn, TaskID

_STEP: Final = 10
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_TELLING_S: Final = 1.0
"""What was done in less says nothing about the rest."""


class Pace:
    """How fast work went since it began, in words.

    Args:
        clock: tells seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    def begin(self) -> None:
        """Forget what was before."""
        self._start = self._clock()

    def words(self, done_bytes: int, total_bytes: int) -> str:
        """Return the rate and the time left, to stand behind a number; nothing at the end, or as long as nobody can know."""
        took = self._clock() - self._start
        if took < _TELLING_S or not 0 < done_bytes < total_bytes:
            return ""
        left = math.ceil(took * (total_bytes - done_bytes) / done_bytes)
        return f", {done_bytes / took / 1e6:.1f} MB/s, {_duration(left)} left"


def _duration(seconds: int) -> str:
    """Return how long something takes, as exactly as an estimate is worth."""
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        return f"{round(seconds / _MINUTE_S)} min"
    return f"{seconds // _HOUR_S} h {seconds % _HOUR_S // _MINUTE_S} min"


class InstallProgress:
    """Shows verification and installation on standard error. Implements `device.installer.Advance`; a context manager.

    Elsewhere than on a terminal it prints one line for every tenth.

    Args:
        tell: is told the same lines, for whoever watches the service.
        pace: makes the lines say how fast it goes, as the bar does anyway.
        columns: makes what stands beside the bar.
    """

    def __init__(
        self,
        tell: Callable[[str], None] | None = None,
        pace: Pace | None = None,
        columns: Callable[[], tuple[ProgressColumn, ...]] | None = None,
    ) -> None:
        self._tell = tell
        self._pace = pace
        self._columns = columns or _of_bytes
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = "working"
        self._tenths = -1

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - costs time that a service without a terminal saves
            from rich.progress import Progress  # noqa: PLC0415 - the same

            self._bar = Progress(*self._columns(), console=Console(stderr=True), transient=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def began(self, what: str) -> None:
        """Start another bar; see `device.installer.Advance`."""
        self._what = what
        self._task = None
        self._tenths = -1
        if self._pace is not None:
            self._pace.begin()

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Show it; see `device.installer.Advance`."""
        if self._bar is not None and self._task is None:
            try:
                # Not before: a bar that is drawn would write over a prompt.
                self._bar.start()
                self._task = self._bar.add_task(self._what, total=total_bytes)
            except RuntimeError:
                # It is drawn by a thread, and the system gives none. Lines need none.
                self._bar.stop()
                self._bar = None
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done_bytes)
        elif (tenths := done_bytes * _STEP // max(1, total_bytes)) > self._tenths:
            self._tenths = tenths
            pace = self._pace.words(done_bytes, total_bytes) if self._pace is not None else ""
            line = f"{self._what}: {tenths * 100 // _STEP} %{pace}"
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
            if self._tell is not None:
                self._tell(line)


def _of_bytes() -> tuple[ProgressColumn, ...]:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415 - see above

    return TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()


def _of_things() -> tuple[ProgressColumn, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - see above

    return TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()


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
def counted(what: str, total: int, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> Iterator[Counted]:
    """Yield what is told the bytes done since the last call; `quiet` where one JSON document is all that is wanted."""
    if quiet:
        yield Counted(None, total)
        return
    with InstallProgress(pace=Pace(clock)) as shown:
        shown.began(what)
        yield Counted(shown, total)


@contextmanager
def tallied(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield what is told how many of `total` things are done; `quiet` as in `counted`."""
    if quiet:
        yield lambda _: None
        return
    with InstallProgress(columns=_of_things) as shown:
        shown.began(what)
        yield lambda done: shown.advanced(done, total)
