"""The whole round, by the command line only: out, back, into the store, acknowledged, and the next stick brings less."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import usbupdate
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = ("--devices", "devices")
STORE = ("--store", "store.sqlite3")
LOG = "usbupdate/logs/gw-1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("USBUPDATE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        noise = random.Random(number)  # noqa: S311 - bytes that look like an image, not a secret
        (tmp_path / f"image-{number}").write_bytes(noise.randbytes(600_000))
    usbupdate("repo", "init", "office")
    usbupdate("key", "create", "audit.pem")
    usbupdate("repo", "name-acknowledger", "office", "audit.pem.pub")
    root = ("--root", "office/metadata/1.root.json")
    usbupdate(
        "simulate", "new", "gw-1", "--image", "image-1", "--compatible", "acme,gw", *root, "--id", "gw-1",
        "--version", "1.1", "--sequence", "1",
    )  # fmt: skip
    release(2)
    return tmp_path


def release(number: int) -> None:
    words = ("--name", "gw", "--version", f"1.{number}", "--sequence", str(number), "--compatible", "acme,gw")
    usbupdate("bundle", "create", f"image-{number}", "--repo", "office", *words)


def visit(place: Path, stick: str) -> Path:
    """Write a stick, let the device have it, and bring it back."""
    (place / stick).mkdir(exist_ok=True)
    usbupdate("stick", "write", "office", stick)
    usbupdate("simulate", "insert", "gw-1", stick)
    usbupdate("simulate", "boot", "gw-1")
    usbupdate("simulate", "remove", "gw-1")
    return place / stick / LOG


def status() -> dict[str, object]:
    return usbupdate("simulate", "status", "gw-1", "--json").json()


def acknowledge() -> dict[str, object]:
    words = ("--repo", "office", "--key", "audit.pem", *STORE, *DEVICES, "--json")
    return usbupdate("audit", "acknowledge", *words).json()


def only(tables: object) -> dict[str, Any]:
    assert isinstance(tables, list)
    (table,) = tables
    assert isinstance(table, dict)
    return table


def test_what_has_arrived_is_acknowledged_and_the_next_stick_brings_only_what_is_newer(place: Path) -> None:
    first = visit(place, "first")
    count = len((first / "receipts.jsonl").read_bytes().splitlines())
    usbupdate("audit", "enroll", "first", *DEVICES)
    usbupdate("audit", "import", "first", *STORE)
    assert acknowledge()["acknowledged"] == {"gw-1": count}

    release(3)
    second = visit(place, "second")
    assert status()["acknowledged_receipts"] == count
    lines = (second / "receipts.jsonl").read_bytes().splitlines()
    assert lines
    assert not set(lines) & set((first / "receipts.jsonl").read_bytes().splitlines())

    # By itself it lacks its beginning; the office's word accounts for it, and so does what lies in the store.
    usbupdate("audit", "enroll", "second", "--devices", "others")
    alone = usbupdate("audit", "verify", "second", "--devices", "others", code=ExitCode.EVIDENCE_BROKEN)
    assert f"receipts 1 to {count}: it is not here: the log begins later" in alone.out
    told = usbupdate("audit", "verify", "second", "--repo", "office", "--devices", "others")
    assert f"receipts 1 to {count}: it need not be here" in told.out
    words = ("second", "--repo", "office", "--root", "office/metadata/1.root.json", "--devices", "others")
    assert f"1 to {count}: not here, kept by the office's word" in usbupdate("audit", "show", *words).out
    usbupdate("audit", "report", "--html", "alone.html", *words)
    usbupdate("audit", "export", "--format", "csv", *words)
    usbupdate("audit", "evidence", "gw-1", "--output", "alone.zip", *words)
    usbupdate("audit", "verify", "second", *STORE, "--devices", "others")

    usbupdate("audit", "import", "second", *STORE)
    verdict = usbupdate("audit", "verify", *STORE, *DEVICES, "--json").json()
    of_device = only(verdict["devices"])
    assert (of_device["standing"], of_device["receipts"], of_device["findings"]) == ("ok", status()["receipts"], [])
    shown = usbupdate("audit", "show", "--device", "gw-1", *STORE, *DEVICES, "--json").json()
    timeline = only(shown["devices"])
    assert [each["receipt"] for each in timeline["events"]] == list(range(1, int(str(status()["receipts"])) + 1))
    assert acknowledge()["acknowledged"] == {"gw-1": status()["receipts"]}

    usbupdate("audit", "report", "--html", "report.html", *STORE, *DEVICES)
    assert "1.3" in (place / "report.html").read_text()
    usbupdate("audit", "evidence", "gw-1", "--output", "evidence.zip", "--repo", "office", *STORE, *DEVICES)
    with zipfile.ZipFile(place / "evidence.zip") as packed:
        packed.extractall(place / "third-party")
    script = place / "third-party/evidence-gw-1/verify.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "Everything agrees." in done.stdout


def test_a_store_that_was_lost_is_not_taken_for_what_was_acknowledged(place: Path) -> None:
    visit(place, "first")
    usbupdate("audit", "enroll", "first", *DEVICES)
    usbupdate("audit", "import", "first", *STORE)
    acknowledge()
    release(3)
    visit(place, "second")
    (place / "store.sqlite3").unlink()
    usbupdate("audit", "import", "second", *STORE)
    # What was seen accounts for it when it is verified; it is not in the store all the same.
    words = ("--repo", "office", "--key", "audit.pem", *STORE, *DEVICES, "--json")
    found = usbupdate("audit", "acknowledge", *words, code=ExitCode.EVIDENCE_BROKEN).json()
    assert found["left"] == {"gw-1": "not all in the store"}
    assert json.dumps(found["new"]) == "[]"
