"""Boot confirmation when the device's memory is gone: it keeps running, installs nothing, and says so.

Source: design, section 9, "Fail closed".
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from usbupdate.core.receipt import Event, Problem
from usbupdate.core.words import ReceiptId
from usbupdate.device.statestore import TRIAL_FILE
from usbupdate.errors import LedgerError, NotReadyError

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.device.obligations import Drafts
    from usbupdate.device.ports import BootLoader, Ledger


def confirm_without_state(state_dir: Path, loader: BootLoader, ledger: Ledger, drafts: Drafts, problem: NotReadyError) -> None:
    """Mark the running slot good although nothing says that it is the committed one, and record that the state is lost.

    Without this a boot loader that counts at every boot would soon have no slot left. A slot that may be on trial is not
    confirmed: it has its end by the dead man and its tries.

    Raises:
        BootLoaderError: the slot could not be marked.
    """
    if not (state_dir / TRIAL_FILE).exists():
        loader.mark_good(loader.booted())
    blank = drafts.blank()
    # One receipt a boot, however often the agent is started in it.
    receipt = ReceiptId(hashlib.sha256(f"state-lost {blank.moment.boot_id}".encode()).hexdigest()[:32])
    with suppress(LedgerError, NotReadyError):
        ledger.append(replace(blank, id=receipt, event=Event.STATE_LOST, problem=Problem(problem.reason, str(problem))))
