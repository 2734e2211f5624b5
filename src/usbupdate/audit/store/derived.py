"""Making the table to ask by anew, from the lines: after a change of its columns, or of what somebody wrote into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from usbupdate.audit.store.claims import claims_of
from usbupdate.audit.store.database import add
from usbupdate.audit.store.importing import receipt_rows
from usbupdate.audit.store.schema import LINES, RECEIPTS

if TYPE_CHECKING:
    from usbupdate.audit.store.database import Store

_LINES_AT_ONCE: Final = 5000


def rebuild(store: Store) -> int:
    """Make the table of what receipts claim anew, and return how many it holds; a cut leaves the old one.

    Raises:
        EvidenceStoreError: the database failed.
    """
    made = 0
    last = b""
    with store.writing() as connection:
        RECEIPTS.drop(connection)
        RECEIPTS.create(connection)
        some = select(LINES.c.digest, LINES.c.line).order_by(LINES.c.digest).limit(_LINES_AT_ONCE)
        while lines := connection.execute(some.where(LINES.c.digest > last)).all():
            made += add(connection, RECEIPTS, receipt_rows({digest: claims_of(line) for digest, line in lines}))
            last = lines[-1][0]
    return made
