"""Programs that a benchmark starts: each ends with the benchmark, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Final, NoReturn

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


@contextmanager
def _put_off() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait: they must not come between a program's start and its being known here."""
    came: list[int] = []
    # Handlers of Python only, and not SIG_IGN, for a program inherits what is ignored.
    put_off = [each for each in _ENDING if signal.getsignal(each) is _end]
    for each in put_off:
        signal.signal(each, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for each in put_off:
            signal.signal(each, _end)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def started(
    *command: str | Path, output: int | IO[bytes] | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, and end it with all that it started if it still runs at the end.

    Args:
        command: the program and its arguments.
        output: where its words go; to those of the benchmark if not given.
        environment: what it gets besides the environment of the benchmark.
    """
    with ExitStack() as stack:
        with _put_off():
            process = subprocess.Popen(  # noqa: S603 - a benchmark is not the product
                [str(each) for each in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env={**os.environ, **environment},
                # Ctrl-C is for the benchmark alone, which then ends its programs in order.
                start_new_session=True,
            )
            stack.callback(_end_program, process)
        yield process


def run(*command: str | Path, **environment: str) -> str:
    """Run a program and return what it said; raise with its own words if it fails."""
    with started(*command, output=subprocess.PIPE, **environment) as process:
        output, _ = process.communicate()
    said = output.decode(errors="replace")
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{said}")
    return said


def _end_program(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_CLEARED_S)
    # Also what the program leaves behind that has ended meanwhile.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
