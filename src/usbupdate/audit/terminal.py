"""What `audit show` prints: the fleet as a table, or one device with its answers and its timeline.

Plain text without colours. On a terminal it fits the width: columns that do not fit are left out, the least important first,
and long lines go on below. Elsewhere nothing is cut or broken, so that other programs can read it.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from usbupdate.audit import wording
from usbupdate.audit.answers import answers
from usbupdate.audit.fleet import Fleet, version_shown
from usbupdate.audit.proof import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from usbupdate.audit.fleet import DeviceRow
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.strictjson import Json

TOLD_IN_FULL: Final = 3
"""So many devices are told with all that they did; of more the table comes first."""

_HEAD: Final = ("Device", "Evidence", "Runs", "Last event", "Last receipt", "Since", "Findings")
_GAP: Final = "  "
_INDENT: Final = " " * 6
_WIDTH_MIN: Final = 20


def shown(verdicts: Iterable[Verdict], width: int | None) -> Iterator[str]:
    """Yield what a person reads.

    Args:
        verdicts: the devices, by id; each is let go again, so that a fleet's receipts need not fit into memory.
        width: of the terminal in characters; nothing if it is none.
    """
    coming = iter(verdicts)
    first = list(islice(coming, TOLD_IN_FULL + 1))
    lines = _devices(first) if len(first) <= TOLD_IN_FULL else _fleet(chain(first, coming), width)
    for line in lines:
        yield from _fitted(line, width)


def device_table(verdict: Verdict) -> dict[str, Json]:
    """Return one device's timeline and the five answers as a JSON object."""
    told: list[Json] = [
        {"question": each.question, "answer": each.text, "proof": str(each.proof), "receipt": each.receipt}
        for each in answers(verdict)
    ]
    return {**wording.timeline_table(verdict), "answers": told}


def _devices(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        head, *events = wording.timelines([verdict])
        yield head
        for each in answers(verdict):
            yield f"  {each.question} {each.text} [{LABELS[each.proof]}]"
        yield from events


def _fleet(verdicts: Iterable[Verdict], width: int | None) -> Iterator[str]:
    fleet, found = Fleet(), []
    for verdict in verdicts:
        fleet.add(verdict)
        found += [f"  {finding.sentence()}" for finding in verdict.findings]
    counts = Counter(row.standing for row in fleet.rows)
    yield f"{len(fleet.rows)} devices: {', '.join(f'{count} {standing}' for standing, count in sorted(counts.items()))}"
    rows = [_HEAD, *(_cells(row) for row in fleet.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    count = _columns_that_fit(widths, width)
    for row in rows:
        yield _GAP.join(cell.ljust(each) for cell, each in zip(row[:count], widths, strict=False)).rstrip()
    yield from found
    yield "What one of them did: --device ID"


def _cells(row: DeviceRow) -> tuple[str, ...]:
    standing = str(row.standing).upper() if row.findings else str(row.standing)
    return (
        row.device, standing, version_shown(row.release), str(row.event or ""), row.heard, row.since, str(row.findings or ""),
    )  # fmt: skip


def _columns_that_fit(widths: Sequence[int], width: int | None) -> int:
    if width is None:
        return len(widths)
    count = len(widths)
    # What a device is called and what its evidence is worth is always told.
    while count > 2 and sum(widths[:count]) + len(_GAP) * (count - 1) > width:  # noqa: PLR2004 - the line above
        count -= 1
    return count


def _fitted(line: str, width: int | None) -> Iterator[str]:
    if width is None or len(line) <= max(width, _WIDTH_MIN):
        yield line
        return
    start = line[: len(line) - len(line.lstrip())]
    yield from textwrap.wrap(
        line, max(width, _WIDTH_MIN), subsequent_indent=start + _INDENT, break_on_hyphens=False, drop_whitespace=True
    )
