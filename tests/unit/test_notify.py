from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from usbupdate.device.configuration import SignalsConfiguration
from usbupdate.device.notify import Notifier
from usbupdate.device.signals import DeviceAnnouncer, Signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Give the socket on which a service manager listens, and its name."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@usbupdate-test-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(10)
        yield listener, name


def test_systemd_hears_what_it_is_told(manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch) -> None:
    listener, name = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier.of_environment()
    notifier.ready()
    notifier.status("busy, do not remove")
    notifier.stopping()
    assert [listener.recv(4096) for _ in range(3)] == [b"READY=1", b"STATUS=busy, do not remove", b"STOPPING=1"]


def test_a_stick_cannot_send_a_message_of_its_own(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    Notifier(name).status("a label\nMAINPID=1\x00\nREADY=1" + "x" * 10_000)
    message = listener.recv(65536)
    assert message.startswith(b"STATUS=a label MAINPID=1 READY=1")
    assert b"\n" not in message
    assert len(message) < 1000


def test_every_signal_is_the_status_of_the_service(manager: tuple[socket.socket, str], tmp_path: Path) -> None:
    listener, name = manager
    announcer = DeviceAnnouncer(
        SignalsConfiguration((), None), lambda _: None, tmp_path / "status.json", notifier=Notifier(name)
    )
    for signal in Signal:
        announcer.announce(signal, "why")
        assert listener.recv(4096).decode() == f"STATUS={signal.words}: why"


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_anybody_who_listens_nothing_happens(address: str | None) -> None:
    notifier = Notifier(address)
    notifier.ready()
    notifier.status("busy")
    notifier.stopping()
