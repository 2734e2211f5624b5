"""The report as a file: what is in it before a browser has seen it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.fleet import life
from tests.receipts import draft, write_log
from tests.unit.test_audit_answers import LIFE, verdict_of
from usbupdate.audit.findings import Flaw
from usbupdate.audit.report import charts, details
from usbupdate.audit.report.page import page
from usbupdate.audit.unread import KnownBy, Unread
from usbupdate.cli.audit import app
from usbupdate.core.judgement import Judgement, check_of
from usbupdate.core.receipt import Check, CheckResult, ClockQuality, Event
from usbupdate.errors import NotEnrolledError, UnusableFileError

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.audit.verdict import Verdict

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def made(*verdicts: Verdict, places: tuple[str, ...] = ("stick",)) -> str:
    return page(verdicts, [], places, NOW, is_of_store=not places).decode()


def data(text: str, name: str = "data") -> dict[str, object]:
    (found,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
    table: dict[str, object] = json.loads(found)
    return table


@pytest.mark.parametrize(
    ("places", "origin"), [((), "from the store</p>"), (("a",), "from 1 place</p>"), (("a", "b"), "from 2 places</p>")]
)
def test_the_page_says_where_its_logs_were_read(places: tuple[str, ...], origin: str) -> None:
    assert origin in made(verdict_of(LIFE), places=places)


def test_metadata_that_were_not_accepted_are_told_as_in_a_timeline() -> None:
    judgement = Judgement("2026-03-01T00:00:00Z", ClockQuality.FLOOR, "2020-01-01T00:00:00Z", "2026-03-01T00:00:00Z")
    checks = (Check("10-network", CheckResult.FAILED, "exit-1", "no carrier"), check_of(judgement))
    text = made(verdict_of([replace(draft(1, Event.REJECTED), checks=checks)]))
    assert "check 10-network: failed. no carrier Metadata judged as of 2026-03-01T00:00:00Z (the time floor;" in text
    assert "check metadata" not in text


def test_the_same_fleet_makes_the_same_page() -> None:
    assert made(verdict_of(LIFE)) == made(verdict_of(LIFE))


def test_the_policy_names_the_script_and_the_style_that_are_there_and_nothing_else() -> None:
    text = made(verdict_of(LIFE))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    for name in ("script", "style"):
        (body,) = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{name}-src &#39;sha256-{digest}&#39;;" in policy
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "unsafe" not in policy


def test_the_page_names_nothing_outside_itself() -> None:
    text = made(verdict_of(LIFE, (Flaw.MISSING, 2)), verdict_of(life(3), name="gw-0002"))
    assert re.findall(r'(?:src|href)="(?!#)', text) == []
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    # The name of a vocabulary, which no browser follows.
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_receipts_that_are_not_here_are_told_and_count_for_nothing() -> None:
    whole = verdict_of(LIFE[2:3] * 4)
    text = made(replace(whole, receipts=whole.receipts[3:], unread=(Unread(1, 3, KnownBy.DIGEST),)))
    told = data(text, "d0")
    assert (told["receipts"], told["unread"]) == (1, ["1 to 3: not here, known by their digests"])
    assert "1 signed receipts; 3 more are not here" in text
    assert "Nothing failed and nothing was refused, among the receipts that are here: those of some devices are not." in text
    assert "No: receipts 1 to 4 are all here" not in text


def test_nothing_in_the_page_handles_an_event_or_brings_a_style_inline() -> None:
    text = made(verdict_of(LIFE), verdict_of(life(3), name="gw-0002"))
    assert re.findall(r"<[^>]+\s(?:on\w+|style)\s*=", text) == []
    assert text.count("<script") == text.count("</script>") == 4


@pytest.mark.parametrize("hostile", ["</script><script>alert(1)//", "<!--<script>", "]]>", "&lt;b&gt;", "\N{LINE SEPARATOR}"])
def test_no_markup_begins_in_the_data(hostile: str) -> None:
    text = made(verdict_of([draft(1, Event.REFUSED, problem=hostile)]), places=(hostile,))
    assert text.count("<script") == text.count("</script>") == 3
    strings = data(text)["strings"]
    assert isinstance(strings, list)
    assert " ".join(hostile.split()) in strings
    assert hostile.strip() not in text.replace("&lt;", "") or "<" not in hostile


def test_of_a_large_fleet_only_the_newest_receipts_are_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "EVENTS_MAX", 20)
    monkeypatch.setattr(details, "EVENTS_EACH_MAX", 12)
    drafts = [draft(number) for number in range(1, 31)]
    few, many = made(verdict_of(drafts)), made(verdict_of(drafts), verdict_of(drafts, name="gw-0002"))
    for text, count in ((few, 12), (many, 10)):
        table = data(text, "d0")
        events = table["events"]
        assert isinstance(events, list)
        assert (len(events), events[-1][0], table["receipts"]) == (count, 30, 30)


def test_a_thousand_findings_of_a_device_do_not_fill_the_page() -> None:
    table = data(made(verdict_of(LIFE, *[(Flaw.SIGNATURE, number) for number in range(1000)])), "d0")
    findings = table["findings"]
    assert isinstance(findings, list)
    assert (len(findings), table["findings_left"]) == (100, 900)


@pytest.mark.parametrize(
    ("verdicts", "headline"),
    [
        ([verdict_of(LIFE)], "Every log that is here is in order."),
        ([verdict_of(LIFE), verdict_of(LIFE, (Flaw.FORKED, 2), name="gw-0002")], "Not in order:"),
    ],
)
def test_the_first_line_says_how_it_stands(verdicts: list[Verdict], headline: str) -> None:
    assert f"<strong>{headline}" in made(*verdicts)


def test_a_fleet_without_a_receipt_still_makes_a_page() -> None:
    assert "no release is known" in made(verdict_of([], (Flaw.RECEIPTS_MISSING, None)))
    assert "Fleet report" in made()


@pytest.mark.parametrize("top", [0, 1, 3, 4, 7, 12, 99, 100, 101, 10_000, 123_456])
def test_an_axis_has_few_whole_numbers_and_reaches_its_top(top: int) -> None:
    ticks = charts._ticks(top)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] == 0
    assert ticks[-1] >= top


def test_a_chart_is_one_picture_with_a_name_and_escaped_labels() -> None:
    drawn = charts.bars("what <it> is", [("<b>", 1), ('"', 2)])
    assert 'role="img" aria-label="what &lt;it&gt; is"' in drawn
    assert "&lt;b&gt;: 1" in drawn
    assert re.findall(r"<(?:script|style|title|desc|!--)| style=| id=", drawn) == []


def test_the_library_of_charts_leaves_the_programs_imports_alone() -> None:
    assert charts.bars("figures", [("one", 1)])
    assert [finder for finder in sys.meta_path if type(finder).__module__ == "pygal"] == []


def run(tmp_path: Path, *arguments: object) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--devices", str(tmp_path / "devices")])
    return result.stdout, result.exception


def test_the_command_says_what_it_wrote_and_ends_in_the_code_of_verify(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    target = tmp_path / "report.html"
    text, raised = run(tmp_path, "report", log, "--html", target)
    assert (text, type(raised)) == (f"{target}: 1 device\n", NotEnrolledError)
    run(tmp_path, "enroll", log)
    text, raised = run(tmp_path, "report", log, "--html", target, "--json")
    assert (json.loads(text), raised) == ({"file": str(target), "devices": 1}, None)
    assert target.read_bytes().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("command", [("report", "--html"), ("evidence", "--output"), ("export", "--output")])
def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, command: tuple[str, str]) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    first = [command[0], "gw-0001"] if command[0] == "evidence" else [command[0]]
    more = ["--format", "csv"] if command[0] == "export" else []
    _, raised = run(tmp_path, *first, log, command[1], tmp_path / "nowhere" / "file", *more)
    assert isinstance(raised, UnusableFileError)


@pytest.mark.parametrize("library", ["jinja2", "pygal"])
def test_without_its_libraries_one_sentence_says_what_to_install(tmp_path: Path, library: str) -> None:
    log = write_log(tmp_path / "log" / "gw-0001", 3)
    code = f"import sys; sys.modules[{library!r}] = None; from usbupdate.__main__ import main; main()"
    arguments = ["audit", "report", str(log), "--html", str(tmp_path / "report.html"), "--devices", str(tmp_path / "devices")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"Error: Making the report needs {library}, which is not installed.",
        "What to do: Install it with: pip install 'usbupdate[audit]'. Or use 'usbupdate audit show', which needs nothing more.",
    ]
    assert not (tmp_path / "report.html").exists()
