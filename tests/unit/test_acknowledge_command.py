"""`repo name-acknowledger`, `audit acknowledge` and `stick inspect`, by the command line only."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.commands import usbupdate
from tests.matrix import By, On, attack
from tests.receipts import chain, write_log
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("USBUPDATE_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    usbupdate("repo", "init", "repo")
    usbupdate("key", "create", "audit.pem")
    usbupdate("repo", "name-acknowledger", "repo", "audit.pem.pub")
    for name, count in (("gw-0001", 4), ("gw-0002", 2)):
        write_log(tmp_path / "back/usbupdate/logs" / name, count, name)
    usbupdate("audit", "enroll", "back", "--devices", "devices", "--device", "gw-0001")
    usbupdate("audit", "import", "back", "--store", "store")
    return tmp_path


def acknowledge(*more: str, code: int = 0) -> dict[str, object]:
    words = ("--repo", "repo", "--key", "audit.pem", "--store", "store", "--devices", "devices", "--json")
    return usbupdate("audit", "acknowledge", *words, *more, code=code).json()


def test_what_is_in_good_order_is_acknowledged_and_the_rest_named(place: Path) -> None:
    assert acknowledge(code=ExitCode.NOT_ENROLLED) == {
        "repo": "repo",
        "acknowledged": {"gw-0001": 4},
        "new": ["gw-0001"],
        "refused": {},
        "left": {"gw-0002": "not-enrolled"},
        "flawed": {},
    }
    usbupdate("audit", "enroll", "back", "--devices", "devices")
    assert acknowledge()["new"] == ["gw-0002"]
    assert acknowledge()["new"] == []
    (place / "stick").mkdir()
    words = "It brings word that receipts have arrived, for 2 devices\n"
    assert words in usbupdate("stick", "write", "repo", "stick", "--log-only").out
    assert words in usbupdate("stick", "inspect", "stick").out
    assert usbupdate("stick", "inspect", "stick", "--json").json()["acknowledged_devices"] == 2


def test_what_only_a_stick_holds_is_not_acknowledged(place: Path) -> None:
    write_log(place / "back/usbupdate/logs/gw-0001", 6, "gw-0001")
    assert acknowledge(code=ExitCode.NOT_ENROLLED)["acknowledged"] == {"gw-0001": 4}
    usbupdate("audit", "import", "back", "--store", "store")
    assert acknowledge(code=ExitCode.NOT_ENROLLED)["acknowledged"] == {"gw-0001": 6}


@attack(
    By.TECHNICIAN,
    On.RECORD,
    "one copy is tampered with, so that nothing of the device is acknowledged any more",
    "what whole copies in the store prove is acknowledged all the same; the bad copy is named, and speaks against itself",
)
@pytest.mark.parametrize("flaw", ["line", "first", "checkpoint", "identity"])
def test_a_tampered_copy_stops_no_acknowledgement(place: Path, flaw: str) -> None:
    log = place / "back/usbupdate/logs/gw-0001"
    tampered = place / "bad/usbupdate/logs/gw-0001"
    shutil.copytree(log, tampered)
    lines = (log / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    match flaw:
        case "line":
            (tampered / "receipts.jsonl").write_bytes(b"".join([lines[0], chain(2, key="thief")[1] + b"\n", *lines[2:]]))
        case "first":
            (tampered / "receipts.jsonl").write_bytes(b"".join(lines[1:]))
        case "checkpoint":
            (tampered / "checkpoint").write_bytes((write_log(place / "thief", 4, key="thief") / "checkpoint").read_bytes())
        case _:
            (tampered / "identity.json").write_bytes(b"{}")
    usbupdate("audit", "import", "bad", "--store", "store")
    found = acknowledge(code=ExitCode.EVIDENCE_BROKEN)
    assert (found["acknowledged"], found["left"]) == ({"gw-0001": 4}, {"gw-0002": "not-enrolled"})
    assert found["flawed"] == {"gw-0001": "broken"}
    write_log(log, 6)
    usbupdate("audit", "import", "back", "--store", "store")
    assert acknowledge(code=ExitCode.EVIDENCE_BROKEN)["acknowledged"] == {"gw-0001": 6}


@pytest.mark.parametrize("other", [{"text": "another history"}, {"key": "another key"}])
def test_where_there_may_be_two_histories_nothing_is_acknowledged(place: Path, other: dict[str, str]) -> None:
    write_log(place / "bad/usbupdate/logs/gw-0001", 4, **other)
    usbupdate("audit", "import", "bad", "--store", "store")
    found = acknowledge(code=ExitCode.EVIDENCE_BROKEN)
    assert (found["acknowledged"], found["left"]) == ({}, {"gw-0001": "broken", "gw-0002": "not-enrolled"})


def test_what_is_told_does_not_contradict_itself(place: Path) -> None:
    words = ("audit", "acknowledge", "--repo", "repo", "--key", "audit.pem", "--store", "store", "--devices", "devices")
    assert "gw-0001: 4 receipts are acknowledged\n" in usbupdate(*words, code=ExitCode.NOT_ENROLLED).out
    write_log(place / "bad/usbupdate/logs/gw-0001", 5, text="another history")
    usbupdate("audit", "import", "bad", "--store", "store")
    told = usbupdate(*words, code=ExitCode.EVIDENCE_BROKEN).out
    assert "gw-0001: NOTHING NEW ACKNOWLEDGED beyond 4 receipts: its evidence is broken" in told
    assert told.endswith("Nothing is newly acknowledged; the repository keeps the acknowledgements of 1 device.\n")


def test_check_lists_who_may_acknowledge_until_he_is_dropped(place: Path) -> None:
    shown = usbupdate("key", "show", "audit.pem.pub", "--json").json()
    told = usbupdate("key", "show", "audit.pem").out
    assert f"Key id: {shown['id']}\nEd25519 public key: {shown['public_key']}\n" in told
    assert f"acknowledger audit, key id {shown['id']}\n" in usbupdate("repo", "check", "repo").out
    table = usbupdate("repo", "check", "repo", "--json").json()["acknowledgers"]
    assert isinstance(table, list)
    assert [(each["name"], each["id"], each["public_key"]) for each in table] == [("audit", shown["id"], shown["public_key"])]
    assert "dropped" in usbupdate("repo", "drop-acknowledger", "repo", "audit").out
    assert "acknowledger" not in usbupdate("repo", "check", "repo").out
    usbupdate("repo", "drop-acknowledger", "repo", "audit", code=ExitCode.OFFICE)
    words = ("--repo", "repo", "--key", "audit.pem", "--store", "store", "--devices", "devices")
    usbupdate("audit", "acknowledge", *words, code=ExitCode.KEY)
    assert not (place / "repo/acknowledgements").exists()
