"""What the units start, run as commands on a simulated device: waiting, confirming, asking again."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.commands import usbupdate
from usbupdate.cli import boot as boot_path, joining
from usbupdate.core.policy import Insertion
from usbupdate.core.receipt import Event
from usbupdate.core.words import Slot
from usbupdate.device.agent import Agent
from usbupdate.device.bootloaders import simulated
from usbupdate.device.lock import LOCK_FILE, locked, locked_after_waiting
from usbupdate.device.signals import Signal
from usbupdate.device.statestore import WAITING_FILE
from usbupdate.errors import UnusableFileError
from usbupdate.simulate import hardware
from usbupdate.simulate.bench import BOOT_LOADER_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.field import Field, Rig

DEVICE = [sys.executable, "-m", "usbupdate", "device"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Give the socket at `tmp_path/notify` on which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def heard_until(listener: socket.socket, last: str) -> list[str]:
    """Return what a service tells its manager up to its last word."""
    told = [listener.recv(4096).decode()]
    while told[-1] != last:
        told.append(listener.recv(4096).decode())
    return told


def config(rig: Rig) -> Path:
    return rig.folder / "device.toml"


def sentence(rig: Rig) -> str:
    """Return the last signal that was given."""
    return str(json.loads((rig.folder / "run/status.json").read_bytes())["sentence"])


def power_cycle(rig: Rig) -> None:
    """Start the device again, without its agent."""
    chosen = simulated.choose(rig.folder / BOOT_LOADER_FILE)
    hardware.save(rig.folder, hardware.load(rig.folder).rebooted(chosen))


def tries(rig: Rig, slot: Slot) -> int:
    return simulated.decode((rig.folder / BOOT_LOADER_FILE).read_bytes()).slots[slot].tries


def command(rig: Rig, *words: str, notify: Path | None = None) -> subprocess.Popen[str]:
    environment = dict(os.environ) if notify is None else {**os.environ, "NOTIFY_SOCKET": str(notify)}
    argv = [*DEVICE, *words, "--config", str(config(rig))]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_waiting_stick_says_busy_at_once_and_gets_its_turn(field: Field, manager: socket.socket, tmp_path: Path) -> None:
    with locked(field.rig.folder):
        service = command(field.rig, "insert", str(field.good), notify=tmp_path / "notify")
        # Ready before the wait, or the start of the machine would wait for it too.
        assert manager.recv(4096) == b"READY=1"
        assert service.stdout is not None
        assert service.stdout.readline() == "busy, do not remove: Another stick or command comes first.\n"
        assert sentence(field.rig) == "busy, do not remove: Another stick or command comes first."
        assert field.rig.status()["state"] == "idle"
    assert "STATUS=verifying: 100 %" in heard_until(manager, "STOPPING=1")
    out, err = service.communicate(timeout=60)
    assert service.returncode == 0, err
    assert "restarting, leave it in" in out


def test_a_stick_that_waits_for_a_trial_says_so(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    assert rig.status()["state"] == "activating"
    with locked(rig.folder):
        service = command(rig, "insert", str(field.good))
        assert service.stdout is not None
        assert service.stdout.readline() == "busy, do not remove: The new release is checked first.\n"
        service.kill()
    service.communicate(timeout=60)


def test_a_stick_that_is_pulled_while_it_waits_leaves_the_word_of_the_other(field: Field) -> None:
    stick = field.good.rename(field.folder / "pulled-soon")
    with locked(field.rig.folder):
        service = command(field.rig, "insert", str(stick))
        assert service.stdout is not None
        assert service.stdout.readline().startswith("busy")
        stick.rename(field.good)
        field.rig.bench.announcer().announce(Signal.DONE)
    out, err = service.communicate(timeout=60)
    assert (service.returncode, out) == (0, ""), err
    assert sentence(field.rig) == "done, remove"
    assert field.rig.events() == ["provisioned"]


def test_a_stick_that_is_pulled_while_it_waits_does_not_stay_busy_for_ever(field: Field) -> None:
    stick = field.good.rename(field.folder / "pulled-soon")
    with locked(field.rig.folder):
        service = command(field.rig, "insert", str(stick))
        assert service.stdout is not None
        assert service.stdout.readline().startswith("busy")
        stick.rename(field.good)
    service.communicate(timeout=60)
    assert sentence(field.rig) == "refused, nothing changed: The stick was removed before its turn. Put it in again."
    assert field.rig.events() == ["provisioned"]


def test_nobody_is_told_of_a_wait_that_there_is_not(tmp_path: Path) -> None:
    told: list[str] = []
    with locked_after_waiting(tmp_path, lambda: told.append("waiting")):
        assert told == []


def test_the_boot_service_is_ready_before_the_checks_of_a_trial(field: Field, tmp_path: Path) -> None:
    rig = field.rig
    rig.insert(field.good)
    rig.remove()
    rig.script("health.d/10-told", f"test -e {tmp_path}/ready")
    power_cycle(rig)
    with joining.agent_of(config(rig)) as agent:
        agent.start((tmp_path / "ready").touch)
    assert rig.events()[-1] == "committed"


def test_the_boot_service_tells_systemd(
    field: Field, manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    power_cycle(field.rig)
    boot_path.boot(config(field.rig))
    assert manager.recv(4096) == b"READY=1"


def test_a_device_whose_state_folder_is_gone_confirms_its_boot(field: Field) -> None:
    rig = field.rig
    power_cycle(rig)
    before = tries(rig, Slot.A)
    # On a board the lock lies on the state partition, and goes with it.
    (rig.folder / LOCK_FILE).unlink(missing_ok=True)
    (rig.folder / LOCK_FILE).symlink_to("nowhere")
    with pytest.raises(UnusableFileError):
        boot_path.boot(config(rig))
    assert tries(rig, Slot.A) == before + 1
    assert sentence(rig).startswith("refused, nothing changed")


def test_the_person_hears_of_a_restart_before_the_system_ends_the_agent(field: Field) -> None:
    order: list[str] = []

    class Ear:
        def announce(self, signal: Signal, why: str = "") -> None:
            order.append(str(signal))

        def reboot(self) -> None:
            order.append("reboot")

    machine = joining.machine_of(field.rig.bench.configuration(), "unattended")
    agent = Agent(replace(machine, announcer=Ear(), rebooter=Ear()), joining.Silent())
    agent.start()
    agent.take(field.good, Insertion.NEW)
    assert order == ["busy", "restarting", "reboot"]


def test_a_release_that_waits_for_its_restart_is_asked_about_until_it_may(field: Field) -> None:
    rig = field.rig
    rig.configure('reboot = "automatic"', 'reboot = "gated"')
    gate = rig.script("reboot.d/10-production", "exit 75")
    rig.insert(field.good)
    rig.remove()
    waiting = rig.folder / "state" / WAITING_FILE
    assert waiting.exists()
    asked = command(rig, "activate", "--if-allowed")
    out, err = asked.communicate(timeout=60)
    # Every five minutes: the person has heard it once.
    assert (asked.returncode, out) == (0, ""), err
    assert rig.status()["state"] == "ready"
    gate.unlink()
    allowed = command(rig, "activate", "--if-allowed")
    out, err = allowed.communicate(timeout=60)
    assert (allowed.returncode, out) == (0, "restarting, leave it in\n"), err
    assert not waiting.exists()
    rig.boot()
    assert rig.events()[-1] == "committed"
    nothing = command(rig, "activate", "--if-allowed")
    assert nothing.communicate(timeout=60) == ("", "")
    assert nothing.returncode == 0


def test_what_became_of_a_release_is_not_done_before_it_is_on_the_stick_that_is_in(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    said: list[Signal] = []

    class Ear:
        def announce(self, signal: Signal, why: str = "") -> None:
            said.append(signal)

    power_cycle(rig)
    machine = replace(joining.machine_of(rig.bench.configuration(), "unattended"), announcer=Ear(), has_stick=lambda: True)
    agent = Agent(machine, joining.Silent())
    agent.start()
    agent.announce()
    assert ([draft.event for draft in agent.told], said) == ([Event.COMMITTED], [])


def test_what_became_of_a_release_is_said_where_the_stick_was_pulled_before(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    power_cycle(rig)
    boot_path.boot(config(rig))
    assert sentence(rig).startswith("done")


def test_a_person_without_an_entry_among_the_users_is_named_by_their_number(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    rig = field.rig
    usbupdate("device", "install", field.good, "--config", config(rig))
    rig.boot()
    assert rig.last().operator == "user 4000000001"
