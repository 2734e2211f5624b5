"""A virtual machine that falls silent where no code of ours runs yet is told from one that works."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from refdevice.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

HUNG = "^Welcome to GRUB!"


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, Transcript]]:
    ours, theirs = socket.socketpair()
    transcript = Transcript({"console": theirs})
    yield ours, transcript
    ours.close()
    transcript.close()


def test_silence_after_the_mark_is_told(line: tuple[socket.socket, Transcript]) -> None:
    ours, transcript = line
    ours.sendall(b"before\nWelcome to GRUB!\n")

    assert transcript.await_silence(HUNG, 0.05, channel="console")
    transcript.note("console", "reset")
    assert transcript.heard("reset") == ["reset"]


def test_a_machine_that_goes_on_is_no_silent_one(line: tuple[socket.socket, Transcript]) -> None:
    ours, transcript = line
    ours.sendall(b"Welcome to GRUB!\nusbupdate: booting slot A\n")
    transcript.expect("booting slot A", limit_s=10)
    ours.close()

    assert not transcript.await_silence(HUNG, 0.0, channel="console")


def test_what_a_machine_said_last_without_an_end_of_line_is_kept(line: tuple[socket.socket, Transcript]) -> None:
    ours, transcript = line
    ours.sendall(b"grub> ")
    ours.close()
    transcript.close()

    assert transcript.heard("grub>") == ["grub>"]
