"""The device on a person's terminal: what to type elsewhere to plug a stick in or pull the power cord, and what it says.

QEMU has the terminal meanwhile. One that was killed, which is what a power cut is, does not give it back as it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import termios
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from refdevice.called import called
from refdevice.journal import IS_UP, LAST, SAID, signal_in
from refdevice.kept import KeptError
from refdevice.machine import Hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refdevice.kept import KeptDevice


def keep_on(device: KeptDevice, example: Path) -> None:
    """Switch a device on, and on again after each power cut, until the person leaves it off.

    Args:
        device: the device.
        example: the stick that the instructions name.

    Raises:
        KeptError: it cannot be switched on.
    """
    device.require_startable()
    say(f"{_hands(device, example)}\nThese lines come again when the device is up, in about half a minute.\n")
    while True:
        with _terminal_kept():
            machine = device.start(Hold.TERMINAL)
            threading.Thread(target=_relay, args=(device, example), daemon=True).start()
            code = machine.wait()
        if code == 0:
            say(f"\nThe device is switched off. Its disk keeps all that it had: {called('start', device.folder)}")
            return
        say("\nThe power was cut. Enter switches the device on again, Ctrl-C leaves it off.")
        if not sys.stdin.readline():
            return


def say(text: str) -> None:
    """Tell the person something, at once."""
    print(text, flush=True)  # noqa: T201 - this is the command line


def _hands(device: KeptDevice, example: Path) -> str:
    def line(words: str, does: str) -> str:
        return f"  {called(words, device.folder)}   {does}"

    return "\n".join(
        [
            "This is the device's own screen and keyboard. From a second terminal, in this folder:",
            line(f"plug {example}", "plugs a stick in"),
            line("pull", "pulls it out"),
            line("status", "shows what the device says"),
            line("power-cut", "pulls the power cord"),
            "Ctrl-A, then X, switches it off for good.",
        ]
    )


def _relay(device: KeptDevice, example: Path) -> None:
    """Show on this terminal what the device tells the person in front of it, as its light or its screen would."""
    with contextlib.suppress(KeptError):
        for line in device.follow(0, limit_s=None):
            if IS_UP.search(line):
                # The firmware and the boot loader have wiped what stood here.
                _put(f"{_hands(device, example)}\nThe device is up. Enter brings its prompt.")
            elif (said := SAID.search(line)) is not None:
                _put(f"usbupdate says: {said['text']}")
                if signal_in(said["text"]) in LAST and (stick := device.stick()) is not None:
                    _put(_way_home(device, stick))


def _way_home(device: KeptDevice, stick: Path) -> str:
    here = Path.cwd()
    near = stick.relative_to(here) if stick.is_relative_to(here) else stick
    unstick = called(f"unstick {near} {near.with_name('vm-returned')}")
    return f"What it wrote onto the stick ('The proof' in docs/tutorial.md): {called('pull', device.folder)} && {unstick}"


def _put(text: str) -> None:
    """Write into a terminal that QEMU has: there a line feed only goes down."""
    lines = "".join(f"\r\n  {line}" for line in text.splitlines())
    print(f"{lines}\r\n", end="", flush=True)  # noqa: T201 - this is the command line


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Give the terminal back as it was: its settings, and whether reading it waits."""
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    streams = [each.fileno() for each in (sys.stdin, sys.stdout, sys.stderr)]
    flags = [fcntl.fcntl(each, fcntl.F_GETFL) for each in streams]
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)
        for stream, flag in zip(streams, flags, strict=True):
            fcntl.fcntl(stream, fcntl.F_SETFL, flag)
