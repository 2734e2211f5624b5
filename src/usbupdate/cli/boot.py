"""`usbupdate device boot`: what the boot unit runs at every start, by a path that imports as little as can be.

Source: design, sections 6 and 8.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from usbupdate.cli.joining import agent_of
from usbupdate.cli.outcome import require_kept
from usbupdate.cli.reporting import run_plainly
from usbupdate.device.configuration import DEFAULT_PATH
from usbupdate.device.notify import Notifier


def run() -> int:
    """Confirm the boot, do what is owed, and return the exit code."""
    parser = argparse.ArgumentParser(prog="usbupdate device boot")
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH)
    configuration_path = parser.parse_args(sys.argv[3:]).config
    return run_plainly(lambda: boot(configuration_path))


def boot(configuration_path: Path) -> None:
    """Do what `usbupdate device boot` is for.

    Raises:
        UsbupdateError: what keeps the device from taking updates, or that a release was given up.
    """
    # Sticks and other services wait for the confirmation of the boot, not for the end of a trial.
    with agent_of(configuration_path) as agent:
        agent.start(Notifier.of_environment().ready)
        agent.announce()
        require_kept(agent.told)
