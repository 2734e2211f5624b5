"""The device's receipts onto the stick: each stick gets what it lacks, and nothing that lies there is ever lost by it.

A stick that holds none of the receipts gets those behind the ones that the office has acknowledged, and beside them what proves
the others. One that holds some is gone on with: what lies there stays, also if the device itself has given it up since.

Source: design, sections 5 and 7; ADR 0020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.core import acknowledged, envelope, identity as identity_form
from usbupdate.core.layout import ACKNOWLEDGED, CHECKPOINT, IDENTITY, RECEIPTS, SUMMARY
from usbupdate.device.ledger import SIZE_MAX
from usbupdate.device.logfolder import log_folder
from usbupdate.device.logmatch import continued
from usbupdate.device.summary import EVENTS_SHOWN, Situation, summarise
from usbupdate.errors import LogConflictError, LogStickFullError, MalformedError, NewerFormatError

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Receipt
    from usbupdate.device.ledger import Ledger
    from usbupdate.device.logfolder import LogFolder


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
    with log_folder(mount, identity) as log:
        log.require_only_ordinary_files()
        log.require_own_identity()
        receipts = continued(log.held(ledger), ledger)
        if len(receipts.contents) > SIZE_MAX:
            raise LogStickFullError(name=log.shown(RECEIPTS))
        log.require_earlier_state(receipts.contents)
        # What accounts for receipts that are not there comes before those that are; else they would seem to be removed.
        if receipts.lacking:
            log.save(ACKNOWLEDGED, _account_of(receipts.lacking, log.read(ACKNOWLEDGED), ledger, log))
        # Then the receipts: a checkpoint over receipts that are not there would say the same.
        log.save(RECEIPTS, receipts.contents)
        log.save(CHECKPOINT, head)
        log.save(IDENTITY, identity_form.encode(identity))
        log.save(SUMMARY, summarise(identity, _newest(ledger), situation))


def _account_of(lacking: int, found: bytes, ledger: Ledger, log: LogFolder) -> bytes:
    """Return what is to lie beside the receipts: what was found there, if that accounts for those up to number `lacking`.

    Raises:
        LogConflictError: it is about another history than this device's; it was left.
    """
    known = ledger.acknowledged()
    newest = b"" if known is None else acknowledged.encode(known)
    try:
        head = acknowledged.decode(found).checkpoint
    except MalformedError:
        return newest
    except NewerFormatError:
        # A newer agent, rolled back since, has put it there.
        return found
    origin = None if known is None else known.checkpoint.origin
    if head.origin != origin or head.size > ledger.count() or ledger.root_at(head.size) != head.root:
        raise LogConflictError(name=log.shown(ACKNOWLEDGED))
    return found if head.size >= lacking else newest


def _newest(ledger: Ledger) -> list[Receipt]:
    """Return the newest receipts that this version can read.

    A newer agent, rolled back since, may have stated what this one does not know: that goes out all the same.
    """
    newest = ledger.lines(ledger.count() - EVENTS_SHOWN + 1)
    return [receipt for receipt in map(envelope.peek_or_none, newest) if receipt is not None]
