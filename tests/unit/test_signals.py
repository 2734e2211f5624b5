from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.matrix import By, On, attack
from usbupdate.device.configuration import SignalsConfiguration
from usbupdate.device.signals import LIGHTS, TEXT_MAX, DeviceAnnouncer, Signal

NOTHING = SignalsConfiguration(command=(), led=None)
TECHNICIAN = Path(__file__).parents[2] / "docs" / "technician.md"


@pytest.fixture
def led(tmp_path: Path) -> Path:
    """Return a folder with the files of a LED of the kernel."""
    folder = tmp_path / "leds" / "status"
    folder.mkdir(parents=True)
    for name in ("trigger", "brightness", "delay_on", "delay_off"):
        (folder / name).touch()
    (folder / "max_brightness").write_text("255\n")
    return folder


def test_every_way_has_the_same_words(tmp_path: Path) -> None:
    console: list[str] = []
    status = tmp_path / "run" / "status.json"
    announcer = DeviceAnnouncer(NOTHING, console.append, status)
    announcer.announce(Signal.REFUSED, "the bundle gw-5 is older.")
    assert console == ["refused, nothing changed: the bundle gw-5 is older."]
    assert json.loads(status.read_bytes()) == {
        "signal": "refused",
        "words": "refused, nothing changed",
        "sentence": console[0],
    }


def test_the_words_are_those_of_the_design() -> None:
    assert [signal.words for signal in Signal] == [
        "busy, do not remove",
        "restarting, leave it in",
        "done, remove",
        "refused, nothing changed",
        "failed",
        "installed, waiting for release, may be removed",
    ]


@pytest.mark.parametrize("signal", list(Signal))
def test_the_technician_reads_the_same_words_in_the_manual(signal: Signal) -> None:
    assert f"**{signal.words}" in TECHNICIAN.read_text("utf-8")


def test_bytes_from_a_stick_cannot_steer_the_console() -> None:
    sentence = Signal.FAILED.sentence("\x1b[2Jgood\nnews\r" + "x" * 1000)
    assert sentence.isprintable()
    assert sentence.startswith("failed: [2Jgood news x")
    assert len(sentence) == TEXT_MAX


def test_signals_are_told_apart_by_their_light() -> None:
    assert set(LIGHTS) == set(Signal)
    assert len(set(LIGHTS.values())) == len(Signal)


def test_a_blinking_light_and_a_steady_one(tmp_path: Path, led: Path) -> None:
    announcer = DeviceAnnouncer(SignalsConfiguration((), "status"), lambda _: None, tmp_path / "status.json", led.parent)
    announcer.announce(Signal.BUSY)
    assert [(led / name).read_text() for name in ("trigger", "delay_on", "delay_off")] == ["timer\n", "500\n", "500\n"]
    (led / "trigger").write_text("")
    announcer.announce(Signal.DONE)
    assert [(led / name).read_text() for name in ("trigger", "brightness")] == ["none\n", "255\n"]


def test_a_light_that_cannot_blink_goes_out_for_a_steady_one_would_say_remove(tmp_path: Path, led: Path) -> None:
    announcer = DeviceAnnouncer(SignalsConfiguration((), "status"), lambda _: None, tmp_path / "status.json", led.parent)
    announcer.announce(Signal.DONE)
    for name in ("trigger", "brightness"):
        (led / name).write_text("")
    (led / "delay_on").unlink()
    announcer.announce(Signal.BUSY)
    assert (led / "trigger").read_text().startswith("none\n")
    assert (led / "brightness").read_text() == "0\n"


def test_the_command_gets_the_name_of_the_signal_and_nothing_from_the_stick(tmp_path: Path) -> None:
    command = tmp_path / "buzz"
    command.write_text(f'#!/bin/sh\necho "$# $1 $2" > {tmp_path}/heard\n')
    command.chmod(0o755)
    configuration = SignalsConfiguration(command=(str(command), "--loud"), led=None)
    DeviceAnnouncer(configuration, lambda _: None, tmp_path / "status.json").announce(Signal.FAILED, "evil; words")
    assert (tmp_path / "heard").read_text() == "2 --loud failed\n"


def test_no_broken_way_keeps_the_others_from_being_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    configuration = SignalsConfiguration(command=("/nowhere/buzz",), led="none")
    console: list[str] = []
    DeviceAnnouncer(configuration, console.append, tmp_path / "file" / "status.json").announce(Signal.DONE)
    assert console == ["done, remove"]

    def closed(_: str) -> None:
        raise BrokenPipeError

    DeviceAnnouncer(NOTHING, closed, tmp_path / "status.json").announce(Signal.DONE)
    assert json.loads((tmp_path / "status.json").read_bytes())["signal"] == "done"


@attack(
    By.STICK,
    On.SERVICE,
    "a name that the device's console has no letters for",
    "a console that cannot show a line keeps neither light nor command from saying it",
)
def test_a_console_that_cannot_show_a_name_does_not_keep_the_signal_from_the_person(tmp_path: Path) -> None:
    console = io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-15")
    command = tmp_path / "buzz"
    command.write_text(f"#!/bin/sh\necho $1 > {tmp_path}/heard\n")
    command.chmod(0o755)
    announcer = DeviceAnnouncer(
        SignalsConfiguration((str(command),), None), lambda line: print(line, file=console), tmp_path / "status.json"
    )
    announcer.announce(Signal.REFUSED, "The stick holds both \u540d\u524d and \u540d\u524d.")
    assert (tmp_path / "heard").read_text() == "refused\n"
