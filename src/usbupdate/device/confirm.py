"""Boot confirmation when the device's memory is gone: it keeps running, installs nothing, and says so.

Source: design, section 9, "Fail closed".
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from usbupdate.core.receipt import Event
from usbupdate.core.words import ReceiptId
from usbupdate.device.agent import Agent
from usbupdate.device.obligations import problem_of
from usbupdate.device.signals import Signal
from usbupdate.device.statestore import TRIAL_FILE
from usbupdate.errors import NotReadyError, UnusableFileError

if TYPE_CHECKING:
    from usbupdate.device.installer import Advance
    from usbupdate.device.machine import Machine


def awaken(machine: Machine, progress: Advance) -> Agent:
    """Return the agent of a device; one without its memory is confirmed here, and that is all that it does.

    Raises:
        NotReadyError: the state cannot be read; it is signalled, and recorded where the ledger takes it.
        BootLoaderError: and the running slot could not be confirmed.
    """
    try:
        return Agent(machine, progress)
    except NotReadyError as error:
        confirm_without_state(machine, error)
        raise


def confirm_without_state(machine: Machine, problem: NotReadyError | UnusableFileError) -> None:
    """Mark the running slot good although nothing says that it is the committed one, and record that the state is lost.

    Without this a boot loader that counts at every boot would soon have no slot left. A slot that may be on trial is not
    confirmed: it has its end by the dead man and its tries. That it may be is said by a file beside the state, or, where all of
    that is gone, by the boot loader.

    Raises:
        BootLoaderError: the running slot could not be confirmed.
    """
    machine.announcer.announce(Signal.REFUSED, f"{problem} {problem.hint}")
    blank = machine.drafts.blank()
    # One receipt a boot, however often the agent is started in it.
    receipt = ReceiptId(hashlib.sha256(f"state-lost {blank.moment.boot_id}".encode()).hexdigest()[:32])
    with suppress(NotReadyError):
        draft = replace(blank, id=receipt, event=Event.STATE_LOST, problem=problem_of(problem))
        machine.ledger.append(draft)
    if not (machine.may_be_on_trial or (machine.configuration.state_dir / TRIAL_FILE).exists()):
        machine.loader.mark_good(machine.loader.booted())
