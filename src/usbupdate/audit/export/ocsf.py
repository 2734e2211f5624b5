"""The Open Cybersecurity Schema Framework: a receipt is an *Application Lifecycle* event, a finding a *Detection Finding*.

What the schema has no field for stands under `unmapped` by the names of our records.

Source: schema.ocsf.io, version 1.8.0; the tests hold each line against it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from usbupdate.audit.export.records import FINDING, RECEIPT
from usbupdate.audit.export.weight import SUCCESSES, milliseconds, weight_of
from usbupdate.core.receipt import OUTCOMES, REFUSALS, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from usbupdate.audit.export.records import Record
    from usbupdate.core.strictjson import Json

VERSION: Final = "1.8.0"

_APPLICATION, _LIFECYCLE = 6, 6002
_FINDINGS, _DETECTION = 2, 2004
_INSTALL, _UPDATE, _OTHER, _CREATE = 1, 8, 99, 1
_SUCCESS, _FAILURE, _NEW = 1, 2, 1
_IOT: Final = 7
_SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}

_UPDATES: Final = OUTCOMES | REFUSALS
_UNMAPPED: Final = (
    "standing", "trust", "fingerprint", "proof", "clock", "boot_id", "monotonic_ms", "from_version", "from_sequence",
    "to_sequence", "manifest_sha256", "root_version", "timestamp_version", "signers", "operator", "duration_ms", "resumed",
    "count", "failed_checks", "authorisation", "ticket", "usb_id", "serial", "filesystem_uuid", "label", "until", "line",
    "source",
)  # fmt: skip


def ocsf_lines(records: Iterable[Record], program: str, now: datetime) -> Iterator[str]:
    """Yield one event in one line of JSON for each record.

    Args:
        records: what is exported.
        program: our version.
        now: when that is, in UTC: the time of a finding, which has none of its own.
    """
    at = int(now.timestamp()) * 1000
    for record in records:
        event = _lifecycle(record, program) if record["kind"] == RECEIPT else _detection(record, program, at)
        yield json.dumps(event, separators=(",", ":")) + "\n"


def _common(record: Record, program: str) -> dict[str, Json]:
    weight = weight_of(record)
    profiles: list[Json] = ["host"]
    return {
        "severity_id": weight,
        "severity": _SEVERITIES[weight],
        "device": {"type_id": _IOT, "type": "IOT", "uid": record["device"], "name": record["device"]},
        "metadata": {
            "version": VERSION,
            "product": {"name": "usbupdate", "vendor_name": "usbupdate", "version": program},
            "profiles": profiles,
            "log_name": "receipts",
        },
        "unmapped": {name: record[name] for name in _UNMAPPED if record.get(name) not in (None, "", [])},
    }


def _lifecycle(record: Record, program: str) -> Mapping[str, Json]:
    event = Event(str(record["event"]))
    activity, name = _OTHER, str(event)
    if event is Event.PROVISIONED:
        activity, name = _INSTALL, "Install"
    elif event in _UPDATES:
        activity, name = _UPDATE, "Update"
    is_success = event in SUCCESSES
    common = _common(record, program)
    metadata = common["metadata"]
    if isinstance(metadata, dict):
        metadata |= {
            "uid": f"{record['device']}/{record['receipt']}",
            "sequence": record["receipt"],
            "event_code": str(event),
            "original_time": record["time"],
        }
    app: dict[str, Json] = {"name": record["bundle"] or "unknown"}
    if record["to_version"]:
        app["version"] = record["to_version"]
    found: dict[str, Json] = {
        **common,
        "category_uid": _APPLICATION,
        "category_name": "Application Activity",
        "class_uid": _LIFECYCLE,
        "class_name": "Application Lifecycle",
        "activity_id": activity,
        "activity_name": name,
        "type_uid": _LIFECYCLE * 100 + activity,
        "time": milliseconds(record["time"]),
        "status_id": _SUCCESS if is_success else _FAILURE,
        "status": "Success" if is_success else "Failure",
        "message": f"{record['device']}, receipt {record['receipt']}: {event}",
        "app": app,
    }
    if record["reason"]:
        found["status_code"] = record["reason"]
    if record["problem"]:
        found["status_detail"] = record["problem"]
    return found


def _detection(record: Record, program: str, at: int) -> Mapping[str, Json]:
    is_finding = record["kind"] == FINDING
    what = str(record["what"]) if is_finding else "an enrolled device has no log here"
    flaw = str(record["flaw"]) if is_finding else str(record["kind"])
    info: dict[str, Json] = {
        "uid": "/".join(str(record[name]) for name in ("device", "flaw", "receipt", "source") if record.get(name)) or flaw,
        "title": f"{record['device']}: {what}",
        "types": [flaw],
    }
    if record.get("detail"):
        info["desc"] = record["detail"]
    found: dict[str, Json] = {
        **_common(record, program),
        "category_uid": _FINDINGS,
        "category_name": "Findings",
        "class_uid": _DETECTION,
        "class_name": "Detection Finding",
        "activity_id": _CREATE,
        "activity_name": "Create",
        "type_uid": _DETECTION * 100 + _CREATE,
        "time": at,
        "status_id": _NEW,
        "status": "New",
        "message": f"{record['device']}: {what}",
        "finding_info": info,
    }
    if record.get("advice"):
        found["remediation"] = {"desc": record["advice"]}
    return found
