"""Devices for the scenarios: real kernels, started for each test and switched off after it. A failed one leaves its log."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from refdevice.cache import cache_folder
from refdevice.guest import Guest
from refdevice.machine import Disk, Start
from refdevice.qmp import QmpError
from tests.vm import testbed

if TYPE_CHECKING:
    from pathlib import Path

StartDevice = Callable[..., Guest]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/vm/" in str(item.path):
            item.add_marker(pytest.mark.vm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


_FAILED = pytest.StashKey[bool]()


@pytest.fixture
def start_device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartDevice]:
    """Starts a device in the test's folder, from rest or cold; `start_device(...)` may be called again for another one."""
    guests: list[Guest] = []

    def start(name: str = "device", **how: object) -> Guest:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        guest = Guest(folder, Start(**how))  # type: ignore[arg-type]
        guests.append(guest)
        return guest

    yield start
    has_failed = request.node.stash.get(_FAILED, True)
    registers = [_registers(guest) for guest in guests] if has_failed else []
    for guest in guests:
        guest.machine.cut_power()
        guest.transcript.close()
    if has_failed:
        keep_logs(request.node.name, guests, registers)


def _registers(guest: Guest) -> str:
    try:
        return guest.machine.registers()
    except (QmpError, ValueError) as error:
        return f"not known: {error}\n"


def keep_logs(name: str, guests: list[Guest], registers: list[str]) -> None:
    folder = cache_folder() / "failed" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, (guest, at) in enumerate(zip(guests, registers, strict=True)):
        guest.transcript.keep(folder / f"{number}.log")
        (folder / f"{number}.registers").write_text(at)


@pytest.fixture
def at_rest(start_device: StartDevice, tmp_path: Path) -> Guest:
    """A device that has just come to rest; it runs."""
    resting = testbed.resting_device()
    guest = start_device(disk=testbed.overlay(resting.disk, tmp_path / "disk.qcow2"), saved=resting.memory)
    guest.machine.run()
    return guest


@pytest.fixture
def switched_off(tmp_path: Path) -> Disk:
    """The disk of a device that was at rest when its power was cut."""
    return testbed.overlay(testbed.resting_device().disk, tmp_path / "disk.qcow2")


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A stick with the next release."""
    return testbed.stick_image(tmp_path / "stick.img", testbed.next_release())
