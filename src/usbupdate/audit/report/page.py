"""Puts the page together: what is known is counted in `fleet` and told in `details`; here it gets its words and its frame.

The page must be safe with anything that a log brings. Text goes through the template's escaping or into JSON data in which no
markup can begin. The policy in its head lets no script run but the one that is named by its digest, and no request leave.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from importlib import metadata, resources
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from usbupdate.audit.devices import Trust
from usbupdate.audit.fleet import Fleet, version_shown
from usbupdate.audit.proof import LABELS
from usbupdate.audit.report import charts
from usbupdate.audit.report.details import Details, legend
from usbupdate.audit.verdict import Standing
from usbupdate.core.plaintext import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from usbupdate.audit.fleet import DeviceRow
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.strictjson import Json
    from usbupdate.core.words import DeviceId

_COLUMNS: Final = (
    "Device", "Evidence", "Runs", "Newest", "Since", "Last receipt", "Last event", "Refused", "Failed", "Findings",
)  # fmt: skip
_FIRST_USE: Final = "first-use"
_GRADES: Final[Mapping[str, tuple[str, str]]] = {
    Standing.BROKEN: ("not in order", "something was changed, taken away or added; see what was found"),
    Standing.INCOMPLETE: (
        "incomplete",
        "it looks as if a stick was pulled too early; the next stick brings what may be missing",
    ),
    Standing.NOT_ENROLLED: (
        "key not vouched for",
        "consistent in itself, but nobody has said that this key is the device's",
    ),
    _FIRST_USE: (
        "in order, key not compared",
        "signatures, order, completeness and checkpoint agree; the key was taken on first use, nobody has compared it",
    ),
    Standing.OK: (
        "in order",
        "signatures, order, completeness and checkpoint agree, and somebody compared the key with the device's",
    ),
}
"""What a device's evidence is worth in one word, the gravest first, and what that means."""
_NAMED_MAX: Final = 5
_TEXT_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: str
    mark: str
    headline: str
    devices: Sequence[DeviceId]
    explained: str

    @property
    def named(self) -> Sequence[DeviceId]:
        """The first of the devices."""
        return self.devices[:_NAMED_MAX]


@dataclass(frozen=True, slots=True)
class _Tile:
    label: str
    figure: str
    meaning: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class _Chart:
    title: str
    explained: str
    kind: str
    drawing: Markup
    key: Sequence[str]
    head: Sequence[str]
    rows: Sequence[Sequence[str | int]]


def page(
    verdicts: Iterable[Verdict], enrolled: Iterable[DeviceId], places: Sequence[str], now: datetime, *, is_of_store: bool
) -> bytes:
    """Return the report; the same for the same arguments.

    Args:
        verdicts: taken one by one.
        enrolled: all devices that the auditor knows; those without a verdict are named.
        places: where the logs were read, as a person reads it.
        now: when the report is made, in UTC.
        is_of_store: whether the logs in the store were read, besides those in the places.
    """
    fleet, details = Fleet(), Details()
    for verdict in verdicts:
        fleet.add(verdict)
        details.add(verdict)
    there = {row.device for row in fleet.rows}
    fleet.never_heard = tuple(device for device in enrolled if device not in there)
    style, script = _asset("report.css"), _asset("report.js")
    environment = Environment(
        autoescape=True, loader=FunctionLoader(_asset), undefined=StrictUndefined, keep_trailing_newline=True
    )
    text = environment.get_template("page.html").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - it is ours
        script=Markup(script),  # noqa: S704 - the same
        made=now.strftime("%Y-%m-%d %H:%M UTC"),
        version=metadata.version("usbupdate"),
        places=[one_line(place, _TEXT_MAX) for place in places],
        origin=" and ".join([counted(len(places), "place")] * bool(places) + ["the store"] * is_of_store),
        is_of_store=is_of_store,
        outcome=_outcome(fleet),
        tiles=list(_tiles(fleet)),
        grades=[(str(grade), label) for grade, (label, _) in _GRADES.items()],
        columns=_COLUMNS,
        charts=list(_charts(fleet, now)),
        never_heard=fleet.never_heard,
        legend=legend(),
        data=_in_script(json.dumps(_data(fleet, details), separators=(",", ":"))),
        documents=map(_in_script, details.documents()),
    )
    return text.encode()


def _asset(name: str) -> str:
    return (resources.files("usbupdate.audit.report") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def named(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"

    return f"default-src 'none'; script-src {named(script)}; style-src {named(style)}; base-uri 'none'; form-action 'none'"


def _in_script(document: str) -> Markup:
    """Return JSON that can stand in a script element: it holds no character with which markup begins or ends."""
    for character in "<>&":
        document = document.replace(character, f"\\u{ord(character):04x}")
    return Markup(document)  # noqa: S704 - the line above


def _data(fleet: Fleet, details: Details) -> dict[str, Json]:
    return {
        "rows": [_row(row, fleet) for row in fleet.rows],
        "strings": list(details.strings()),
        "grades": {str(grade): label for grade, (label, _) in _GRADES.items()},
        "meanings": {str(grade): meaning for grade, (_, meaning) in _GRADES.items()},
        "proofs": {str(each): words for each, words in LABELS.items()},
    }


def _row(row: DeviceRow, fleet: Fleet) -> Json:
    grade, release, is_newest = _grade(row), row.release, fleet.is_newest(row)
    return {
        "device": row.device,
        "grade": grade,
        "rank": list(_GRADES).index(grade),
        "fingerprint": row.fingerprint,
        "version": version_shown(release),
        "order": -1 if release is None else release.sequence,
        "newest": "" if is_newest is None else "yes" if is_newest else "no",
        "since": row.since,
        "sinceWall": row.since_wall,
        "heard": row.heard,
        "heardWall": row.heard_wall,
        "event": str(row.event or ""),
        "refused": row.refused,
        "failed": row.failed,
        "findings": row.findings,
    }


def _grade(row: DeviceRow) -> str:
    is_taken_on_first_use = row.standing is Standing.OK and row.trust is not Trust.FINGERPRINT
    return _FIRST_USE if is_taken_on_first_use else str(row.standing)


def _outcome(fleet: Fleet) -> _Outcome:
    def those(standing: Standing) -> list[DeviceId]:
        return [row.device for row in fleet.rows if row.standing is standing]

    if broken := those(Standing.BROKEN):
        return _Outcome("bad", "\N{BALLOT X}", "Not in order:", broken, "What was found stands on the pages of these devices.")
    if cut := those(Standing.INCOMPLETE):
        return _Outcome("attention", "!", "Incomplete:", cut, "The next stick brings what may be missing.")
    if unknown := those(Standing.NOT_ENROLLED):
        text = "All logs are consistent, but nobody has said that these keys are the devices'."
        return _Outcome("attention", "!", "Keys not vouched for:", unknown, text)
    text = "Nothing was changed, taken away or added, and every key is enrolled."
    return _Outcome("good", "\N{CHECK MARK}", "Every log that is here is in order.", [], text)


def _tiles(fleet: Fleet) -> Iterator[_Tile]:
    count = Counter(row.standing for row in fleet.rows)
    attention = count[Standing.BROKEN] + count[Standing.INCOMPLETE]
    unread = sum(row.unread for row in fleet.rows)
    meaning = f"{sum(row.receipts for row in fleet.rows)} signed receipts" + (f"; {unread} more are not here" if unread else "")
    yield _Tile("Devices heard from", str(len(fleet.rows)), meaning)
    compared = sum(row.standing is Standing.OK and row.trust is Trust.FINGERPRINT for row in fleet.rows)
    yield _Tile("In order", str(count[Standing.OK]), f"the key's fingerprint was compared for {compared} of them", "good")
    yield _Tile("To look into", str(attention), "changed or incomplete logs", "bad" if attention else "")
    unknown = count[Standing.NOT_ENROLLED]
    yield _Tile("Keys not vouched for", str(unknown), "to be enrolled", "attention" if unknown else "")
    silent = len(fleet.never_heard)
    yield _Tile("No log here", str(silent), "enrolled devices", "attention" if silent else "")
    known = [newest for row in fleet.rows if (newest := fleet.is_newest(row)) is not None]
    share = f"{100 * sum(known) // len(known)} %" if known else "unknown"
    names = ", ".join(version_shown(release) for release in list(fleet.newest().values())[:_NAMED_MAX])
    yield _Tile(
        "On the newest release", share, f"{sum(known)} of {len(known)} devices: {names}" if known else "no release is known"
    )


def _charts(fleet: Fleet, now: datetime) -> Iterator[_Chart]:
    title, (months, series) = "Versions over time", fleet.versions_over_time(now)
    labels = [label for label, _ in series]
    if series:
        explained = "How many devices ran which version at the end of each month, by the devices' own clocks."
        drawing = charts.stacked(f"{title}; the figures stand in the table below", months, series)
        rows: list[tuple[str | int, ...]] = [(month, *(counts[at] for _, counts in series)) for at, month in enumerate(months)]
        yield _Chart(title, explained, "stacked", drawing, labels, ("Month", *labels), rows)
    else:
        yield _Chart(title, "No receipt says what ran when.", "stacked", Markup(), (), (), ())
    heard = fleet.heard(now)
    yield _bars("Last heard from", "How long ago the newest receipt of each device is.", ("Last receipt", "Devices"), heard)
    failures = [(one_line(reason, _TEXT_MAX), count) for reason, count in fleet.failures]
    explained = "Receipts by their reason." if failures else "Nothing failed and nothing was refused."
    if any(row.unread for row in fleet.rows):
        explained = f"{explained[:-1]}, among the receipts that are here: those of some devices are not."
    yield _bars("What failed or was refused, and why", explained, ("Reason", "Receipts"), failures)


def _bars(title: str, explained: str, head: tuple[str, str], counts: Sequence[tuple[str, int]]) -> _Chart:
    drawing = charts.bars(f"{title}; the figures stand in the table below", counts) if counts else Markup()
    return _Chart(title, explained, "bars", drawing, (), head, counts)
