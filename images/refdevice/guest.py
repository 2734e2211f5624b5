"""A running reference device as a test or a script sees it: what it says, a root shell in it, its sticks and its power."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Self

from refdevice.channels import connected
from refdevice.machine import CONSOLE, JOURNAL, SHELL, Machine
from refdevice.shell import Shell
from refdevice.transcript import Transcript

if TYPE_CHECKING:
    import re
    from pathlib import Path

    from refdevice.machine import Start
    from usbupdate.core.strictjson import Json

BOOT_S: Final = 600.0
"""A boot under emulation takes about 20 seconds on a machine that does nothing else."""
_ANSWER_S: Final = 180.0
_READY: Final = "shell-is-ready"
_POWER_ON: Final = "usbupdate: booting slot"


class CommandFailedError(AssertionError):
    """A command in the device ended with another exit code than 0; the text holds what it wrote."""


class Guest:
    """A machine that runs, with everything it says written down.

    Args:
        folder: the machine's own.
        start: how it is switched on.
    """

    def __init__(self, folder: Path, start: Start) -> None:
        self.machine = Machine(folder, start)
        channels = {name: connected(folder / name) for name in (CONSOLE, JOURNAL, SHELL)}
        self.transcript = Transcript(channels)
        self._shell = Shell(channels[SHELL], self.transcript)
        self._was_saved = start.saved is not None

    def __enter__(self) -> Self:
        """Return the device itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Cut its power, whatever it does."""
        self.machine.cut_power()
        self.transcript.close()

    def expect(self, pattern: str, *, limit_s: float = BOOT_S) -> re.Match[str]:
        """Wait for a line after the last one that was expected; see `Transcript.expect`."""
        return self.transcript.expect(pattern, limit_s=limit_s)

    def expect_boot(self, slot: str) -> None:
        """Wait until the boot loader starts a slot, by its boot name."""
        self.transcript.expect(f"{_POWER_ON} {slot}", limit_s=BOOT_S, channel=CONSOLE)

    def expect_shell(self) -> None:
        """Wait until the shell of the boot that came last answers."""
        if self._was_saved and not self.transcript.heard(_POWER_ON):
            return
        while not self.transcript.after_last(_POWER_ON, _READY):
            self.transcript.expect(_READY, limit_s=BOOT_S, channel=SHELL)

    def run(self, command: str, *, limit_s: float = _ANSWER_S) -> str:
        """Run a command line in the device's root shell and return what it wrote.

        Raises:
            CommandFailedError: it ended with another exit code than 0.
            NotHeardError: it did not end in time.
        """
        output, exit_code = self.attempt(command, limit_s=limit_s)
        if exit_code != 0:
            raise CommandFailedError(f"{command}: exit code {exit_code}\n{output}")
        return output

    def attempt(self, command: str, *, limit_s: float = _ANSWER_S) -> tuple[str, int]:
        """Run a command line in the device's root shell and return what it wrote and its exit code."""
        return self._shell.attempt(command, limit_s=limit_s)

    def status(self) -> dict[str, Json]:
        """Return what `usbupdate device status --json` says in the device."""
        table: dict[str, Json] = json.loads(self.run("usbupdate device status --json"))
        return table
