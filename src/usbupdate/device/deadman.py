"""Tells the dead man that this boot is no trial, or no longer: a word that does not outlive the boot and needs no state.

The file `trial` in the state folder says that a trial may be under way. Where the state can be saved no
more it stays, and would let the dead man restart a sound machine for ever.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from usbupdate import durable

NO_TRIAL: Final = Path("/run/usbupdate/no-trial")
"""The dead men's units look for it."""


class SystemDeadMan:
    """The timer that restarts a trial by force. Implements `device.ports.DeadMan`."""

    def __init__(self, no_trial: Path = NO_TRIAL) -> None:
        """Take where it is told; another place only in tests."""
        self._no_trial = no_trial

    def stand_down(self) -> None:
        """Let nothing restart this boot by force any more; see `device.ports.DeadMan`."""
        # Where not even this can be written, the machine is restarted once more; that it was confirmed is what counts.
        with suppress(OSError):
            if not self._no_trial.exists():
                durable.make_directory(self._no_trial.parent)
                durable.save(self._no_trial, b"")


class NoDeadMan:
    """For a device that has none. Implements `device.ports.DeadMan`."""

    def stand_down(self) -> None:
        """Do nothing."""
