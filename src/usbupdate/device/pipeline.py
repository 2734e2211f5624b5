"""Work on many chunks at once, with results in the order of the image: so counts and errors do not depend on chance."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

WORKERS: Final = 4
"""Two wait for the stick and the slot while two compute; more only cost memory, whatever the board has of processors."""

_AHEAD: Final = 2

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
        workers: how many threads; with 1, this one does everything, and nothing is taken ahead.
    """
    if workers == 1:
        for task in tasks:
            yield task()
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="chunk") as pool:
        running: deque[Callable[[], _Result]] = deque()
        try:
            for task in tasks:
                running.append(task if isinstance(task, Done) else pool.submit(task).result)
                if len(running) > unfinished_max(workers):
                    yield running.popleft()()
            while running:
                yield running.popleft()()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
