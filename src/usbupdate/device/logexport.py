"""The device's receipts onto the stick: each stick gets what it lacks, and nothing that lies there is ever lost by it.

Source: design, section 5.
"""

from __future__ import annotations

from collections import deque
from io import BytesIO
from typing import TYPE_CHECKING

from usbupdate.core import envelope, identity as identity_form
from usbupdate.core.layout import CHECKPOINT, IDENTITY, RECEIPTS, SUMMARY
from usbupdate.device.logfolder import log_folder
from usbupdate.device.summary import EVENTS_SHOWN, Situation, summarise

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Receipt
    from usbupdate.device.ledger import Ledger


def export_log(mount: Path, identity: Identity, ledger: Ledger, situation: Situation) -> None:
    """Bring what the stick holds of this device up to the ledger's present state.

    Every stick-side problem is a `MediumError`: the ledger stays the truth, and no outcome of an update depends on this.

    Args:
        mount: the stick, mounted for writing.
        identity: who the device is.
        ledger: its receipts.
        situation: for `summary.txt`.

    Raises:
        NoPlaceForLogsError: the stick has no `usbupdate/`; nothing was written.
        LogFolderHostileError: something other than ordinary files and folders lies there; it was left.
        LogConflictError: receipts lie there that are not an earlier state of these; they were left.
        StickReadOnlyError, LogStickFullError, LogStickError, LogNotKeptError: the stick did not take or keep them.
        NotReadyError: the device's own receipts or key cannot be used.
    """
    head = ledger.checkpoint()
    receipts, newest = _contents(ledger)
    with log_folder(mount, identity) as log:
        log.require_only_ordinary_files()
        log.require_own_identity()
        # Receipts first: a checkpoint over receipts that are not there would say that some were removed.
        log.require_earlier_state(receipts)
        log.save(RECEIPTS, receipts)
        log.save(CHECKPOINT, head)
        log.save(IDENTITY, identity_form.encode(identity))
        log.save(SUMMARY, summarise(identity, newest, situation))


def _contents(ledger: Ledger) -> tuple[bytes, list[Receipt]]:
    """Return what `receipts.jsonl` is to hold, and the newest receipts that this version can read.

    A newer agent, rolled back since, may have stated what this one does not know: that goes out all the same.
    """
    newest: deque[bytes] = deque(maxlen=EVENTS_SHOWN)
    contents = BytesIO()
    for line in ledger.lines():
        contents.write(line + b"\n")
        newest.append(line)
    return contents.getvalue(), [receipt for receipt in map(envelope.peek_or_none, newest) if receipt is not None]
