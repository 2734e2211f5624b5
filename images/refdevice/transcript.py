"""What a machine says on all its channels, line by line in the order in which it came, and waiting for a line to come."""

from __future__ import annotations

import re
import selectors
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

CONTROL: Final = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f]")
"""What only moves a terminal's cursor."""
_READ_SIZE: Final = 1 << 16
_TAIL_LINES: Final = 60


class NotHeardError(AssertionError):
    """A line that was waited for did not come; the text holds the last lines that did."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: seconds since the start of the machine, the channel, and the text without control characters."""

    at_s: float
    channel: str
    text: str

    def __str__(self) -> str:
        """Return it as the kept log shows it."""
        return f"{self.at_s:8.2f} {self.channel:8}{self.text}"


class Transcript:
    """Everything that a machine said so far.

    Args:
        channels: the connections, by name; closed when the machine ends.
    """

    def __init__(self, channels: Mapping[str, socket.socket]) -> None:
        self._channels = channels
        self._lines: list[Line] = []
        self._arrived = threading.Condition()
        self._ended = False
        self._start = time.monotonic()
        self._cursor = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def lines(self) -> list[Line]:
        """Everything so far."""
        with self._arrived:
            return list(self._lines)

    def expect(self, pattern: str, *, limit_s: float, channel: str | None = None) -> re.Match[str]:
        """Wait for a line after the last one that was expected, and return the match.

        Raises:
            NotHeardError: it did not come in time, or the machine ended.
        """
        with self._arrived:
            found, self._cursor = self._wait(pattern, limit_s, channel, self._cursor)
        return found

    def find(self, pattern: str, *, limit_s: float, channel: str, position: int) -> re.Match[str]:
        """Wait for a line at or after a position, without a change of what `expect` looks at next.

        Raises:
            NotHeardError: it did not come in time, or the machine ended.
        """
        with self._arrived:
            return self._wait(pattern, limit_s, channel, position)[0]

    def _wait(self, pattern: str, limit_s: float, channel: str | None, position: int) -> tuple[re.Match[str], int]:
        """Return the match and the position after its line; the lock is held, and given up only to wait."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + limit_s
        while True:
            while position < len(self._lines):
                line = self._lines[position]
                position += 1
                found = wanted.search(line.text) if channel in {None, line.channel} else None
                if found:
                    return found, position
            if self._ended or not self._arrived.wait(max(0.0, deadline - time.monotonic())):
                raise NotHeardError(f"not heard in {limit_s:g} s: {pattern}\n{self._tail()}")

    def heard(self, pattern: str) -> list[str]:
        """Return the lines so far that match, from the beginning."""
        wanted = re.compile(pattern)
        return [line.text for line in self.lines if wanted.search(line.text)]

    def now(self) -> None:
        """Let the next `expect` begin with the next line."""
        with self._arrived:
            self._cursor = len(self._lines)

    def after_last(self, mark: str, wanted: str) -> bool:
        """Tell whether a line that holds `wanted` came after the last one that holds `mark`."""
        for line in reversed(self.lines):
            if wanted in line.text:
                return True
            if mark in line.text:
                return False
        return False

    def keep(self, path: Path) -> None:
        """Write everything so far into a file."""
        path.write_text("".join(f"{line}\n" for line in self.lines))

    def close(self) -> None:
        """Wait until the last byte of a machine that has ended is read."""
        self._reader.join()

    def _tail(self) -> str:
        return "\n".join(str(line) for line in self._lines[-_TAIL_LINES:])

    def _read(self) -> None:
        pending = dict.fromkeys(self._channels, b"")
        with selectors.DefaultSelector() as selector:
            for name, connection in self._channels.items():
                selector.register(connection, selectors.EVENT_READ, name)
            while selector.get_map():
                for key, _ in selector.select():
                    part = self._receive(self._channels[key.data])
                    if not part:
                        selector.unregister(key.fileobj)
                    *whole, pending[key.data] = (pending[key.data] + part).split(b"\n")
                    if whole:
                        self._add(key.data, whole)
        for name, connection in self._channels.items():
            connection.close()
            # A prompt has no end of line, and nothing tells more of a machine that waits.
            self._add(name, [pending[name]])
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    @staticmethod
    def _receive(connection: socket.socket) -> bytes:
        try:
            return connection.recv(_READ_SIZE)
        except ConnectionError:
            return b""

    def _add(self, channel: str, whole: list[bytes]) -> None:
        at_s = time.monotonic() - self._start
        texts = [CONTROL.sub("", line.decode("utf-8", errors="replace")).rstrip() for line in whole]
        with self._arrived:
            self._lines += [Line(at_s, channel, text) for text in texts if text]
            self._arrived.notify_all()
