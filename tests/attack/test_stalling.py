"""A stick that stalls: at any reading, for ever, or with a few bytes now and then; nothing waits for it without end."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass, field as own
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from usbupdate.core.receipt import Event
from usbupdate.device import lock, patience as module
from usbupdate.device.media import FolderMedium
from usbupdate.device.obligations import Rest
from usbupdate.device.patience import ENOUGH, LIMIT_S, SLOW_S, Patience, PatientMedium, opened_patiently
from usbupdate.errors import ExitCode, MediumStalledError, MediumUnreadableError
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.field import Field

_A_MOMENT_S = 0.005


@dataclass(slots=True)
class Stall:
    """A stick that stops answering, and a clock that goes on only while somebody waits for that."""

    now: float = 0.0
    released: threading.Event = own(default_factory=threading.Event)
    stuck: int = 0

    def block(self) -> None:
        """Give no answer until the test is over, as a system call that nobody can end."""
        self.stuck += 1
        self.released.wait()

    def wait(self, done: threading.Lock, seconds: float) -> bool:
        """Wait in the place of `patience.wait`: in truth for a task that goes on, on the clock of this test for a stuck one."""
        while not done.acquire(timeout=_A_MOMENT_S):
            if self.stuck:
                self.now += seconds
                return False
        return True


@pytest.fixture
def stall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stall]:
    stall = Stall()
    monkeypatch.setattr(module, "now", lambda: stall.now)
    monkeypatch.setattr(module, "wait", stall.wait)
    yield stall
    stall.released.set()


def stalls_at(number: int, stall: Stall, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a stick stall at one of its readings, counted from 0; return the list in which they are counted."""
    seen: list[str] = []

    def stalling(name: str) -> Callable[..., object]:
        real = getattr(DirectoryMedium, name)

        def read(self: DirectoryMedium, *args: object) -> object:
            seen.append(name)
            if len(seen) == number + 1:
                stall.block()
            return real(self, *args)

        return read

    for name in ("read", "read_at", "size", "names"):
        monkeypatch.setattr(DirectoryMedium, name, stalling(name))
    return seen


@attack(
    By.STICK,
    On.SERVICE,
    "a stick that stalls at any reading, for ever",
    "five minutes without progress, and it is given up; what is waited for is another thread's call",
)
@pytest.mark.parametrize("number", [0, 1, 2, 5, 8, 12, 20, 25, 30, 36])
def test_a_stick_that_stalls_is_given_up_and_holds_up_nobody(
    field: Field, stall: Stall, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    rig = field.rig
    with monkeypatch.context() as patched:
        seen = stalls_at(number, stall, patched)
        error = rig.error_of(field.good)
        assert len(seen) > number
    assert isinstance(error, MediumStalledError)
    assert error.exit_code is ExitCode.MEDIUM
    assert LIMIT_S <= stall.now <= LIMIT_S + 30
    assert "busy, do not remove: The stick is slow to answer" in " ".join(rig.lines)
    assert "The stick was waited for 5 minutes" in rig.lines[-1]
    assert rig.last().event in {Event.REFUSED, Event.INTERRUPTED}
    assert rig.last().problem is not None
    assert rig.last().problem.reason == "medium-stalled"  # type: ignore[union-attr]  # see above
    assert rig.status()["state"] == "idle"
    # The call that never ends is still there, and the next stick is served all the same.
    with lock.locked(rig.folder):
        pass
    stall.stuck = 0
    assert rig.update(field.cure).rest is Rest.IDLE
    assert rig.last().event is Event.COMMITTED


def test_a_stick_that_stalls_while_the_log_is_written_changes_no_outcome(
    field: Field, stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = field.rig
    rig.insert(field.good)
    with monkeypatch.context() as patched:
        patched.setattr(FolderMedium, "writable", lambda _: stall.block())
        assert rig.boot().rest is Rest.IDLE
    assert rig.last().event is Event.COMMITTED
    assert "done, remove" in rig.lines[-2]
    assert "waited for 5 minutes" in rig.lines[-2]


def medium_of(mount: Path, told: list[str]) -> tuple[Patience, PatientMedium]:
    patience = Patience(lambda: told.append("slow"))
    return patience, PatientMedium(FolderMedium(mount), patience)


@attack(By.STICK, On.SERVICE, "a stick that gives out a few bytes now and then", "progress is counted in bytes, not in answers")
def test_a_stick_that_dribbles_is_given_up(mount: Path, stall: Stall, monkeypatch: pytest.MonkeyPatch) -> None:
    (mount / "file").write_bytes(bytes(4096))
    told: list[str] = []
    real = DirectoryMedium.read_at

    def dribble(self: DirectoryMedium, path: tuple[str, ...], offset: int, size: int) -> bytes:
        stall.now += SLOW_S - 1
        return real(self, path, offset, size)

    monkeypatch.setattr(DirectoryMedium, "read_at", dribble)
    patience, medium = medium_of(mount, told)
    with patience:
        for _ in range(int(LIMIT_S / (SLOW_S - 1))):
            assert len(medium.reader.read_at(("file",), 0, 512)) == 512
        monkeypatch.setattr(module, "wait", lambda *_: False)
        with pytest.raises(MediumStalledError):
            medium.reader.read_at(("file",), 0, 512)


def test_a_slow_stick_that_gets_on_is_not_given_up(mount: Path, stall: Stall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 4096)
    (mount / "file").write_bytes(bytes(4096))
    real = DirectoryMedium.read

    def slowly(self: DirectoryMedium, path: tuple[str, ...], limit: int) -> bytes:
        stall.now += LIMIT_S - 1
        return real(self, path, limit)

    monkeypatch.setattr(DirectoryMedium, "read", slowly)
    patience, medium = medium_of(mount, [])
    with patience:
        for _ in range(20):
            assert len(medium.reader.read(("file",), 4096)) == 4096


@attack(
    By.STICK,
    On.SERVICE,
    "a stick that fails when it is looked at: EIO, no medium in it, gone again",
    "an error of the stick, with its signal and its receipt",
)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEDIUM, errno.ENXIO])
@pytest.mark.parametrize("looks", [2, 3])
def test_a_stick_that_cannot_be_looked_at_is_answered(
    field: Field, monkeypatch: pytest.MonkeyPatch, number: int, looks: int
) -> None:
    rig = field.rig
    real, left = os.stat, [looks]

    def stat(path: object, **keywords: object) -> os.stat_result:
        # The first two looks are the simulation's own, where a board has udev.
        if path in {field.good, str(field.good)}:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(number, os.strerror(number), str(path))
        return real(path, **keywords)  # type: ignore[arg-type] # what it was given

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        error = rig.error_of(field.good)
    assert isinstance(error, MediumUnreadableError)
    assert error.exit_code is ExitCode.MEDIUM
    assert os.strerror(number) in rig.lines[-1]
    assert rig.lines[-1].startswith("refused, nothing changed")
    assert rig.last().event is Event.REFUSED
    assert rig.update(field.good).rest is Rest.IDLE


def few_threads(given: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the system give so many threads and no more; return the list in which those are named that it did not give."""
    real, left, refused = threading.Thread.start, [given], list[str]()

    def start(thread: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            refused.append(thread.name)
            message = "can't start new thread"
            raise RuntimeError(message)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return refused


@attack(
    By.CHANCE,
    On.SERVICE,
    "a system that gives no thread to wait for a stick with",
    "who waits does it himself, without the limit",
)
@pytest.mark.parametrize("given", [0, 1, 2, 3])
def test_a_system_without_threads_installs_all_the_same(field: Field, monkeypatch: pytest.MonkeyPatch, given: int) -> None:
    refused = few_threads(given, monkeypatch)
    assert field.rig.update(field.good).rest is Rest.IDLE
    assert field.rig.last().event is Event.COMMITTED
    assert refused


def test_a_stick_that_stalled_is_left_as_it_is_where_no_thread_lets_go_of_it(
    mount: Path, stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience, medium = medium_of(mount, [])
    closed: list[str] = []
    with patience:
        stalls_at(0, stall, monkeypatch)
        with pytest.raises(MediumStalledError):
            medium.reader.names(())
        few_threads(0, monkeypatch)
        patience.part_from(lambda: closed.append("unmounted"))
    assert closed == []


def test_what_a_device_does_by_itself_does_not_count_against_the_stick(mount: Path, stall: Stall) -> None:
    (mount / "file").write_bytes(b"x")
    patience, medium = medium_of(mount, [])
    with patience:
        for _ in range(20):
            assert medium.reader.size(("file",)) == 1
            stall.now += LIMIT_S


def test_a_stick_that_has_stalled_is_not_touched_again(mount: Path, stall: Stall, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    seen = stalls_at(0, stall, monkeypatch)
    patience, medium = medium_of(mount, told)
    with patience:
        for _ in range(3):
            with pytest.raises(MediumStalledError, match="waited for 5 minutes"):
                medium.reader.names(())
    assert seen == ["names"]
    assert told == ["slow"]


def test_errors_of_a_stick_are_told_to_who_waits(mount: Path) -> None:
    patience, medium = medium_of(mount / "pulled", [])
    with patience, pytest.raises(MediumUnreadableError), opened_patiently(mount, _failing(), patience):
        pass
    with patience, pytest.raises(AssertionError, match="a defect"):
        medium.use(lambda _: _fail())


def test_a_stick_that_is_never_mounted_is_given_up_too(mount: Path, stall: Stall) -> None:
    class Opening:
        def __enter__(self) -> FolderMedium:
            stall.block()
            return FolderMedium(mount)

        def __exit__(self, *_: object) -> None:
            """Close nothing."""

    patience, _ = medium_of(mount, [])
    with patience, pytest.raises(MediumStalledError), opened_patiently(mount, Opening(), patience):
        pass


def test_progress_is_more_than_a_hostile_stick_gives_and_less_than_the_slowest_honest_one() -> None:
    assert 40_000 < ENOUGH / LIMIT_S < 100_000, "bytes a second; USB 1.1 gives ten times that"


class _failing:  # noqa: N801 - reads like a function where it is used
    def __enter__(self) -> FolderMedium:
        raise MediumUnreadableError(name="x", problem="y")

    def __exit__(self, *_: object) -> None:
        """Close nothing."""


def _fail() -> None:
    message = "a defect"
    raise AssertionError(message)
