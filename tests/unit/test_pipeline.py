"""Many chunks at once: the results stand in order, what may be assumed of earlier tasks holds, and errors end everything."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.threads import give_threads
from usbupdate.device.pipeline import WORKERS, Done, in_order, threads, unfinished_max

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.mark.parametrize("workers", [1, 2, WORKERS])
def test_results_stand_in_the_order_of_the_tasks_whoever_is_first(workers: int) -> None:
    later = [threading.Event() for _ in range(20)]

    def run(number: int) -> int:
        # With more than one thread, every even task waits for the one after it.
        if workers > 1 and number % 2 == 0:
            assert later[number + 1].wait(10)
        later[number].set()
        return number

    assert list(in_order((partial(run, number) for number in range(20)), workers)) == list(range(20))


@pytest.mark.parametrize("workers", [1, 2, WORKERS])
def test_a_task_is_taken_only_when_all_but_the_last_few_have_finished(workers: int) -> None:
    finished: list[int] = []

    def tasks() -> Iterator[Callable[[], None]]:
        for number in range(100):
            assert set(range(number - unfinished_max(workers))) <= set(finished)
            yield partial(finished.append, number)

    assert len(list(in_order(tasks(), workers))) == 100


@pytest.mark.parametrize("workers", [1, 2, WORKERS])
def test_an_error_comes_in_its_turn_and_nothing_is_begun_after_it(workers: int) -> None:
    threads = threading.active_count()
    begun: list[int] = []

    def run(number: int) -> int:
        begun.append(number)
        if number == 30:
            raise ValueError("broken")
        return number

    got: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        got.extend(in_order((partial(run, number) for number in range(1000)), workers))
    assert got == list(range(30))
    assert max(begun) <= 30 + unfinished_max(workers)
    assert threading.active_count() == threads


def test_whoever_stops_listening_leaves_no_thread_behind() -> None:
    threads = threading.active_count()
    results = in_order((partial(int, number) for number in range(1000)), WORKERS)

    assert next(results) == 0
    results.close()

    assert threading.active_count() == threads


def test_an_impatient_person_does_not_leave_threads_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, may_end, impatient = threading.Event(), threading.Event(), [KeyboardInterrupt, KeyboardInterrupt]
    shutdown = ThreadPoolExecutor.shutdown

    def interrupted(pool: ThreadPoolExecutor, *, wait: bool, cancel_futures: bool) -> None:
        if impatient:
            raise impatient.pop()
        may_end.set()
        shutdown(pool, wait=wait, cancel_futures=cancel_futures)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted)
    before = threading.active_count()

    def work() -> None:
        at_work.set()
        assert may_end.wait(10)

    def start_and_leave() -> None:
        with threads(2, "test") as pool:
            assert pool is not None
            pool.submit(work)
            assert at_work.wait(10)

    with pytest.raises(KeyboardInterrupt):
        start_and_leave()
    assert may_end.is_set()
    assert threading.active_count() == before


@pytest.mark.parametrize("given", range(WORKERS))
def test_work_goes_on_with_as_many_threads_as_the_system_gives(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    give_threads(given, monkeypatch)
    before, done = threading.active_count(), []

    def run(number: int) -> int:
        done.append(number)
        return number

    assert list(in_order((partial(run, number) for number in range(200)), WORKERS)) == list(range(200))
    assert sorted(done) == list(range(200))
    assert threading.active_count() == before


@pytest.mark.parametrize("given", range(WORKERS))
def test_an_error_comes_in_its_turn_with_fewer_threads_too(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    give_threads(given, monkeypatch)

    def run(number: int) -> int:
        if number == 30:
            raise ValueError("broken")
        return number

    got: list[int] = []
    with pytest.raises(ValueError, match="broken"):
        got.extend(in_order((partial(run, number) for number in range(100)), WORKERS))
    assert got == list(range(30))


def test_results_do_not_pile_up_where_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    give_threads(0, monkeypatch)
    alive: weakref.WeakSet[Result] = weakref.WeakSet()

    class Result:
        def __init__(self) -> None:
            alive.add(self)

    for _ in in_order((Result for _ in range(100)), WORKERS):
        assert len(alive) <= 3


def test_a_known_result_stands_in_its_turn() -> None:
    tasks: list[Callable[[], int]] = [partial(int, 0), Done(1), partial(int, 2), Done(3)]
    assert [*in_order(tasks, WORKERS)] == [*in_order(tasks, 1)] == [0, 1, 2, 3]
