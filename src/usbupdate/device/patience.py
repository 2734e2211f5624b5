"""How long a stick is waited for: one that answers slowly or never must not keep the device busy for ever.

The kernel gives a dead stick up by itself, after minutes. One that hands out a sector now and then it waits for without end,
and nobody can end a system call of his own that waits. So whatever touches the stick is done by another thread, and who waits
for that is let go when his patience is at an end. The thread stays behind in its call; it holds no lock and writes nothing but
the stick, and it ends with the process. Where the system gives no thread, who waits does it himself: no stick can bring that
about, and most answer.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar, cast

from usbupdate.errors import MediumStalledError, MediumUnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.receipt import MediumFacts
    from usbupdate.device.media import Medium

LIMIT_S: Final = 300.0
"""Longer than the kernel takes to give a sector up that cannot be read: five times thirty seconds, and a reset."""
ENOUGH: Final = 16 << 20
"""Bytes within the limit that count as progress: 56 KB/s, a tenth of what the slowest sticks on the slowest bus give."""
SLOW_S: Final = 20.0
"""After so long without an answer the person is told."""

_SLICE_S: Final = 5.0
_FAREWELL_S: Final = 10.0

_Result = TypeVar("_Result")


class Patience:
    """Waits for one stick, for several threads; a context manager that gives its own threads up at the end.

    Args:
        slow: is called once, when the stick is slow to answer for the first time; by the thread that waits.
    """

    def __init__(self, slow: Callable[[], None]) -> None:
        self._slow = slow
        self._is_slow = False
        self._has_stalled = False
        self._lock = threading.Lock()
        self._idle: list[_Hand] = []
        self._unanswered = 0
        self._since_s = 0.0
        self._waited_s = 0.0
        self._gained = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            hands, self._idle = self._idle, []
        for hand in hands:
            hand.dismiss()

    def wait_for(self, call: Callable[[], _Result]) -> _Result:
        """Return what a call that touches the stick returns; bytes that it returns count as progress.

        Raises:
            MediumStalledError: it took too long, or an earlier one did: a stick that has stalled is not touched again.
        """
        if self._has_stalled:
            raise MediumStalledError(minutes=round(LIMIT_S / 60))
        task = _Task(call)
        hand = self._begin(task)
        if hand is None:
            task.run()
        while not wait(task.done, _SLICE_S):
            self._require_patience(task)
        self._end(hand, task.result)
        return task.outcome()

    def part_from(self, call: Callable[[], object]) -> None:
        """Do what lets go of the stick, such as unmounting it; of one that has stalled that is not waited for to its end.

        What has become of an update stays true, so a stick that only stalls or fails now is no error.
        """
        if not self._has_stalled:
            with suppress(MediumStalledError, OSError):
                self.wait_for(call)
            return
        task = _Task(call)
        hand = _new_hand()
        if hand is None:
            # Whoever touches it now may never come back; what is left behind is taken away at the next stick.
            return
        hand.give(task)
        if wait(task.done, _FAREWELL_S):
            with suppress(OSError):
                task.outcome()

    def _begin(self, task: _Task[_Result]) -> _Hand | None:
        with self._lock:
            hand = self._idle.pop() if self._idle else _new_hand()
            if self._unanswered == 0:
                self._since_s = now()
            self._unanswered += 1
        if hand is not None:
            hand.give(task)
        return hand

    def _end(self, hand: _Hand | None, result: object) -> None:
        with self._lock:
            self._unanswered -= 1
            if hand is not None:
                self._idle.append(hand)
            self._gained += len(result) if isinstance(result, bytes) else 0
            if self._gained >= ENOUGH:
                self._gained, self._waited_s, self._since_s = 0, 0.0, now()
            elif self._unanswered == 0:
                # Only the time counts in which the stick owed an answer.
                self._waited_s += now() - self._since_s

    def _require_patience(self, task: _Task[_Result]) -> None:
        with self._lock:
            unanswered_s = now() - task.begun_s
            waited_s = self._waited_s + now() - self._since_s
            is_told, self._is_slow = self._is_slow, self._is_slow or unanswered_s >= SLOW_S
            self._has_stalled = self._has_stalled or waited_s >= LIMIT_S
        if self._is_slow and not is_told:
            self._slow()
        if self._has_stalled:
            raise MediumStalledError(minutes=round(LIMIT_S / 60))


class PatientReader:
    """Reads a stick with patience. Implements `core.layout.MediumReader`; `inner` is another one that may take for ever."""

    def __init__(self, inner: Medium, patience: Patience) -> None:
        self._reader = inner.reader
        self._patience = patience

    def kept_open(self) -> AbstractContextManager[None]:
        """Keep files open, as the stick's own reader does."""
        return self._reader.kept_open()

    def read(self, path: MediumPath, limit: int) -> bytes:
        """Return the whole of a file; see `MediumReader`."""
        return self._patience.wait_for(lambda: self._reader.read(path, limit))

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        """Return a part of a file; see `MediumReader`."""
        return self._patience.wait_for(lambda: self._reader.read_at(path, offset, size))

    def size(self, path: MediumPath) -> int:
        """Return a file's size; see `MediumReader`."""
        return self._patience.wait_for(lambda: self._reader.size(path))

    def names(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder; see `MediumReader`."""
        return self._patience.wait_for(lambda: self._reader.names(path))


class PatientMedium:
    """A stick that is waited for with patience."""

    def __init__(self, inner: Medium, patience: Patience) -> None:
        self.reader = PatientReader(inner, patience)
        self._inner = inner
        self._patience = patience

    def facts(self) -> MediumFacts:
        """Return the hints for the receipt."""
        return self._patience.wait_for(self._inner.facts)

    def use(self, call: Callable[[Medium], None]) -> None:
        """Do something with the stick itself, such as writing to it.

        Raises: what `call` raises, and `MediumStalledError`; then it may still be at work, and never ends.
        """
        self._patience.wait_for(lambda: call(self._inner))


@contextmanager
def opened_patiently(source: Path, medium: AbstractContextManager[Medium], patience: Patience) -> Iterator[PatientMedium]:
    """Hold a stick open that may never answer.

    Args:
        source: what it is; an image file is copied whole at first, for as long as that takes.
        medium: opens it.
        patience: how long it is waited for.

    Raises: what `medium` raises, `MediumStalledError`, and `MediumUnreadableError` where that is an `OSError`.
    """
    with ExitStack() as stack:
        with _translated(source):
            if os.path.isfile(source):  # noqa: PTH113 - a stick that fails when it is looked at is no file
                opened = stack.enter_context(medium)
            else:
                opened = patience.wait_for(lambda: stack.enter_context(medium))
        closing = stack.pop_all()
    try:
        yield PatientMedium(opened, patience)
    finally:
        patience.part_from(closing.close)


@contextmanager
def _translated(source: Path) -> Iterator[None]:
    """Tell of a stick that cannot be looked at as of one that cannot be read, whatever the system calls that."""
    try:
        yield
    except OSError as error:
        raise MediumUnreadableError(name=str(source), problem=error.strerror or type(error).__name__) from error


def now() -> float:
    """Return the seconds of a clock that never jumps."""
    return time.monotonic()


def wait(done: threading.Lock, seconds: float) -> bool:
    """Wait for a task, and tell whether it is done by now."""
    return done.acquire(timeout=seconds)


class _Task(Generic[_Result]):
    """Something to do; `done` is free as soon as it is done."""

    def __init__(self, call: Callable[[], _Result]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self.result: _Result | None = None
        self.begun_s = now()
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        with self:
            self.result = self._call()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        """Keep an error for who waits, whatever it is."""
        self._error = error
        self.done.release()
        return True

    def outcome(self) -> _Result:
        if self._error is not None:
            raise self._error
        return cast("_Result", self.result)


def _new_hand() -> _Hand | None:
    """Return a thread at work, or None where the system gives none."""
    hand = _Hand()
    try:
        hand.start()
    except RuntimeError:
        return None
    return hand


class _Hand(threading.Thread):
    """A thread that does one task after the other, and never keeps the process from ending."""

    def __init__(self) -> None:
        super().__init__(name="stick", daemon=True)
        self._tasks: SimpleQueue[_Task[object] | None] = SimpleQueue()

    def give(self, task: _Task[_Result]) -> None:
        self._tasks.put(cast("_Task[object]", task))

    def dismiss(self) -> None:
        self._tasks.put(None)

    def run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
