"""Unix sockets between a machine and whoever talks to it."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def connected(path: Path) -> socket.socket:
    """Return a connection to a socket of a machine.

    Raises:
        OSError: there is none, or nobody behind it.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


def listening(path: Path) -> socket.socket:
    """Return a socket that is ready to be connected to, in place of whatever stood under its name."""
    # Made here and handed over, so that it can be connected to before QEMU has looked at it.
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as name:
        made.bind(name)
    made.listen(1)
    return made


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give another name of a socket: no more than about a hundred bytes can be named."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
