"""Documents that lie are worse than none: links lead somewhere, and commands that pages show exist."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.source import CHECKOUT, PACKAGE
from usbupdate.core.authorisation import AUTHORISATION_SIZE_MAX, REASON, Authorisation
from usbupdate.core.checkpoint import CHECKPOINT_SIZE_MAX
from usbupdate.core.envelope import LINE_SIZE_MAX
from usbupdate.core.identity import IDENTITY_SIZE_MAX
from usbupdate.core.index import RECORD_SIZE
from usbupdate.core.layout import NAMES_MAX
from usbupdate.core.manifest import INDEX_SIZE_MAX, MANIFEST_SIZE_MAX, NOTES_MAX, PACK_SIZE_MAX, Artifact, Manifest
from usbupdate.core.receipt import RECEIPT_SIZE_MAX, Event
from usbupdate.core.rootrules import SIGNED_TIME, SIZE_MAX
from usbupdate.core.strictjson import DEPTH_MAX
from usbupdate.device.ledger import SIZE_MAX as LEDGER_SIZE_MAX
from usbupdate.device.offers import AUTHORISATIONS_MAX

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    page for folder in (".", "docs/**", "images", "systemd", "udev-rules") for page in CHECKOUT.glob(f"{folder}/*.md")
)
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|`|[$#] )usbupdate ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)", re.MULTILINE)
TEST_OR_SOURCE = re.compile(r"`((?:src|tests|docs|images|systemd|udev-rules|benchmarks)/[\w./-]+\.\w+)`")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            wrong.append(target)
    assert wrong == []


@EACH_PAGE
def test_files_that_pages_name_exist(page: Path) -> None:
    named = TEST_OR_SOURCE.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


@cache
def _help(*command: str) -> str | None:
    """Return a command's help, or nothing if there is no such command."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "usbupdate", *command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


@pytest.mark.skipif(not (PACKAGE / "cli" / "main.py").exists(), reason="there is no command line yet")
def test_commands_that_pages_show_exist() -> None:
    # The design speaks of commands that are to come.
    pages = [page for page in PAGES if page.name != "design.md"]
    code = [piece for page in pages for piece in CODE.findall(page.read_text(encoding="utf-8"))]
    shown = {command for piece in code for command in COMMAND.findall(piece)}
    missing = []
    for command in sorted(shown):
        group, _, rest = command.partition(" ")
        overview = _help(group)
        # `usbupdate demo` takes no second word; `usbupdate stick write` does.
        if overview is None or (rest and "COMMAND" in overview and not re.search(rf"^\W*{rest}\b", overview, re.MULTILINE)):
            missing.append(command)
    assert missing == []


FORMAT_PAGE = (CHECKOUT / "docs" / "format.md").read_text(encoding="utf-8")

LIMITS = {
    **SIZE_MAX,
    "manifest": MANIFEST_SIZE_MAX,
    "authorisation": AUTHORISATION_SIZE_MAX,
    "index": INDEX_SIZE_MAX,
    "pack": PACK_SIZE_MAX,
    "identity.json": IDENTITY_SIZE_MAX,
    "checkpoint": CHECKPOINT_SIZE_MAX,
    "receipts.jsonl": LEDGER_SIZE_MAX,
    "a line of receipts.jsonl": LINE_SIZE_MAX,
}


@pytest.mark.parametrize("file", LIMITS)
def test_the_format_page_states_the_limit_that_the_code_holds(file: str) -> None:
    assert f"| {file} | {LIMITS[file]:,} |" in FORMAT_PAGE


@pytest.mark.parametrize(
    "fact",
    [
        f"nesting deeper than {DEPTH_MAX} ",
        f"more than {NAMES_MAX:,} names",
        f"text {NOTES_MAX:,}",
        f"at most {RECEIPT_SIZE_MAX:,} bytes",
        f"{RECORD_SIZE} bytes each",
        f"`{SIGNED_TIME}`",
        f"`{REASON}`",
        f"the {AUTHORISATIONS_MAX} with the highest numbers",
        *(f"`{event}`" for event in Event),
    ],
)
def test_the_format_page_states_what_the_code_does(fact: str) -> None:
    assert fact in FORMAT_PAGE


@pytest.mark.parametrize("kind", [Manifest, Artifact, Authorisation])
def test_the_format_page_has_every_field(kind: type[Manifest | Artifact | Authorisation]) -> None:
    names = {"slot_class": "class"}
    missing = [field.name for field in fields(kind) if f"| `{names.get(field.name, field.name)}` |" not in FORMAT_PAGE]
    assert missing == []
