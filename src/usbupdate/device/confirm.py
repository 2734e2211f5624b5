"""Boot confirmation when the device's memory is gone: it keeps running, installs nothing, and says so.

Source: design, section 9, "Fail closed".
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from usbupdate.core.receipt import Event
from usbupdate.core.words import ReceiptId
from usbupdate.device.agent import Agent
from usbupdate.device.obligations import problem_of
from usbupdate.device.signals import Signal
from usbupdate.device.statestore import PROVISIONED_FILE, TRIAL_FILE
from usbupdate.errors import BootLoaderError, NotReadyError, UnusableFileError, UsbupdateError

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.words import Slot
    from usbupdate.device.installer import Advance
    from usbupdate.device.machine import Machine


def awaken(machine: Machine, progress: Advance) -> Agent:
    """Return the agent of a device; one without its memory is confirmed here, and that is all that it does.

    Raises:
        NotReadyError: the state cannot be read; it is signalled, and recorded where the ledger takes it.
        BootLoaderError: the running slot is not known, or could not be confirmed.
    """
    try:
        return Agent(machine, progress)
    except NotReadyError as error:
        confirm_without_state(machine, error)
        raise
    except BootLoaderError as error:
        # Which slot runs is not known: nothing is marked and nothing is installed (design, section 9).
        machine.announcer.announce(Signal.REFUSED, f"{error} {error.hint}")
        _record(machine, Event.REFUSED, error)
        raise


def confirm_without_state(machine: Machine, problem: NotReadyError | UnusableFileError) -> None:
    """Mark the running slot good although the state cannot be worked with, and record that.

    Without this a boot loader that counts at every boot would soon have no slot left. A slot on trial is not confirmed. One
    that cannot see the state at all is left at once: nobody could ever decide its trial.

    Raises:
        BootLoaderError: the running slot is not known, or could not be confirmed.
    """
    machine.announcer.announce(Signal.REFUSED, f"{problem} {problem.hint}")
    _record(machine, Event.STATE_LOST, problem)
    slot = machine.loader.booted()
    match _trial(machine, slot):
        case _Trial.NONE:
            machine.loader.mark_good(slot)
            machine.dead_man.stand_down()
        case _Trial.BLIND:
            machine.announcer.announce(Signal.RESTARTING)
            machine.rebooter.reboot()
        case _Trial.SEEN:
            # It has its end by the dead man and its tries.
            pass


class _Trial(Enum):
    """Whether the running slot is on trial, as far as that can be told without working on the state."""

    NONE = auto()
    SEEN = auto()
    """It is or may be, and the state folder says so."""
    BLIND = auto()
    """It is, and cannot see the state folder."""


def _trial(machine: Machine, slot: Slot) -> _Trial:
    # 1. The state itself, which may be readable where it cannot be written.
    with suppress(NotReadyError):
        record = machine.store.load()
        return _Trial.NONE if record.committed.slot is slot and record.is_committed_whole else _Trial.SEEN

    # 2. The boot loader, which forgets a trial that is decided. What stands beside a state that nobody can read stays for ever.
    with suppress(BootLoaderError):
        is_on_trial = machine.loader.is_on_trial(slot)
        if is_on_trial is not None:
            is_blind = not _is_visible(machine.configuration.state_dir / PROVISIONED_FILE)
            return _Trial.NONE if not is_on_trial else _Trial.BLIND if is_blind else _Trial.SEEN

    # 3. What is left.
    is_seen = machine.may_be_on_trial or _is_visible(machine.configuration.state_dir / TRIAL_FILE)
    return _Trial.SEEN if is_seen else _Trial.NONE


def _is_visible(path: Path) -> bool:
    """Tell whether a file is there; a disk that cannot say shows nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def _record(machine: Machine, event: Event, problem: UsbupdateError) -> None:
    """Append one receipt a boot, however often the agent is started in it, where the ledger takes it."""
    with suppress(NotReadyError):
        blank = machine.drafts.blank()
        receipt = ReceiptId(hashlib.sha256(f"{event} {blank.moment.boot_id}".encode()).hexdigest()[:32])
        machine.ledger.append(replace(blank, id=receipt, event=event, problem=problem_of(problem)))
