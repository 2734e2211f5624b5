from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from tests.fleet import write_drafts, write_fleet
from tests.receipts import draft, write_log
from tests.unit.test_audit_answers import LIFE, verdict_of
from usbupdate.audit.findings import Flaw
from usbupdate.audit.terminal import shown
from usbupdate.cli.audit import app
from usbupdate.core.receipt import Event
from usbupdate.errors import DeviceNotThereError

if TYPE_CHECKING:
    from pathlib import Path


def run(tmp_path: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--devices", str(tmp_path / "devices")])


@pytest.fixture
def stick(tmp_path: Path, mount: Path) -> Path:
    write_fleet(mount, 6)
    run(tmp_path, "enroll", mount)
    (mount / "usbupdate" / "logs" / "gw-0002" / "checkpoint").unlink()
    return mount


def test_many_devices_are_a_table_and_what_was_found(tmp_path: Path, stick: Path) -> None:
    lines = run(tmp_path, "show", stick).stdout.splitlines()
    assert lines[0] == "6 devices: 1 incomplete, 5 ok"
    assert lines[1].split() == ["Device", "Evidence", "Runs", "Last", "event", "Last", "receipt", "Since", "Findings"]
    assert [line.split()[:2] for line in lines[2:4]] == [["gw-0001", "ok"], ["gw-0002", "INCOMPLETE"]]
    assert lines[8].startswith("  gw-0002: the checkpoint is missing")


def test_a_device_that_is_named_tells_its_answers_and_its_timeline(tmp_path: Path, stick: Path) -> None:
    lines = run(tmp_path, "show", stick, "--device", "gw-0003").stdout.splitlines()
    assert [line.split("? ")[0].strip() for line in lines[1:6]] == [
        "What runs on it", "Since when", "Who signed it", "Was anything refused", "Is anything missing",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[6:8]] == ["1", "2"]


@pytest.mark.parametrize(("count", "answered"), [(1, 1), (2, 2), (3, 3), (4, 0)])
def test_up_to_three_devices_are_told_with_their_answers(count: int, answered: int) -> None:
    lines = list(shown([verdict_of(LIFE, name=f"gw-{number:04}") for number in range(count)], None))
    assert len([line for line in lines if line.startswith("  Is anything missing? No: ")]) == answered


def test_a_device_that_is_named_and_not_there_is_said(tmp_path: Path, stick: Path) -> None:
    assert isinstance(run(tmp_path, "show", stick, "--device", "gw-0009").exception, DeviceNotThereError)


def test_a_devices_folder_under_another_name_is_found_by_what_it_says(tmp_path: Path, stick: Path) -> None:
    shutil.copytree(stick / "usbupdate" / "logs" / "gw-0001", tmp_path / "case 17")
    assert run(tmp_path, "show", tmp_path / "case 17", "--device", "gw-0001").exit_code == 0


def test_json_has_the_answers_beside_the_events(tmp_path: Path, stick: Path) -> None:
    document = json.loads(run(tmp_path, "show", stick, "--device", "gw-0001", "--json").stdout)
    (told,) = document["devices"]
    assert told["device"] == "gw-0001"
    assert len(told["answers"]) == 5
    assert set(told["answers"][0]) == {"question", "answer", "proof", "receipt"}
    assert told["events"][0]["event"] == "provisioned"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 132])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_lines_fit_the_terminal(width: int, count: int) -> None:
    verdicts = [verdict_of(LIFE, (Flaw.MISSING, 9), name=f"gw-{number:04}") for number in range(count)]
    lines = list(shown(verdicts, width))
    assert max(map(len, lines)) <= width
    assert sum("gw-0000" in line for line in lines) >= 1


def test_without_a_terminal_nothing_is_broken_or_left_out() -> None:
    verdicts = [verdict_of(LIFE, (Flaw.MISSING, 9), name=f"gw-{number:04}") for number in range(8)]
    lines = list(shown(verdicts, None))
    assert len(lines) == 1 + 1 + 8 + 8 + 1
    assert max(map(len, lines)) > 120


def test_hostile_text_cannot_steer_the_terminal(tmp_path: Path, mount: Path) -> None:
    text = "a\u202ekcab\u2028new line\tand more"
    drafts = [draft(number, Event.REFUSED, problem=text) for number in (1, 2)]
    write_drafts(mount / "usbupdate" / "logs" / "gw-0001", drafts, "gw-0001")
    write_log(mount / "usbupdate" / "logs" / "gw-0002", 2, "gw-0002")
    for arguments in ((), ("--device", "gw-0001")):
        out = run(tmp_path, "show", mount, *arguments).stdout
        assert out.replace("\n", "").isprintable()
        assert "a kcab new line and more" in out
