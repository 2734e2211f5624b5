"""`usbupdate device insert`: what udev starts for each stick, by a path without what only the office's commands need.

They took a fifth of the memory of an insertion, on devices that have little.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.cli.joining import agent_of, announcer_of
from usbupdate.cli.progress import InstallProgress
from usbupdate.cli.reporting import run_plainly
from usbupdate.device.answering import is_answered_beside
from usbupdate.device.clock import LinuxClock
from usbupdate.device.configuration import DEFAULT_PATH, load_configuration
from usbupdate.device.media import connected_ms
from usbupdate.device.notify import Notifier
from usbupdate.device.replug import take_each_plugging
from usbupdate.device.signals import Signal
from usbupdate.device.statestore import is_marked_trial
from usbupdate.errors import UsbupdateError

if TYPE_CHECKING:
    from usbupdate.core.policy import Insertion
    from usbupdate.device.obligations import Rest

UNATTENDED: Final = "unattended"
_OTHERS_FIRST: Final = "Another stick or command comes first."
_TRIAL_FIRST: Final = "The new release is checked first."


def run() -> int:
    """Look at a stick, do what it is for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="usbupdate device insert", allow_abbrev=False)
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH)
    given = parser.parse_args(sys.argv[3:])
    return run_plainly(lambda: insert(given.source, given.config))


def insert(source: Path, config: Path) -> None:
    """Do what `usbupdate device insert` is for.

    Raises:
        UsbupdateError: why nothing was installed; signalled and recorded already.
    """
    notifier = Notifier.of_environment()
    notifier.ready()
    try:
        if is_answered_beside(source, filesystems(config)):
            return
        take_each_plugging(source, lambda insertion: take(source, config, insertion, UNATTENDED))
    finally:
        notifier.stopping()


def take(source: Path, config: Path, insertion: Insertion, operator: str) -> Rest:
    """Let the agent take a stick as soon as it may, and return how it rests then.

    Raises:
        UsbupdateError: why nothing was installed; signalled and recorded already.
    """
    waited_for = ""

    def wait() -> None:
        nonlocal waited_for
        waited_for = _OTHERS_FIRST
        with suppress(OSError):
            if is_marked_trial(load_configuration(config).state_dir):
                waited_for = _TRIAL_FIRST
        announcer_of(config).announce(Signal.BUSY, waited_for)

    tell = Notifier.of_environment().status
    with InstallProgress(tell) as progress, agent_of(config, operator, progress, wait) as agent:
        agent.start()
        if waited_for and _is_gone(source):
            # Pulled while it waited. What was said of the other one since then stands; but "busy" would stand for ever.
            agent.announce()
            announcer = announcer_of(config)
            if announcer.shows(Signal.BUSY, waited_for):
                announcer.announce(Signal.REFUSED, "The stick was removed before its turn. Put it in again.")
            return agent.rest
        return agent.take(source, insertion, connected_ms(source, LinuxClock()))


def _is_gone(source: Path) -> bool:
    """Tell whether there is no stick any more; one that only fails when it is looked at gets its answer from the agent."""
    try:
        return not source.exists()
    except OSError:
        return False


def filesystems(config: Path) -> tuple[str, ...]:
    """Return the file systems that are read; none where nobody says, and then a stick is told why by its first part."""
    with suppress(UsbupdateError):
        return load_configuration(config).filesystems
    return ()
