"""QEMU's control protocol (QMP): one JSON object a line, commands answered in order, events in between.

No library for it is packaged for Debian or kept up on PyPI for QEMU 7; what is needed here is one socket and four kinds of
messages.

Source: QEMU, docs/interop/qmp-spec.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from refdevice.channels import connected

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.strictjson import Json

_ANSWER_S: Final = 120.0
_EVENTS_KEPT: Final = 256


class QmpError(Exception):
    """QEMU refused a command or is gone; the text is its own."""


class Qmp:
    """A connection to one QEMU.

    Args:
        path: the socket that QEMU listens on.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._socket = connected(path)
        except OSError as error:
            raise QmpError(f"no machine is running in {path.parent}") from error
        self._socket.settimeout(_ANSWER_S)
        self._lines = self._socket.makefile("rb")
        self._events: deque[dict[str, Json]] = deque(maxlen=_EVENTS_KEPT)
        self._receive()
        self.ask("qmp_capabilities")

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the connection; QEMU runs on."""
        self.close()

    def close(self) -> None:
        """Close the connection; QEMU runs on."""
        self._lines.close()
        self._socket.close()

    def ask(self, command: str, **arguments: Json) -> Json:
        """Run a command and return what it returns; events that come before the answer are kept for `wait_for`.

        Raises:
            QmpError: QEMU refused it, or ended.
        """
        self._send(command, arguments)
        while True:
            message = self._receive()
            if "error" in message:
                error = message["error"]
                raise QmpError(f"{command}: {error['desc'] if isinstance(error, dict) else error}")
            if "return" in message:
                return message["return"]
            self._events.append(message)

    def wait_for(self, event: str, device: str | None = None) -> dict[str, Json]:
        """Wait until an event comes, for one device if it is named, and return what it says.

        Raises:
            QmpError: it did not come in time, or QEMU ended.
        """
        while True:
            message = self._events.popleft() if self._events else self._receive()
            data = message.get("data", {})
            if message.get("event") == event and isinstance(data, dict) and device in {None, data.get("device")}:
                return data

    def _send(self, command: str, arguments: dict[str, Json]) -> None:
        line = json.dumps({"execute": command, "arguments": arguments})
        try:
            self._socket.sendall(line.encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{command}: the device is gone") from error

    def _receive(self) -> dict[str, Json]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise QmpError(f"the device does not answer: {error}") from error
        if not line:
            raise QmpError("the device is gone")
        message: dict[str, Json] = json.loads(line)
        return message
