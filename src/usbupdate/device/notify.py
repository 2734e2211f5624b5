"""How a service tells systemd how it stands; without systemd it tells nobody.

Source: sd_notify(3): one datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

from usbupdate.core.plaintext import one_line

_VARIABLE: Final = "NOTIFY_SOCKET"
_STATUS_MAX: Final = 600
_SEND_S: Final = 2.0


class Notifier:
    """Tells systemd; what cannot be told changes nothing.

    Args:
        address: a socket's path, or an abstract name that begins with `@`; None where nobody listens.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def of_environment(cls) -> Notifier:
        """Return what tells the service manager that started this program, if one did."""
        return cls(os.environ.get(_VARIABLE))

    def ready(self) -> None:
        """Tell that what the start of other services waits for is done."""
        self._send("READY=1")

    def status(self, sentence: str) -> None:
        """Tell how things stand, in one line: a line of its own in what a stick brings must not become another message."""
        self._send(f"STATUS={one_line(sentence, _STATUS_MAX)}", patience_s=0)

    def stopping(self) -> None:
        """Tell that the service is about to end, so that from now on a wish for it starts it anew."""
        self._send("STOPPING=1")

    def _send(self, message: str, *, patience_s: float = _SEND_S) -> None:
        if not self._address or self._address[0] not in "/@":
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A manager that is busy must not hold up the work for the sake of a status.
            sender.settimeout(patience_s)
            sender.sendto(message.encode(), address)
