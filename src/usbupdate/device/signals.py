"""What the person at the device sees: five signals and one for gated restarts, in the same words everywhere.

They go to the console (and with it to the journal), a status file, a LED and a command of the owner's. A signal that cannot be
given never changes the course of an update.

Source: design, section 5.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate import durable, plainfile
from usbupdate.core.plaintext import one_line
from usbupdate.device import process
from usbupdate.device.exposure import changeable_program
from usbupdate.device.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from usbupdate.device.configuration import SignalsConfiguration

STATUS_FILE: Final = Path("/run/usbupdate/status.json")
LEDS: Final = Path("/sys/class/leds")
TEXT_MAX: Final = 600
_COMMAND_S: Final = 5.0
_STATUS_MAX: Final = 64 << 10
_NOBODY: Final = Notifier(None)


class Signal(StrEnum):
    """A signal by its short name, which is what the command gets as its argument."""

    BUSY = "busy"
    RESTARTING = "restarting"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    INSTALLED = "installed"

    @property
    def words(self) -> str:
        """The words that stand on console, journal, summary and status file alike."""
        return _WORDS[self]

    def sentence(self, why: str = "") -> str:
        """Return the words, followed by why it was refused or what to do, in one printable line."""
        clean = one_line(why, TEXT_MAX)
        return f"{self.words}: {clean}"[:TEXT_MAX] if clean else self.words


_WORDS: Final[Mapping[Signal, str]] = {
    Signal.BUSY: "busy, do not remove",
    Signal.RESTARTING: "restarting, leave it in",
    Signal.DONE: "done, remove",
    Signal.REFUSED: "refused, nothing changed",
    Signal.FAILED: "failed",
    Signal.INSTALLED: "installed, waiting for release, may be removed",
}


@dataclass(frozen=True, slots=True)
class _Light:
    """How a LED shows a signal: milliseconds on and off, or steady where `off_ms` is 0."""

    on_ms: int
    off_ms: int


LIGHTS: Final[Mapping[Signal, _Light]] = {
    Signal.BUSY: _Light(500, 500),
    Signal.RESTARTING: _Light(1500, 1500),
    Signal.DONE: _Light(1, 0),
    Signal.REFUSED: _Light(100, 1900),
    Signal.FAILED: _Light(60, 60),
    Signal.INSTALLED: _Light(1900, 100),
}


class Announcer(Protocol):
    """Tells the person at the device how things stand."""

    def announce(self, signal: Signal, why: str = "") -> None:
        """Give a signal by every way there is; never raises."""


def _status(signal: Signal, sentence: str) -> bytes:
    status = {"signal": str(signal), "words": signal.words, "sentence": sentence}
    return json.dumps(status).encode("ascii") + b"\n"


def _shine(led: Path, brightness: bytes) -> None:
    durable.overwrite(led / "trigger", b"none\n")
    durable.overwrite(led / "brightness", brightness)


class DeviceAnnouncer:
    """Gives signals on a device. Implements `Announcer`.

    Args:
        configuration: the owner's command and LED, if any.
        console: prints one line; handed in by the command line, which alone prints.
        status_file: where the status is kept for other programs.
        leds: the folder of the kernel's LEDs.
        notifier: tells the service manager, if there is one.
    """

    def __init__(
        self,
        configuration: SignalsConfiguration,
        console: Callable[[str], None],
        status_file: Path = STATUS_FILE,
        leds: Path = LEDS,
        notifier: Notifier = _NOBODY,
    ) -> None:
        self._configuration = configuration
        self._console = console
        self._status_file = status_file
        self._leds = leds
        self._notifier = notifier

    def announce(self, signal: Signal, why: str = "") -> None:
        """Give a signal by every way there is; see `Announcer`."""
        sentence = signal.sentence(why)
        # Each way by itself: a broken LED must not keep the sentence from the console.
        with contextlib.suppress(OSError):
            self._save_status(signal, sentence)
        self._notifier.status(sentence)
        # ValueError: a console whose letters are too few for a name on the stick.
        with contextlib.suppress(OSError, ValueError):
            self._console(sentence)
        with contextlib.suppress(OSError):
            self._light(LIGHTS[signal])
        with contextlib.suppress(OSError):
            self._run_command(signal)

    def shows(self, signal: Signal, why: str = "") -> bool:
        """Tell whether this is the signal that was given last, by whomever."""
        try:
            return plainfile.read(self._status_file, _STATUS_MAX) == _status(signal, signal.sentence(why))
        except OSError:
            return False

    def _save_status(self, signal: Signal, sentence: str) -> None:
        durable.make_directory(self._status_file.parent)
        durable.save(self._status_file, _status(signal, sentence))

    def _light(self, light: _Light) -> None:
        if self._configuration.led is None:
            return
        led = self._leds / self._configuration.led
        if light.off_ms == 0:
            _shine(led, (led / "max_brightness").read_bytes())
            return
        try:
            # The kernel makes the two delay files when the trigger becomes "timer".
            durable.overwrite(led / "trigger", b"timer\n")
            durable.overwrite(led / "delay_on", b"%d\n" % light.on_ms)
            durable.overwrite(led / "delay_off", b"%d\n" % light.off_ms)
        except OSError:
            # A kernel without that trigger: dark says nothing, while a light that stays on says "remove".
            _shine(led, b"0\n")

    def _run_command(self, signal: Signal) -> None:
        """Only the signal's name goes to the command: the reason may quote what stands on a stick."""
        # It runs as root; `device check` says why it is silent.
        if self._configuration.command and changeable_program(self._configuration.command) is None:
            process.run([*self._configuration.command, str(signal)], timeout_s=_COMMAND_S, output_limit=0)
