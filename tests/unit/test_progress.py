"""What long work says of itself where nobody sees a bar."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from tests.threads import give_threads
from usbupdate.cli.progress import InstallProgress, Pace, counted

MB = 1_000_000


@dataclass
class Clock:
    """Tells the time that a test says it is."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_lines_say_how_fast_it_goes_and_how_long_it_still_takes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with counted("packing", 100 * MB, quiet=False, clock=clock) as advance:
        for _ in range(10):
            clock.now += 0.5
            advance(10 * MB)
        advance.finish()
    assert lines(capsys) == [
        "packing: 10 %",
        *(
            f"packing: {each}0 %, 20.0 MB/s, {left} s left"
            for each, left in zip(range(2, 9), (4, 4, 3, 3, 2, 2, 1), strict=True)
        ),
        "packing: 90 %, 20.0 MB/s, 1 s left",
        "packing: 100 %",
    ]


def test_quiet_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with counted("packing", 100, quiet=True) as advance:
        advance(100)
        advance.finish()
    assert lines(capsys) == []


def test_the_lines_of_a_service_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    with InstallProgress(told.append) as shown:
        shown.began("installing")
        for done in (1, 55, 100):
            shown.advanced(done, 100)
    assert told == lines(capsys) == ["installing: 0 %", "installing: 50 %", "installing: 100 %"]


def test_lines_take_the_place_of_a_bar_that_no_thread_draws(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_threads(0, monkeypatch)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with InstallProgress() as shown:
        shown.began("installing")
        shown.advanced(50, 100)
        shown.advanced(100, 100)
    assert lines(capsys)[-2:] == ["installing: 50 %", "installing: 100 %"]


def test_each_work_has_its_own_pace(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with InstallProgress(pace=Pace(clock)) as shown:
        for what, seconds in (("reading", 10), ("writing", 100)):
            shown.began(what)
            clock.now += seconds
            shown.advanced(50 * MB, 100 * MB)
    assert lines(capsys) == ["reading: 50 %, 5.0 MB/s, 10 s left", "writing: 50 %, 0.5 MB/s, 2 min left"]


@pytest.mark.parametrize(
    ("took", "done", "total", "said"),
    [
        (0.0, 1, 2, ""),
        (0.9, 10 * MB, 20 * MB, ""),
        (5.0, 0, 20 * MB, ""),
        (5.0, 20 * MB, 20 * MB, ""),
        (1.0, 10 * MB, 20 * MB, ", 10.0 MB/s, 1 s left"),
        (59.0, 10 * MB, 20 * MB, ", 0.2 MB/s, 59 s left"),
        (60.0, 10 * MB, 20 * MB, ", 0.2 MB/s, 1 min left"),
        (3000.0, MB, 3 * MB, ", 0.0 MB/s, 1 h 40 min left"),
    ],
)
def test_the_time_left_is_as_exact_as_it_can_be(took: float, done: int, total: int, said: str) -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now += took
    assert pace.words(done, total) == said
