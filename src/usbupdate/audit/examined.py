"""What one copy of one device's log has come to, while it is examined and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from usbupdate.audit.depth import Checked
from usbupdate.audit.findings import Finding, Flaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.core.checkpoint import Checkpoint
    from usbupdate.core.identity import Identity
    from usbupdate.core.receipt import Receipt
    from usbupdate.core.words import DeviceId


class ProvenReceipt(NamedTuple):
    """A receipt that this device signed, the line it stands in, and the leaf hash of that."""

    receipt: Receipt
    line: bytes
    leaf: bytes


@dataclass(slots=True)
class Examined:
    """What one copy proves.

    Attributes:
        device: whose log it claims to be.
        source: where it lies.
        identity: by which key it was judged.
        proven: what was read, by receipt number; nothing where the lines were looked at as a whole only.
        damaged: the numbers of lines that prove nothing.
        sealed: the leaf hashes of the first lines, as far as the signed checkpoint states the root over them.
        before: the leaf hashes of the first receipts, known from elsewhere, where the copy need not hold these.
        lacking: so many of these are not in the copy, where its lines were looked at as a whole.
        accounted: up to this number the copy may lack receipts.
        stated: the signed checkpoint, if it was looked at after the lines.
        head: the signed checkpoint, if nothing before its end is missing.
        checked: what was looked at.
        findings: all flaws.
    """

    device: DeviceId
    source: str
    identity: Identity | None = None
    proven: dict[int, ProvenReceipt] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    sealed: tuple[bytes, ...] = ()
    before: tuple[bytes, ...] = ()
    lacking: int = 0
    accounted: int = 0
    stated: Checkpoint | None = None
    head: Checkpoint | None = None
    checked: Checked = field(default_factory=Checked)
    findings: list[Finding] = field(default_factory=list)
    _leaves: tuple[bytes, ...] | None = None

    def add(
        self, flaw: Flaw, receipt: int | None = None, *, until: int | None = None, line: int | None = None, detail: str = ""
    ) -> None:
        """Note a flaw."""
        self.findings.append(Finding(self.device, flaw, self.source, receipt, until, line, detail))

    def last_number(self) -> int:
        """Return the highest number that a line of this copy bears, or up to which it need not hold any."""
        return max((*self.proven, *self.damaged, self.accounted))

    def leaves(self) -> tuple[bytes, ...]:
        """Return the leaf hashes of the receipts from 1 up to the first that is not proven; asked for when all are read."""
        if self._leaves is None:
            self._leaves = tuple(self._leaves_read()) if self.proven or self.damaged or not self.sealed else self.sealed
        return self._leaves

    def by_number(self) -> Iterable[tuple[int, bytes]]:
        """Return the number and the leaf hash of each proven receipt, by number."""
        if self.proven or self.damaged:
            return ((number, each.leaf) for number, each in sorted(self.proven.items()))
        return enumerate(self.sealed, 1)

    def _leaves_read(self) -> Iterator[bytes]:
        number = 1
        while (each := self.proven.get(number)) is not None or number <= len(self.before):
            yield self.before[number - 1] if each is None else each.leaf
            number += 1
