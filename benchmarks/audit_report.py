"""How long the report of 10,000 devices takes to be made, and then to open, to sort and to search in Chromium.

The verdicts are made up: what verifying costs is measured elsewhere. A browser's figures are medians of several tries, each in
a page of its own; "opens" is from the call to the first page of the table on the screen.

Run: make bench
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from playwright.sync_api import sync_playwright
from tests.fleet import life
from tests.receipts import device

from usbupdate.audit.devices import Trust
from usbupdate.audit.report.page import page
from usbupdate.audit.verdict import Standing, Verdict
from usbupdate.core.receipt import NO_PREVIOUS, Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

DEVICES: Final = 10_000
LIVES: Final = 200
RECEIPTS_EACH: Final = 20
TRIES: Final = 5
NOW: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)

SORT: Final = """(column) => new Promise((done) => {
    const began = performance.now();
    document.querySelectorAll("#devices thead button")[column].click();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""
SEARCH: Final = """(text) => new Promise((done) => {
    const field = document.getElementById("search");
    const began = performance.now();
    field.value = text;
    field.dispatchEvent(new Event("input"));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""
DEVICE: Final = """(name) => new Promise((done) => {
    const began = performance.now();
    addEventListener("hashchange", () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))));
    location.hash = `#/device/${name}`;
})"""
OPENED: Final = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts of a fleet; each device has lived one of some lives over and over."""
    identity = device("gw-0001")[0]
    lives = [(life(seed) * RECEIPTS_EACH)[:RECEIPTS_EACH] for seed in range(LIVES)]
    for number in range(DEVICES):
        name = type(identity.device)(f"gw-{number:05}")
        receipts = tuple(Receipt(name, at, NO_PREVIOUS, each) for at, each in enumerate(lives[number % LIVES], 1))
        standing = Standing.INCOMPLETE if number % 100 == 0 else Standing.OK
        yield Verdict(
            device=name,
            standing=standing,
            trust=Trust.FINGERPRINT,
            fingerprint=identity.fingerprint,
            receipts=receipts,
            seen=0,
            sources=("stick",),
            findings=(),
        )


def measure(browser: Browser, path: Path) -> dict[str, list[float]]:
    """Return milliseconds by what was done."""
    found: dict[str, list[float]] = {}
    for _ in range(TRIES):
        tab = browser.new_page()
        began = time.monotonic()
        tab.goto(path.as_uri())
        tab.locator("#devices tbody tr").first.wait_for()
        found.setdefault("open, as the person waits", []).append(1000 * (time.monotonic() - began))
        found.setdefault("open, as the browser counts", []).append(tab.evaluate(OPENED))
        for label, column in (("sort by device", 0), ("sort by version", 2), ("sort by time", 5), ("and the other way", 5)):
            found.setdefault(label, []).append(tab.evaluate(SORT, column))
        found.setdefault("search", []).append(tab.evaluate(SEARCH, "gw-07 2.1"))
        found.setdefault("open a device", []).append(tab.evaluate(DEVICE, "gw-05000"))
        tab.close()
    return found


def main() -> None:
    """Make the page, open it, print what that took."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Skipped: chromium is not installed.")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        began = time.monotonic()
        path.write_bytes(page(verdicts(), [], ["stick"], NOW))
        took = time.monotonic() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        receipts = DEVICES * RECEIPTS_EACH
        print(f"{DEVICES} devices, {receipts} receipts: made in {took:.1f} s, {memory} MiB of memory")
        print(f"the file: {path.stat().st_size / 1e6:.1f} MB")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
            for label, figures in measure(browser, path).items():
                print(f"{label}: {statistics.median(figures):.0f} ms (slowest of {TRIES}: {max(figures):.0f})")
            browser.close()


if __name__ == "__main__":
    main()
