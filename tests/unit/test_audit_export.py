from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from typer.testing import CliRunner

from tests.fleet import write_drafts, write_fleet
from tests.matrix import By, On, attack
from tests.receipts import draft
from tests.source import CHECKOUT
from usbupdate.audit.copies import find_copies
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.export.forms import Form, lines
from usbupdate.audit.export.records import FIELDS, records
from usbupdate.audit.taken import Taken
from usbupdate.audit.verdict import Standing, verify
from usbupdate.cli.audit import app
from usbupdate.core.receipt import Check, CheckResult, Event, MediumFacts, Problem
from usbupdate.errors import EvidenceBrokenError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.audit.export.records import Record
    from usbupdate.audit.verdict import Verdict

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SCHEMA = json.loads((CHECKOUT / "tests" / "ocsf" / "schema.json").read_text(encoding="utf-8"))
CLASSES = {6002: "application_lifecycle", 2004: "detection_finding"}
FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH COMMERCIAL AT}")
HEADER_PART = re.compile(r"(?<!\\)\|")
PAIR = re.compile(r"(?:^| )(\w+)=((?:\\[\\=n]|[^\\=])*?)(?= \w+=|$)")


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return Devices(tmp_path / "devices")


@pytest.fixture
def stick(mount: Path, devices: Devices) -> Path:
    write_fleet(mount, 20)
    enrol(mount, devices, device=None, fingerprint=None)
    logs = mount / "usbupdate" / "logs"
    (logs / "gw-0002" / "checkpoint").unlink()
    kept = (logs / "gw-0003" / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    (logs / "gw-0003" / "receipts.jsonl").write_bytes(b"".join(kept[1:]))
    (logs / "gw-0004").rename(mount / "elsewhere")
    return mount


def told(stick: Path, devices: Devices) -> list[Record]:
    return list(records(verify(find_copies([stick]), devices), devices.names()))


def of_every_event(mount: Path, text: str = "what went wrong") -> Path:
    drafts = [draft(number, event, problem=text) for number, event in enumerate(Event, 1)]
    return write_drafts(mount / "usbupdate" / "logs" / "gw-0001", drafts, "gw-0001")


def hostile(mount: Path, text: str) -> Path:
    base = draft(1, Event.CHECK_FAILED)
    facts = MediumFacts(text, text, text, text)
    check = Check(text, CheckResult.FAILED, "exit-1", text)
    one = replace(base, operator=text, medium=facts, checks=(check,), problem=Problem("check-failed", text))
    write_drafts(mount / "usbupdate" / "logs" / "gw-0001", [one], "gw-0001")
    return mount


def cef_of(line: str) -> tuple[list[str], dict[str, str]]:
    """Take a line apart as its specification says."""
    *header, extension = HEADER_PART.split(line.removesuffix("\n"), maxsplit=7)
    unescape = {"\\\\": "\\", "\\|": "|", "\\=": "=", "\\n": "\n"}

    def plain(text: str) -> str:
        return re.sub(r"\\[\\|=n]", lambda match: unescape[match[0]], text)

    assert PAIR.sub("", extension) == ""
    return list(map(plain, header)), {key: plain(value) for key, value in PAIR.findall(extension)}


def test_there_is_a_record_for_each_receipt_each_finding_and_each_missing_log(stick: Path, devices: Devices) -> None:
    found = told(stick, devices)
    verdicts = verify(find_copies([stick]), devices)
    kinds = [record["kind"] for record in found]
    assert kinds.count("receipt") == sum(len(verdict.receipts) for verdict in verdicts)
    assert {record["device"] for record in found if record["kind"] == "finding"} == {"gw-0002", "gw-0003"}
    assert [record["device"] for record in found if record["kind"] == "no-log"] == ["gw-0004"]
    assert {name for record in found for name in record} <= set(FIELDS)


def test_records_are_made_while_verdicts_come(stick: Path, devices: Devices) -> None:
    taken = 0

    def counted() -> Iterator[Verdict]:
        nonlocal taken
        for verdict in verify(find_copies([stick]), devices):
            taken += 1
            yield verdict

    for form in Form:
        taken = 0
        next(iter(lines(form, records(counted(), []), "1.0", NOW)))
        assert taken <= 1, form


def test_what_was_taken_is_remembered_without_its_receipts(stick: Path, devices: Devices) -> None:
    taken = Taken(verify(find_copies([stick]), devices))
    assert sum(len(verdict.receipts) for verdict in taken) > 40
    assert [verdict.receipts for verdict in taken.bare] == [()] * 19
    assert {verdict.standing for verdict in taken.bare} >= {Standing.OK, Standing.BROKEN}
    with pytest.raises(EvidenceBrokenError, match="gw-0003"):
        taken.require_good()


def test_a_table_has_a_column_for_each_field_and_a_row_for_each_record(stick: Path, devices: Devices) -> None:
    found = told(stick, devices)
    rows = list(csv.DictReader(io.StringIO("".join(lines(Form.CSV, found, "1.0", NOW)), newline="")))
    assert tuple(rows[0]) == FIELDS
    assert [row["device"] for row in rows] == [record["device"] for record in found]
    assert {row["trust"] for row in rows if row["kind"] == "receipt"} == {"first-use"}


@attack(By.STICK, On.OFFICE, "a cell that a spreadsheet runs as a formula", "an apostrophe before it makes it text")
@pytest.mark.parametrize("sign", [*FORMULA, "\t=", "\n=", " ="])
def test_no_cell_of_a_table_is_a_formula(mount: Path, devices: Devices, sign: str) -> None:
    found = told(hostile(mount, f"{sign}HYPERLINK(A1)"), devices)
    text = "".join(lines(Form.CSV, found, "1.0", NOW))
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert len([cell for cell in cells if "HYPERLINK" in cell]) == 7
    assert [cell for cell in cells if cell.lstrip("\t\r\n ").startswith(FORMULA)] == []
    assert len(text.splitlines()) == 1 + len(found)


@attack(
    By.STICK,
    On.OFFICE,
    "a cell that is a formula where spreadsheets part cells by semicolons",
    "an apostrophe stands where such a cell would begin, too",
)
@pytest.mark.parametrize("text", [";=HYPERLINK(A1);", "|@HYPERLINK(A1)", "a; +HYPERLINK(A1)"])
def test_no_cell_is_a_formula_where_semicolons_part_cells(mount: Path, devices: Devices, text: str) -> None:
    # Half of Europe's spreadsheets open a file of that name so.
    written = "".join(lines(Form.CSV, told(hostile(mount, text), devices), "1.0", NOW))
    rows = [row for mark in ";|," for row in csv.reader(io.StringIO(written, newline=""), delimiter=mark)]
    cells = [cell.lstrip(" ") for row in rows for cell in row]
    assert [cell for cell in cells if "HYPERLINK" in cell]
    assert [cell for cell in cells if cell.startswith(FORMULA)] == []


def test_a_line_of_json_gives_back_the_record(stick: Path, devices: Devices) -> None:
    found = told(stick, devices)
    assert [json.loads(line) for line in lines(Form.JSONL, found, "1.0", NOW)] == found


def test_a_line_of_json_is_one_line_whatever_the_log_says(mount: Path, devices: Devices) -> None:
    found = told(hostile(mount, "one\ntwo\N{LINE SEPARATOR}three"), devices)
    text = "".join(lines(Form.JSONL, found, "1.0", NOW))
    assert len(text.splitlines()) == len(found)
    assert json.loads(text.splitlines()[0])["problem"] == "one\ntwo\N{LINE SEPARATOR}three"


def valid(line: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(line)
    name = CLASSES[event["class_uid"]]
    jsonschema.validate(event, {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    return event


def test_every_line_of_ocsf_is_valid_by_the_published_schema(stick: Path, devices: Devices) -> None:
    found = told(stick, devices)
    events = [valid(line) for line in lines(Form.OCSF, found, "1.0", NOW)]
    assert len(events) == len(found)
    assert {event["class_uid"] for event in events} == set(CLASSES)
    assert {event["metadata"]["version"] for event in events} == {SCHEMA["version"]}


def test_every_event_has_its_line_of_ocsf(mount: Path, devices: Devices) -> None:
    of_every_event(mount)
    found = [record for record in told(mount, devices) if record["kind"] == "receipt"]
    events = [valid(line) for line in lines(Form.OCSF, found, "1.0", NOW)]
    by_code = {event["metadata"]["event_code"]: event for event in events}
    assert set(by_code) == set(Event)
    assert {code for code, event in by_code.items() if event["status"] == "Success"} == {"committed", "provisioned"}
    committed = by_code["committed"]
    record = next(each for each in found if each["event"] == "committed")
    assert committed["activity_name"] == "Update"
    assert committed["app"] == {"name": "gateway", "version": record["to_version"]}
    assert committed["time"] == datetime.fromisoformat(str(record["time"])).timestamp() * 1000
    assert by_code["fork-suspected"]["severity"] == "High"


@pytest.mark.parametrize("damage", ["a field of its own", "a lacking field", "another class"])
def test_the_schema_finds_what_is_not_valid(stick: Path, devices: Devices, damage: str) -> None:
    event = valid(next(lines(Form.OCSF, told(stick, devices), "1.0", NOW)))
    match damage:
        case "a field of its own":
            event["usbupdate"] = 1
        case "a lacking field":
            del event["severity_id"]
        case _:
            event["type_uid"] = 100
    with pytest.raises(jsonschema.ValidationError):
        valid(json.dumps(event))


def test_a_line_of_cef_says_what_the_record_says(mount: Path, devices: Devices) -> None:
    of_every_event(mount)
    found = [record for record in told(mount, devices) if record["kind"] == "receipt"]
    for record, line in zip(found, lines(Form.CEF, found, "1.0", NOW), strict=True):
        header, fields = cef_of(line)
        assert header[:4] == ["CEF:0", "usbupdate", "usbupdate", "1.0"]
        assert header[4] == record["event"]
        assert 0 <= int(header[6]) <= 10
        assert fields["dvchost"] == "gw-0001"
        assert fields["externalId"] == str(record["receipt"])
        assert int(fields["rt"]) == datetime.fromisoformat(str(record["time"])).timestamp() * 1000
        assert (fields["cs1"], fields["cs1Label"]) == (record["standing"], "standing")
        assert (fields["cs3"], fields["cs3Label"]) == (record["to_version"], "toVersion")
        assert (fields["flexString1"], fields["flexString1Label"]) == (record["serial"], "stickSerial")
        assert fields["outcome"] == ("success" if record["event"] in {"committed", "provisioned"} else "failure")


def test_a_finding_and_a_missing_log_have_their_line_of_cef(stick: Path, devices: Devices) -> None:
    parts = [cef_of(line) for line in lines(Form.CEF, told(stick, devices), "1.0", NOW)]
    by_signature = {header[4]: (header, fields) for header, fields in parts}
    header, fields = by_signature["flaw-missing"]
    assert (fields["dvchost"], header[6]) == ("gw-0003", "8")
    assert (fields["cs1"], fields["cs1Label"]) == ("broken", "standing")
    assert "outcome" not in fields
    assert by_signature["no-log"][1] == {"dvchost": "gw-0004"}


@attack(
    By.STICK,
    On.OFFICE,
    "text that forges fields or lines in a collector of logs",
    "the format's escapes, and one line a record",
)
@pytest.mark.parametrize(
    "text", ["a|b|10|msg=x", "dvchost=gw-0009", "x\nCEF:0|a|b|c|d|e|10|msg=forged", "back\\", "\\=", "a \\n msg=b", "\\|"]
)
def test_no_text_forges_a_field_of_cef(mount: Path, devices: Devices, text: str) -> None:
    found = told(hostile(mount, text), devices)
    written = "".join(lines(Form.CEF, found, "1.0", NOW))
    assert written.count("\n") == len(found)
    header, fields = cef_of(written.splitlines(keepends=True)[0])
    assert (header[4], len(header)) == ("check-failed", 7)
    assert (fields["dvchost"], fields["msg"], fields["suser"], fields["flexString1"]) == ("gw-0001", text, text, text)


def run(tmp_path: Path, *arguments: object) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, ["export", *map(str, arguments), "--devices", str(tmp_path / "devices")])
    return result.stdout, result.exception


def test_the_command_writes_to_standard_output_or_a_file_and_ends_in_the_code_of_verify(tmp_path: Path, stick: Path) -> None:
    text, raised = run(tmp_path, stick, "--format", "jsonl")
    assert isinstance(raised, EvidenceBrokenError)
    told_of, raised = run(tmp_path, stick, "--format", "jsonl", "--output", tmp_path / "all.jsonl")
    assert isinstance(raised, EvidenceBrokenError)
    assert told_of == f"{tmp_path / 'all.jsonl'}: 19 devices\n"
    assert (tmp_path / "all.jsonl").read_text(encoding="utf-8") == text
    assert list(tmp_path.glob("*.part")) == []
