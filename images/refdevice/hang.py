"""What a board's watchdog does where firmware or boot loader hang, before any try is counted.

The emulator does so at one restart in some two hundred, waiting for a timer that does not tick; its own watchdog is off by
then. Nothing of ours runs there yet, so what is tried and shown loses nothing by it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Final

from refdevice.machine import CONSOLE, WATCH
from refdevice.qmp import Qmp, QmpError
from refdevice.transcript import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BEFORE_US: Final = re.compile(r"^BdsDxe: |^Welcome to GRUB!|reboot: Restarting system")
_HUNG_S: Final = 150.0
"""Firmware and boot loader take some five seconds, on a busy machine half a minute."""
_LOOK_S: Final = 5.0
_TAIL: Final = 4096


@contextlib.contextmanager
def resetting_when_hung(folder: Path, tell: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
    """Reset the machine in a folder whenever it falls silent before the boot script, for as long as the block lasts.

    Args:
        folder: the machine's own; it may be switched off and on meanwhile.
        tell: is given a sentence at each reset.
    """
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(folder, tell, ended), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def has_hung(console: Path, silence_s: float) -> bool:
    """Tell whether the last whole line on a machine's screen is of its firmware or boot loader, and that for so long.

    Args:
        console: the file in which QEMU keeps what stands there.
        silence_s: how long, in seconds.
    """
    try:
        with console.open("rb") as said:
            status = os.fstat(said.fileno())
            said.seek(max(0, status.st_size - _TAIL))
            *whole, _unfinished = said.read().split(b"\n")
    except OSError:
        return False
    if time.time() - status.st_mtime < silence_s:
        return False
    lines = (CONTROL.sub("", line.decode(errors="replace")).rstrip() for line in reversed(whole))
    return _BEFORE_US.search(next(filter(None, lines), "")) is not None


def _watch(folder: Path, tell: Callable[[str], None], ended: threading.Event) -> None:
    while not ended.wait(_LOOK_S):
        if not has_hung(folder / f"{CONSOLE}.log", _HUNG_S):
            continue
        # A machine that is switched off has no connection.
        with contextlib.suppress(QmpError), Qmp(folder / WATCH) as qmp:
            qmp.ask("system_reset")
            tell("the emulator hangs before the boot script: reset")
        if ended.wait(_HUNG_S):
            return
