"""The root shell on the device's second serial port, which no real device has: one command at a time, with its exit code."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING

from refdevice.machine import SHELL

if TYPE_CHECKING:
    import socket

    from refdevice.transcript import Transcript


class Shell:
    """A connection to the shell.

    Args:
        connection: to the shell's serial port.
        transcript: what is read from that port, under the name `shell`.
    """

    def __init__(self, connection: socket.socket, transcript: Transcript) -> None:
        self._connection = connection
        self._transcript = transcript
        # Another connection before this one may have left an answer that nobody waited for.
        self._name = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def attempt(self, command: str, *, limit_s: float) -> tuple[str, int]:
        """Run a command line and return what it wrote and its exit code.

        Raises:
            NotHeardError: it did not end in time.
            OSError: the machine is gone.
        """
        mark = f"{self._name} {next(self._numbers)}"
        before = len(self._transcript.lines)
        line = f"echo; echo '<begin {mark}>'; {{ {command}\n}} </dev/null 2>&1; echo; echo \"<end {mark} $?>\"\n"
        self._connection.sendall(line.encode())
        end = self._transcript.find(rf"^<end {mark} (\d+)>$", limit_s=limit_s, channel=SHELL, position=before)
        said = [each.text for each in self._transcript.lines[before:] if each.channel == SHELL]
        begin = said.index(f"<begin {mark}>")
        return "\n".join(said[begin + 1 : said.index(end[0])]), int(end[1])
