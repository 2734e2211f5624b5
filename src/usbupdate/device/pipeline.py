"""Work on many chunks at once, with results in the order of the image: so counts and errors do not depend on chance."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

WORKERS: Final = 4
"""Two wait for the stick and the slot while two compute; more only cost memory, whatever the board has of processors."""

_AHEAD: Final = 4
"""Tasks for each thread that are begun before the first of them has to be finished: with two, slow ones left others idle."""

PIECES: Final = _AHEAD + 3
"""Chunks in memory for each thread: results that wait for their turn, and three forms of the one that it works on."""

_Result = TypeVar("_Result")


class Done(Generic[_Result]):
    """A task whose result is known already, so that no thread has to be troubled with it."""

    def __init__(self, result: _Result) -> None:
        self._result = result

    def __call__(self) -> _Result:
        """Return it."""
        return self._result


def unfinished_max(workers: int) -> int:
    """Return how many of the tasks that `in_order` has taken may not be finished when it takes the next one."""
    return 0 if workers == 1 else _AHEAD * workers - 1


def in_order(tasks: Iterable[Callable[[], _Result]], workers: int) -> Generator[_Result, None, None]:
    """Yield what tasks return, in their order, while later ones are already at work.

    A task is taken only when all but the last `unfinished_max(workers)` before it have finished and were yielded. Where one
    raises, its error is raised in its turn, and none is begun after that; those at work are waited for. The same happens when
    it is closed, which who does not exhaust it has to do: until then its threads live on.

    Args:
        tasks: run by threads, so they may share nothing that changes; taken from this thread.
        workers: how many threads; with 1, or where the system gives none, this one does everything, and nothing is taken ahead.
    """
    if workers == 1:
        for task in tasks:
            yield task()
        return
    with threads(workers, "chunk") as pool:
        if pool is None:
            yield from in_order(tasks, 1)
            return
        running: deque[Callable[[], _Result]] = deque()
        for task in tasks:
            running.append(task if isinstance(task, Done) else pool.submit(task).result)
            if len(running) > unfinished_max(workers):
                yield running.popleft()()
        while running:
            yield running.popleft()()


@contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor | None]:
    """Yield threads that are all gone afterwards: what has not begun is dropped, and what has is waited for.

    Also by somebody who presses Ctrl-C meanwhile: what a thread writes to must not be closed, or opened by others, before.
    Where the system gives fewer than `count`, there are fewer; where it gives none, None is yielded.
    """
    pool = next((begun for fewer in range(count, 0, -1) if (begun := _begun(fewer, name)) is not None), None)
    if pool is None:
        yield None
        return
    interrupt: KeyboardInterrupt | None = None
    try:
        yield pool
    finally:
        while True:
            try:
                pool.shutdown(wait=True, cancel_futures=True)
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


def _begun(count: int, name: str) -> ThreadPoolExecutor | None:
    """Return threads that have all begun already, so that no task can be refused one; None if the system gives fewer."""
    pool, are_begun = ThreadPoolExecutor(count, thread_name_prefix=name), threading.Event()
    try:
        for _ in range(count):
            # Each keeps its thread busy until the last has one.
            pool.submit(are_begun.wait)
    except RuntimeError:
        are_begun.set()
        pool.shutdown(cancel_futures=True)
        return None
    finally:
        are_begun.set()
    return pool
