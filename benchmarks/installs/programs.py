"""Programs that a benchmark starts: each ends with the benchmark, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_CLEARED_S: Final = 10.0
"""How long a program may clear up after itself before it is killed."""


def end_orderly_when_told() -> None:
    """Make SIGINT and SIGTERM raise `SystemExit`, so that every mount and daemon of a `with` is given back."""
    for each in _ENDING:
        signal.signal(each, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    # A second one would interrupt the clearing up; what is started from here on, such as umount, inherits that.
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def run(*command: str | Path, **environment: str) -> str:
    """Run a program and return what it said; raise with its own words if it fails."""
    with _started(*command, **environment) as process:
        said, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{said}")
    return said


@contextmanager
def _started(*command: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    # A session of its own: Ctrl-C is for the benchmark alone, which then ends its programs in order.
    process = subprocess.Popen(  # noqa: S603 - a benchmark is not the product
        [str(each) for each in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a program that leads a session, and everything that it started in it, if it has not ended by itself."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_CLEARED_S)
    # Also what the program leaves behind that has ended meanwhile.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
