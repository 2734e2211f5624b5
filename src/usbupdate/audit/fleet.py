"""A whole fleet in figures: what runs where, how that came about, what failed, who has fallen silent.

Verdicts are taken one by one and let go again, so that a fleet's receipts need not fit into memory; what is kept is one row a
device and a few counts. Only receipts that are proven count, against which no finding speaks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from usbupdate.audit.answers import running
from usbupdate.audit.proof import Proof, Proofs
from usbupdate.core.eventwords import when
from usbupdate.core.judgement import failed_checks
from usbupdate.core.receipt import OUTCOMES, ClockQuality, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.audit.devices import Trust
    from usbupdate.audit.verdict import Standing, Verdict
    from usbupdate.core.receipt import Receipt, Release
    from usbupdate.core.words import DeviceId

MONTHS_SHOWN: Final = 24
LEADING_VERSIONS: Final = 6
OTHERS: Final = "others"
UNKNOWN: Final = "not known"

HEARD: Final = ("within 30 days", "within 90 days", "within 180 days", "within a year", "longer ago", "never", UNKNOWN)
"""How long ago a device was heard of; the last is for devices whose clock nobody can trust."""
_DAYS: Final = (30, 90, 180, 365)
_REASONS_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device at a glance; times are as the device knew them, empty where no receipt says them."""

    device: DeviceId
    standing: Standing
    trust: Trust | None
    fingerprint: str
    release: Release | None
    bundle: str
    since: str
    since_wall: str
    heard: str
    heard_wall: str
    is_clock_sure: bool
    event: Event | None
    refused: int
    failed: int
    findings: int
    receipts: int
    unread: int


class Fleet:
    """The figures of all devices that were added."""

    def __init__(self) -> None:
        self.rows: Final[list[DeviceRow]] = []
        self.never_heard: tuple[DeviceId, ...] = ()
        self._reasons: Counter[str] = Counter()
        self._moves: Counter[tuple[str, str, int]] = Counter()
        """How many devices came to a version, or left it (-1), in a month."""
        self._newest: dict[str, Release] = {}

    def add(self, verdict: Verdict) -> None:
        """Count one device in."""
        proofs = Proofs(verdict)
        sure = [each for each in verdict.receipts if proofs.of(each.number) is not Proof.QUESTIONED]
        self.rows.append(_row(verdict, sure))
        for each in sure:
            if _is_failure(each):
                self._reasons[_reason(each)] += 1
            self._note_newest(each)
        self._follow(sure)

    @property
    def failures(self) -> list[tuple[str, int]]:
        """Why installations failed and sticks were refused, the most frequent first; the rest under `OTHERS`."""
        ranked = sorted(self._reasons.items(), key=lambda item: (-item[1], item[0]))
        rest = sum(count for _, count in ranked[_REASONS_SHOWN:])
        return ranked[:_REASONS_SHOWN] + ([(OTHERS, rest)] if rest else [])

    def is_newest(self, row: DeviceRow) -> bool | None:
        """Tell whether a device runs the newest release of its kind that any device has heard of; None if nobody can tell."""
        newest = self._newest.get(row.bundle)
        return None if row.release is None or newest is None else row.release.sequence >= newest.sequence

    def newest(self) -> dict[str, Release]:
        """Return the newest release that any device has heard of, by the name of its bundle."""
        return dict(sorted(self._newest.items()))

    def heard(self, now: datetime) -> list[tuple[str, int]]:
        """Return how many devices were last heard of how long ago."""
        counts = Counter(_bin(row, now) for row in self.rows)
        counts["never"] += len(self.never_heard)
        return [(label, counts[label]) for label in HEARD]

    def versions_over_time(self, now: datetime) -> tuple[list[str], list[tuple[str, list[int]]]]:
        """Return months up to now, oldest first, and for each version how many devices ran it at the end of each.

        A move that a device dates later than now counts in the last month.
        """
        last = now.strftime("%Y-%m")
        months = _months(min((min(month, last) for month, _, _ in self._moves), default=last), last)
        counts: dict[str, list[int]] = {}
        for (month, version, step), devices in self._moves.items():
            first = 0 if month < months[0] else months.index(min(month, last))
            series = counts.setdefault(version, [0] * len(months))
            for at in range(first, len(months)):
                series[at] += step * devices
        ranked = sorted(counts.items(), key=lambda item: ([-count for count in reversed(item[1])], item[0]))
        shown, rest = ranked[:LEADING_VERSIONS], ranked[LEADING_VERSIONS:]
        if rest:
            shown.append((OTHERS, [sum(column) for column in zip(*(series for _, series in rest), strict=True)]))
        return months, shown

    def _note_newest(self, receipt: Receipt) -> None:
        draft = receipt.draft
        if draft.bundle is None:
            return
        for release in (draft.before, draft.after):
            known = self._newest.get(draft.bundle.name)
            if release is not None and (known is None or release.sequence > known.sequence):
                self._newest[draft.bundle.name] = release

    def _follow(self, receipts: Sequence[Receipt]) -> None:
        before: str | None = None
        for each in receipts:
            release = each.draft.after
            if each.event not in {Event.COMMITTED, Event.FELL_BACK, Event.PROVISIONED} or release is None:
                continue
            month, version = each.draft.moment.wall[:7], version_shown(release)
            if before is not None:
                self._moves[month, before, -1] += 1
            self._moves[month, version, 1] += 1
            before = version


def version_shown(release: Release | None) -> str:
    """Return a release in one short word."""
    if release is None:
        return UNKNOWN
    return release.version or f"sequence {release.sequence}"


def _row(verdict: Verdict, sure: Sequence[Receipt]) -> DeviceRow:
    state = running(sure)
    last = verdict.receipts[-1] if verdict.receipts else None
    bundle = next((each.draft.bundle.name for each in reversed(sure) if each.draft.bundle is not None), "")
    return DeviceRow(
        device=verdict.device,
        standing=verdict.standing,
        trust=verdict.trust,
        fingerprint=verdict.fingerprint or "",
        release=state.release,
        bundle=bundle,
        since=when(state.since.draft.moment) if state.since else "",
        since_wall=state.since.draft.moment.wall if state.since else "",
        heard=when(last.draft.moment) if last else "",
        heard_wall=last.draft.moment.wall if last else "",
        is_clock_sure=last is not None and last.draft.moment.clock is ClockQuality.SYSTEM,
        event=last.event if last else None,
        refused=sum(each.draft.count for each in sure if each.event in {Event.REFUSED, Event.REJECTED}),
        failed=sum(1 for each in sure if each.event in OUTCOMES and each.event is not Event.COMMITTED),
        findings=len(verdict.flaws),
        receipts=len(verdict.receipts),
        unread=sum(each.count for each in verdict.unread),
    )


def _is_failure(receipt: Receipt) -> bool:
    refused = {Event.REFUSED, Event.REJECTED}
    return receipt.event in refused or (receipt.event in OUTCOMES and receipt.event is not Event.COMMITTED)


def _reason(receipt: Receipt) -> str:
    """Return why something failed, in words; "exit 1" would not say what ended with it."""
    draft = receipt.draft
    if draft.event is Event.CHECK_FAILED and (failed := failed_checks(draft.checks)):
        return f"check {failed[0].name}"
    problem = draft.problem
    reason = problem.reason if problem is not None and problem.reason else str(draft.event)
    return reason.replace("-", " ")


def _bin(row: DeviceRow, now: datetime) -> str:
    if not row.is_clock_sure:
        return UNKNOWN
    days = (now - datetime.fromisoformat(row.heard_wall)).days
    return next((label for limit, label in zip(_DAYS, HEARD, strict=False) if days <= limit), HEARD[len(_DAYS)])


def _months(first: str, last: str) -> list[str]:
    """Return the months from first to last, at most `MONTHS_SHOWN` of them, the last included."""
    year, month = map(int, last.split("-"))
    months: list[str] = []
    while len(months) < MONTHS_SHOWN:
        months.append(f"{year:04d}-{month:02d}")
        if months[-1] <= first:
            break
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return months[::-1]
