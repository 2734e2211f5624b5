"""The report in a real browser: what an inspector sees and does, and what a hostile log cannot do to either."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from typer.testing import CliRunner

from tests.fleet import life, write_drafts, write_fleet
from tests.matrix import By, On, attack
from tests.receipts import draft
from usbupdate.cli.audit import app
from usbupdate.core.receipt import Check, CheckResult, Event, MediumFacts, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
COUNT = 120
SORTED_BY = "th[aria-sort]"
FIRST_CELLS = "#devices tbody tr > th"

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "'><svg onload=alert(4)>",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(5)",
    "<base href=//example.org><link rel=stylesheet href=//example.org/x>",
    "\u2028alert(6)//\u202ekcab",
    "<style>*{display:none}</style>",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (on Debian: apt-get install chromium)")


@dataclass
class Watched:
    """A page, and everything that it did and must not do."""

    page: Page
    done: list[str] = field(default_factory=list)

    def dismiss(self, dialog: Dialog) -> None:
        self.done.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violations")
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root the browser's own sandbox cannot be; there is no stranger's page here.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    stick = write_fleet(folder / "stick", COUNT)
    run("enroll", stick, devices=folder / "devices")
    logs = stick / "usbupdate" / "logs"
    kept = (logs / "gw-0012" / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    (logs / "gw-0012" / "receipts.jsonl").write_bytes(b"".join(kept[:1] + kept[2:]))
    (logs / "gw-0031" / "checkpoint").unlink()
    shutil.rmtree(logs / "gw-0040")
    run("report", stick, "--html", folder / "report.html", devices=folder / "devices")
    return folder / "report.html"


def run(*arguments: object, devices: Path) -> None:
    CliRunner().invoke(app, [*map(str, arguments), "--devices", str(devices)])


@dataclass
class Opener:
    browser: Browser

    def __call__(self, path: Path, at: str = "", *, dark: bool = False, width: int = 1280) -> Watched:
        context = self.browser.new_context(color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900})
        context.set_default_timeout(5000)
        page = context.new_page()
        watched = Watched(page)
        page.add_init_script(
            "window.violations = [];"
            "document.addEventListener('securitypolicyviolation', (each) => window.violations.push(each.effectiveDirective));"
        )
        page.on("dialog", watched.dismiss)
        page.on("console", lambda message: watched.done.append(f"console {message.text}"))
        page.on("pageerror", lambda error: watched.done.append(f"error {error.message}"))
        page.on("request", lambda request: watched.done.append(f"request {request.url}"))
        page.goto(f"{path.as_uri()}{at}")
        opened = f"request {path.as_uri()}"
        assert watched.done[:1] == [opened]
        watched.done.clear()
        return watched


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opener]:
    yield Opener(browser)
    for context in browser.contexts:
        context.close()


def test_the_page_opens_without_a_request_an_error_or_a_violation(opened: Opener, report: Path) -> None:
    watched = opened(report)
    assert watched.page.locator("h1:visible").all_inner_texts() == ["Fleet report"]
    assert watched.page.locator("#devices tbody tr").count() == 100
    assert watched.page.locator("#shown").inner_text() == f"{COUNT - 1} devices"
    assert not watched.page.get_by_text("The list of devices cannot be shown here.").is_visible()
    assert (watched.done, watched.violations()) == ([], [])


def test_what_is_not_in_order_stands_first_and_is_a_step_away(opened: Opener, report: Path) -> None:
    page = opened(report).page
    assert page.locator(FIRST_CELLS).all_inner_texts()[:2] == ["gw-0012", "gw-0031"]
    page.locator(".outcome a").click()
    assert page.locator("h1:visible").inner_text() == "gw-0012"
    answers = page.locator(".answers dt").all_inner_texts()
    assert answers == ["What runs on it?", "Since when?", "Who signed it?", "Was anything refused?", "Is anything missing?"]
    assert "receipt 2 is not here" in page.locator(".answers dd").all_inner_texts()[8]
    assert page.evaluate("document.activeElement.textContent") == "gw-0012"
    page.go_back()
    assert page.locator("h1:visible").inner_text() == "Fleet report"


def test_a_device_that_is_silent_is_named(opened: Opener, report: Path) -> None:
    page = opened(report).page
    assert page.locator("section", has_text="Enrolled, and no log here").locator("li", has_text="gw-0040").is_visible()


def test_the_table_sorts_by_keyboard_and_says_how(opened: Opener, report: Path) -> None:
    page = opened(report).page
    page.locator("#grade").focus()
    while page.evaluate("document.activeElement.textContent") != "Device":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(SORTED_BY).all_inner_texts() == ["Device"]
    assert page.locator(FIRST_CELLS).first.inner_text() == "gw-0001"
    page.keyboard.press("Space")
    assert page.locator(SORTED_BY).get_attribute("aria-sort") == "descending"
    assert page.locator(FIRST_CELLS).first.inner_text() == f"gw-{COUNT:04}"


def test_versions_sort_by_sequence_and_times_by_time(opened: Opener, report: Path) -> None:
    page = opened(report).page
    for name, column in (("Runs", 3), ("Last receipt", 6)):
        page.get_by_role("button", name=name, exact=True).click()
        cells = [text.removeprefix("after ") for text in page.locator(f"#devices td:nth-child({column})").all_inner_texts()]
        assert cells == sorted(cells)
        assert len(set(cells)) > 1


def test_the_table_is_searched_filtered_and_paged(opened: Opener, report: Path) -> None:
    page = opened(report).page
    page.get_by_role("button", name="Next").click()
    assert page.locator("#devices tbody tr").count() == COUNT - 101
    page.get_by_label("Search").fill("gw-003")
    assert page.locator(FIRST_CELLS).count() == 10
    page.get_by_label("Show").select_option("incomplete")
    assert page.locator(FIRST_CELLS).all_inner_texts() == ["gw-0031"]
    assert page.locator("#shown").inner_text() == f"1 of {COUNT - 1} devices"
    page.get_by_label("Search").fill("no such device")
    assert page.locator(FIRST_CELLS).count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("at", ["", "#/device/gw-0012", "#/device/gw-0005"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_accessible(opened: Opener, report: Path, at: str, width: int, dark: bool) -> None:
    page = opened(report, at, dark=dark, width=width).page
    for summary in page.locator("summary:visible").all():
        summary.click()
    results = Axe().run(page)
    found = [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in results.response["violations"]]
    assert found == []
    assert len(results.response["passes"]) > 15


def test_the_page_is_dark_where_the_system_is(opened: Opener, report: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    assert opened(report).page.evaluate(background) == "rgb(255, 255, 255)"
    assert opened(report, dark=True).page.evaluate(background) == "rgb(20, 23, 27)"


def test_paper_is_white_has_every_row_and_no_controls(opened: Opener, report: Path) -> None:
    page = opened(report, dark=True).page
    page.evaluate(
        "addEventListener('beforeprint', () => { window.rows = document.querySelectorAll('#devices tbody tr').length; })"
    )
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_label("Search").is_visible()
    assert not page.get_by_role("button", name="Next").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("window.rows") == COUNT - 1
    assert page.locator("#devices tbody tr").count() == 100


def test_the_figures_of_each_chart_stand_beside_it_as_a_table(opened: Opener, report: Path) -> None:
    page = opened(report).page
    charts = page.locator(".chart")
    assert charts.count() == 3
    for chart in charts.all():
        assert chart.locator("svg[role=img][aria-label]").count() == 1
        assert chart.locator("table tbody tr").count() > 1
    last = charts.first.locator("table tbody tr").last.locator("td").all_text_contents()
    # One log is gone, and one lacks its second receipt, which counts for what it had come to.
    assert COUNT - 2 <= sum(map(int, last)) <= COUNT - 1


def test_without_scripts_the_figures_are_there_and_the_page_says_what_is_not(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".tile").count() == 6
    assert page.locator(".chart svg").count() == 3
    assert page.get_by_text("The list of devices cannot be shown here.").is_visible()
    assert not page.locator("#devices").is_visible()
    context.close()


@attack(By.STICK, On.OFFICE, "markup and scripts in every text of a log", "text stays text, and a policy in the page")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_markup_in_a_log_stays_text_in_the_report(opened: Opener, tmp_path: Path, hostile: str) -> None:
    base = draft(1, Event.CHECK_FAILED)
    drafts = [
        replace(
            base,
            operator=hostile,
            checks=(Check(hostile, CheckResult.FAILED, "exit-1", hostile),),
            medium=MediumFacts(hostile, hostile, hostile, hostile),
            problem=Problem("check-failed", hostile),
        ),
        *life(3)[1:],
    ]
    # The name of a folder is a stranger's too.
    stick = tmp_path / f"stick {hostile.replace('/', '_')}"
    write_drafts(stick / "usbupdate" / "logs" / "gw-0001", drafts, "gw-0001")
    run("report", stick, "--html", tmp_path / "report.html", devices=tmp_path / "devices")
    watched = opened(tmp_path / "report.html")
    watched.page.goto(f"{(tmp_path / 'report.html').as_uri()}#/device/gw-0001")
    shown = watched.page.locator("#timeline tbody tr").last.inner_text()
    for word in hostile.replace("\u2028", " ").replace("\u202e", " ").split():
        assert word in shown
    assert (watched.done, watched.violations()) == ([], [])


@attack(By.STICK, On.OFFICE, "a script that has found a way into the page after all", "the page's policy runs none but its own")
def test_the_policy_of_the_page_stops_what_got_in(opened: Opener, report: Path) -> None:
    watched = opened(report)
    watched.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hit = true";
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.hit = true");
            image.src = "https://example.org/x";
            const frame = document.createElement("iframe");
            frame.src = "https://example.org/";
            document.body.append(script, image, frame);
        }"""
    )
    watched.page.wait_for_function("window.violations.length >= 3")
    assert set(watched.violations()) >= {"script-src-elem", "img-src", "frame-src"}
    assert watched.page.evaluate("window.hit") is None
