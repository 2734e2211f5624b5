"""What a virtual machine says is kept to the last byte."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from refdevice.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, Transcript]]:
    ours, theirs = socket.socketpair()
    transcript = Transcript({"console": theirs})
    yield ours, transcript
    ours.close()
    transcript.close()


def test_what_a_machine_said_last_without_an_end_of_line_is_kept(line: tuple[socket.socket, Transcript]) -> None:
    ours, transcript = line
    ours.sendall(b"grub> ")
    ours.close()
    transcript.close()

    assert transcript.heard("grub>") == ["grub>"]
