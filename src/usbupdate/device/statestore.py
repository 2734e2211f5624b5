"""The state file: read strictly, replaced whole, and never reset.

Beside it stands `trial`, for as long as a release is on trial or about to be: the dead man, which knows no Python, reboots by
force when that file outlives its limit. `waiting` stands there while an installed release waits for its restart, so that the
system knows without us whether anybody has to be asked again.

Source: design, sections 6 and 9.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import recordform
from usbupdate.core.record import Activating, Committing, DeviceRecord, Ready, Trial
from usbupdate.core.timefloor import parse_time
from usbupdate.errors import (
    MalformedError,
    NewerFormatError,
    NotProvisionedError,
    StateMissingError,
    StateUnreadableError,
    StoreFailedError,
)

if TYPE_CHECKING:
    from pathlib import Path

STATE_FILE: Final = "state.json"
TRIAL_FILE: Final = "trial"
WAITING_FILE: Final = "waiting"
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
PROVISIONED_FILE: Final = "provisioned"
"""The marker: made last by provisioning; without it the folder is no device's."""


def is_marked_trial(state_dir: Path) -> bool:
    """Tell whether a release is on trial or about to be, also without the device's lock.

    Raises:
        OSError: the state folder cannot be read.
    """
    return (state_dir / TRIAL_FILE).exists()


class StateStore:
    """The state of one device in its `state_dir`. Implements `device.ports.Store`."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._path = state_dir / STATE_FILE
        self._time_floor = _NO_TIME

    def load(self) -> DeviceRecord:
        """Return what is saved.

        Raises:
            NotProvisionedError: this was never a device's state folder.
            StateMissingError: it was, and the state is gone.
            StateUnreadableError: it is there, and not to be believed.
        """
        marker = self.state_dir / PROVISIONED_FILE
        try:
            if not marker.exists():
                raise NotProvisionedError(path=str(marker))
            raw = plainfile.read(self._path, recordform.STATE_SIZE_MAX + 1)
        except FileNotFoundError as error:
            raise StateMissingError(path=str(self._path)) from error
        except OSError as error:
            raise StateUnreadableError(path=str(self._path), problem=f"{error.strerror or type(error).__name__}.") from error
        try:
            record = recordform.decode(raw)
            self._time_floor = parse_time(record.time_floor)
        except (MalformedError, NewerFormatError, ValueError) as error:
            raise StateUnreadableError(path=str(self._path), problem=str(error)) from error
        return record

    def time_floor(self) -> datetime:
        """Return the time floor of what was last loaded or saved; the beginning of Unix time when nothing was."""
        return self._time_floor

    def save(self, record: DeviceRecord) -> None:
        """Replace the record durably and in one step; see `device.ports.Store`.

        Raises:
            StoreFailedError: what was saved before is still there, or the record is and may be lost by a cut. Which of them a
                later `load` finds is as if the power had gone: nothing may be done before it is asked.
        """
        raw = recordform.encode(record)
        try:
            # Saved unread, one slip anywhere would leave a device that can neither update nor say why.
            recordform.decode(raw)
        except MalformedError as error:
            raise StoreFailedError(path=str(self._path), problem=f"{error.field}: {error.problem}") from error
        marks = {
            self.state_dir / TRIAL_FILE: isinstance(record.state, Activating | Trial | Committing),
            self.state_dir / WAITING_FILE: isinstance(record.state, Ready),
        }
        try:
            # Before the state and after it: a trial without its dead man must not exist, nor a wait that nobody ends.
            for mark, is_due in marks.items():
                if is_due and not mark.exists():
                    durable.save(mark, b"", mode=durable.PRIVATE)
            durable.save(self._path, raw, mode=durable.PRIVATE)
            self._time_floor = parse_time(record.time_floor)
            for mark, is_due in marks.items():
                if not is_due:
                    durable.remove(mark)
        except OSError as error:
            raise StoreFailedError(path=str(self._path), problem=error.strerror or "it cannot be written") from error
