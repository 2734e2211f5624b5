"""A stick or a slot that holds one thread up at any of its calls, while all the others go on as far as they can.

Nobody sleeps: a call that is held is let go when the thread that asks for results has nothing left to do but wait for it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.matrix import By, On, attack
from tests.payload import CHUNK, ROOTFS, PassingOn, SlotFile, Told, an_image, packed
from usbupdate.device import pipeline
from usbupdate.device.installer import Installer
from usbupdate.device.pipeline import WORKERS
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.receipt import Traffic

IMAGE = an_image(24, zero=frozenset({2, 9, 10, 23}))
PAYLOAD = packed({ROOTFS: IMAGE})
PATIENCE_S = 60.0
"""After which a test that holds everything up fails."""
HELD = range(0, 64, 3)
"""The calls that are held in turn; the sweep is over when there are fewer."""


class Gate:
    """Holds one call of a thread's, by its number among all that threads make."""

    def __init__(self, number: int | None) -> None:
        self.calls = 0
        self.was_held = False
        self._number = number
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._awaited: set[object] = set()
        self._held: object = None
        self._own = threading.local()

    def run(self, task: Callable[[], object], token: object) -> object:
        """Run a task, whose calls are known by its token."""
        self._own.token = token
        return task()

    def call(self) -> None:
        """Note a call, and hold it if it is the one."""
        token = getattr(self._own, "token", None)
        if token is None:
            return
        with self._lock:
            is_held = self.calls == self._number and token not in self._awaited
            self.calls += 1
            if is_held:
                self._held = token
        if is_held:
            self.was_held = True
            assert self._open.wait(PATIENCE_S)

    def awaited(self, token: object) -> None:
        """Note that nothing goes on without a task's result."""
        with self._lock:
            self._awaited.add(token)
            if token is self._held:
                self._open.set()

    def open(self) -> None:
        """Let go what is held."""
        self._open.set()


@contextmanager
def held(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let threads begin tasks by way of a gate while this lasts."""

    class Pool(ThreadPoolExecutor):
        def submit(self, task: Callable[..., Any], /, *args: Any, **keywords: Any) -> Any:  # noqa: ANN401 - as in the library
            token = object()
            future = super().submit(gate.run, task, token)
            result = future.result

            def awaited(timeout: float | None = None) -> object:
                gate.awaited(token)
                return result(timeout)

            future.result = awaited  # type: ignore[method-assign] # for this one future
            return future

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            gate.open()
            super().shutdown(wait, cancel_futures=cancel_futures)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "ThreadPoolExecutor", Pool)
        yield


class SlowSlot(PassingOn):
    """Implements `ports.SlotImage`."""

    def __init__(self, slot: SlotFile, gate: Gate) -> None:
        super().__init__(slot.open())
        self._gate = gate

    def read_at(self, offset: int, size: int) -> bytes:
        self._gate.call()
        return super().read_at(offset, size)

    def write_at(self, offset: int, contents: bytes) -> None:
        self._gate.call()
        super().write_at(offset, contents)


class SlowStick(DirectoryMedium):
    """Implements `core.layout.MediumReader`."""

    def __init__(self, mount: Path, gate: Gate) -> None:
        super().__init__(mount)
        self._gate = gate

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        self._gate.call()
        return super().read_at(path, offset, size)


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stick")
    PAYLOAD.write(folder)
    return folder


def _installed(mount: Path, folder: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> tuple[Traffic, bytes]:
    """Return what an installation moved, and what the slot holds then."""
    # Some of it is there already, so that every way of a chunk is gone.
    slot = SlotFile(folder / "slot", IMAGE[: 3 * CHUNK] + b"\xaa" * (len(IMAGE) - 4 * CHUNK) + bytes(CHUNK))
    image, stick = SlowSlot(slot, gate), SlowStick(mount, gate)
    with held(gate, monkeypatch), stick.kept_open():
        installer = Installer(PAYLOAD.manifest, stick, {ROOTFS: image}, workers=WORKERS)
        installer.verify(Told())
        traffic = installer.install(Told())
    image.close()
    return traffic, slot.contents


@attack(
    By.CHANCE,
    On.SERVICE,
    "a stick or a slot that holds one thread up at any call",
    "results are taken in the order of the image, whoever is late",
)
def test_a_call_that_is_late_changes_no_outcome(mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _installed(mount, tmp_path, Gate(None), monkeypatch)
    assert expected[1] == IMAGE
    were_held = 0
    for number in HELD:
        gate = Gate(number)
        assert _installed(mount, tmp_path, gate, monkeypatch) == expected
        were_held += gate.was_held
    assert were_held > len(HELD) // 2
