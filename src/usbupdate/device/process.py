"""The only place where processes are started: no shell, no input, a bare environment, a time limit, bounded output.

A process runs in a session of its own, and when it ends or its time is up, everything still in its group is killed. A child
that makes itself a session of its own escapes that; the service's control group is what ends such a one.

Source: design, section 8; idea: mkosi's `run.py`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUTPUT_MAX: Final = 16 << 10
BARE_ENVIRONMENT: Final[Mapping[str, str]] = {
    "HOME": "/",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_READ_SIZE: Final = 64 << 10
_REAP_S: Final = 5.0
"""A killed process that hangs in the kernel, on a dying stick for one, is left behind after this long."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs: its folder, and all that it gets of an environment."""

    folder: str = "/"
    environment: Mapping[str, str] = field(default_factory=lambda: BARE_ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a process.

    `exit_code` is minus the signal's number when a signal ended it, and None when its time was up; `output` is the end of what
    it wrote to standard output and standard error together.
    """

    exit_code: int | None
    output: bytes

    @property
    def succeeded(self) -> bool:
        """Whether it ended in time and with exit code 0."""
        return self.exit_code == 0

    @property
    def last_line(self) -> str:
        """The last line that is not blank, or how it ended if there is none."""
        lines = [line.strip() for line in self.output.decode("utf-8", errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1]
        return "no answer in time" if self.exit_code is None else f"exit code {self.exit_code}"


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout_s: float,
    output_limit: int = OUTPUT_MAX,
    place: Place | None = None,
    until: bytes | None = None,
) -> Finished:
    """Run a program to its end, or until its time is up, and leave nothing of its process group behind.

    Args:
        argv: the program and its arguments; a program without a slash is looked for in the environment's PATH.
        timeout_s: seconds; then the whole process group is killed.
        output_limit: how many of the last bytes of output are kept.
        place: where it runs; `/` with a bare environment if not given.
        until: if given, it is killed as soon as it has written this, as a power cut would end it.

    Raises:
        OSError: the program could not be started.
    """
    deadline = time.monotonic() + timeout_s
    place = place or Place()
    # The program is chosen by the configuration or by us, never by a stick, and no shell sees its arguments.
    child = subprocess.Popen(  # noqa: S603  # the one door; see above
        [os.fspath(each) for each in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=place.folder,
        env=dict(place.environment),
        start_new_session=True,
    )
    try:
        output, ended = _follow(child, deadline, output_limit, until)
    finally:
        # Not reaped yet, so the number of the group cannot have passed to anybody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_REAP_S)
        if child.stdout is not None:
            child.stdout.close()
    return Finished(exit_code=child.returncode if ended else None, output=output)


class Companion:
    """A process of ours that answers, one question at a time, until it is told to stop.

    Args:
        argv: the program and its arguments.
        descriptors: what it gets besides a pipe for questions and one for answers; nothing else is open in it.
        environment: all that it gets of an environment.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, argv: Sequence[str], *, descriptors: Sequence[int], environment: Mapping[str, str]) -> None:
        self._child = subprocess.Popen(  # noqa: S603  # the one door; our own program
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=descriptors,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
        )
        if self._child.stdin is not None:
            os.set_blocking(self._child.stdin.fileno(), False)
        self._answers = select.poll()
        if self._child.stdout is not None:
            self._answers.register(self._child.stdout, select.POLLIN)

    def ask(self, question: bytes, answer_size: int, *, timeout_s: float) -> bytes:
        """Return the answer to a question, which must fit into a pipe.

        Raises:
            OSError: it ended, gave no whole answer in time, or spoke before it was asked; it is of no use any more.
        """
        if self._child.stdin is None or self._child.stdout is None:
            raise AssertionError
        deadline, answer = time.monotonic() + timeout_s, b""
        if question:
            if self._answers.poll(0):
                raise OSError(errno.EPROTO, "it ended, or spoke before it was asked")
            # It never waits: a pipe that is full belongs to one that does not listen.
            if self._child.stdin.write(question) != len(question):
                raise BlockingIOError(errno.EAGAIN, "it does not listen")
        while len(answer) < answer_size:
            if not self._answers.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
            part = os.read(self._child.stdout.fileno(), answer_size - len(answer))
            if not part:
                raise BrokenPipeError(errno.EPIPE, "it ended")
            answer += part
        return answer

    def stop(self) -> None:
        """Kill it, if it has not ended by itself, and wait for its end."""
        # Once it is reaped, the number of its group may be anybody's.
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_REAP_S)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _follow(child: subprocess.Popen[bytes], deadline: float, output_limit: int, until: bytes | None) -> tuple[bytes, bool]:
    """Collect output until the child has ended or the deadline is reached; tell which.

    The end of the output is not waited for: a grandchild may hold the pipe open for ever.
    """
    if child.stdout is None:
        raise AssertionError
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    process = os.pidfd_open(child.pid)
    kept = bytearray()
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(process, selectors.EVENT_READ)
            while (left_s := deadline - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(left_s)}
                if pipe in ready and not _take(pipe, kept, output_limit):
                    selector.unregister(pipe)
                if until is not None and until in kept:
                    return bytes(kept), False
                if process in ready:
                    # What it wrote last is in the pipe; bounded, for a grandchild may write on.
                    for _ in range(-(-output_limit // _READ_SIZE) + 1):
                        if not _take(pipe, kept, output_limit):
                            break
                    return bytes(kept), True
            return bytes(kept), False
    finally:
        os.close(process)


def _take(pipe: int, kept: bytearray, limit: int) -> bool:
    """Add what the pipe holds now, keep the last `limit` bytes, and tell whether there may be more."""
    try:
        part = os.read(pipe, _READ_SIZE)
    except BlockingIOError:
        return False
    kept += part
    del kept[: max(0, len(kept) - limit)]
    return bool(part)
