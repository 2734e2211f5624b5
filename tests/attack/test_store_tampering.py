"""What somebody may do to the auditor's store itself, with the database in hand, and what `verify` tells of it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from tests.matrix import By, On, attack
from tests.receipts import chain, write_log
from tests.stores import Held, keep, keep_places, kept, verdicts_of
from usbupdate.audit.copies import LogCopy
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.store.importing import Importer
from usbupdate.audit.verdict import Standing
from usbupdate.core.words import DeviceId

if TYPE_CHECKING:
    from pathlib import Path

COUNT: Final = 5
THIRD: Final = hashlib.sha256(chain(COUNT)[2]).digest()
LAST: Final = hashlib.sha256(chain(COUNT)[-1]).digest()


@pytest.fixture
def stick(mount: Path) -> Path:
    for name in ("gw-0001", "gw-0002"):
        write_log(mount / "usbupdate" / "logs" / name, COUNT, name)
    return mount


@pytest.fixture
def devices(tmp_path: Path, stick: Path) -> Devices:
    devices = Devices(tmp_path / "devices")
    enrol(stick, devices, device=None, fingerprint=None)
    return devices


@pytest.fixture
def store(tmp_path: Path, stick: Path) -> str:
    address = str(tmp_path / "evidence.sqlite3")
    keep(address, stick)
    return address


def by_hand(address: str, statement: str, **values: str) -> None:
    """Change a store as somebody does who has the file, and leave its triggers as they were."""
    with closing(sqlite3.connect(address)) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        changed = database.execute(statement, {"third": THIRD, "last": LAST, **values}).rowcount
        for _, sql in triggers:
            database.execute(sql)
        database.commit()
    assert changed, "the manipulation changed nothing"


OF_VICTIM: Final = {
    "run": "copy = (SELECT digest FROM copies WHERE device = 'gw-0001')",
    "checkpoint": "digest = (SELECT checkpoint FROM copies WHERE device = 'gw-0001')",
    "identity": "digest = (SELECT identity FROM copies WHERE device = 'gw-0001')",
}
MANIPULATIONS: Final = {
    "a byte of a receipt": "UPDATE lines SET line = CAST(replace(line, 'A', 'B') AS BLOB) WHERE digest = :third",
    "a receipt as text": "UPDATE lines SET line = CAST(line AS TEXT) WHERE digest = :third",
    "a receipt emptied": "UPDATE lines SET line = x'' WHERE digest = :third",
    "a receipt that is a number": "UPDATE lines SET line = 7 WHERE digest = :third",
    "a receipt removed": "DELETE FROM lines WHERE digest = :third",
    "the last receipt removed": "DELETE FROM lines WHERE digest = :last",
    "two receipts in one": "UPDATE lines SET line = CAST(line || x'0a' || line AS BLOB) WHERE digest = :third",
    "another one before it": "UPDATE lines SET previous = :last WHERE digest = :third",
    "none before it": "UPDATE lines SET previous = NULL WHERE digest = :third",
    "a shorter log": "UPDATE runs SET length = 2 WHERE {run}",
    "an endless log": "UPDATE runs SET length = 1000000000000 WHERE {run}",
    "a log of no length": "UPDATE runs SET length = 'all' WHERE {run}",
    "an older end": "UPDATE runs SET last = :third, length = 3 WHERE {run}",
    "an end that is text": "UPDATE runs SET last = 'x' WHERE {run}",
    "no lines": "DELETE FROM runs WHERE {run}",
    "lines twice": "INSERT INTO runs SELECT copy, 1, last, length FROM runs WHERE {run}",
    "a byte of the checkpoint": "UPDATE files SET contents = CAST(replace(contents, 'a', 'b') AS BLOB) WHERE {checkpoint}",
    "the checkpoint as text": "UPDATE files SET contents = CAST(contents AS TEXT) WHERE {checkpoint}",
    "the checkpoint removed": "DELETE FROM files WHERE {checkpoint}",
    "the identity removed": "DELETE FROM files WHERE {identity}",
    "the checkpoint forgotten": "UPDATE copies SET checkpoint = NULL WHERE device = 'gw-0001'",
    "the receipts forgotten": "UPDATE copies SET receipts = NULL WHERE device = 'gw-0001'",
    "another's checkpoint": "UPDATE copies SET checkpoint = (SELECT checkpoint FROM copies WHERE device = 'gw-0002') "
    "WHERE device = 'gw-0001'",
    "another's receipts": "UPDATE runs SET last = (SELECT last FROM runs WHERE NOT {run}) WHERE {run}",
    "a digest that is a number": "UPDATE copies SET receipts = 1.5 WHERE device = 'gw-0001'",
    "something unreadable made up": "UPDATE copies SET unreadable = '[]' WHERE device = 'gw-0001'",
    "no word on what is unreadable": "UPDATE copies SET unreadable = 'nothing' WHERE device = 'gw-0001'",
    "a folder forgotten": "UPDATE copies SET folder = NULL WHERE device = 'gw-0001'",
    "a rest made up": "UPDATE copies SET rest = :third WHERE device = 'gw-0001'",
}


SHORTENED: Final = "UPDATE runs SET last = :third, length = 3 WHERE last <> :last"
GIVEN_ANOTHER_CHECKPOINT: Final = (
    "UPDATE files SET contents = (SELECT contents FROM files JOIN copies ON files.digest = checkpoint JOIN runs "
    "ON copies.digest = copy WHERE last = :last) WHERE digest = (SELECT checkpoint FROM copies JOIN runs "
    "ON copies.digest = copy WHERE last <> :last)"
)


@attack(
    By.NETWORK,
    On.RECORD,
    "the auditor's database edited by hand",
    "what comes out is compared with the digests of what came, and then judged as a stick is",
)
@pytest.mark.parametrize("manipulation", MANIPULATIONS)
def test_a_store_that_was_edited_is_found_and_the_device_named(store: str, devices: Devices, manipulation: str) -> None:
    assert {each.standing for each in verdicts_of(store, devices).values()} == {Standing.OK}
    by_hand(store, MANIPULATIONS[manipulation].format_map(OF_VICTIM))
    verdicts = verdicts_of(store, devices)
    assert verdicts["gw-0001"].standing is Standing.BROKEN
    assert all(finding.device == "gw-0001" for finding in verdicts["gw-0001"].findings)
    assert verdicts["gw-0002"].standing is Standing.OK


@attack(
    By.NETWORK,
    On.RECORD,
    "the one copy that contradicts made to look like an older one",
    "a copy is left out only if the digests that it came with say that another has all of it",
)
@pytest.mark.parametrize("statement", [SHORTENED, GIVEN_ANOTHER_CHECKPOINT])
def test_a_copy_that_contradicts_cannot_be_made_to_look_old(tmp_path: Path, devices: Devices, statement: str) -> None:
    address = str(tmp_path / "evidence.sqlite3")
    other = write_log(tmp_path / "other" / "usbupdate" / "logs" / "gw-0001", 3, text="another history").parents[2]
    keep(address, write_log(tmp_path / "usbupdate" / "logs" / "gw-0001", COUNT).parents[2], other)
    by_hand(address, statement)
    assert verdicts_of(address, devices)["gw-0001"].standing is Standing.BROKEN


@attack(
    By.NETWORK,
    On.RECORD,
    "one device's log given to another in the auditor's database",
    "a copy is known by a digest over whose it is too",
)
@pytest.mark.parametrize("other", ["gw-0002", "no device", ""])
def test_a_log_that_was_given_to_another_device_is_found(store: str, devices: Devices, other: str) -> None:
    by_hand(store, "UPDATE copies SET device = :other WHERE device = 'gw-0001'", other=other)
    verdicts = verdicts_of(store, devices)
    assert verdicts["gw-0002" if other == "gw-0002" else "unknown"].standing is Standing.BROKEN
    assert "gw-0001" not in verdicts


@attack(
    By.NETWORK,
    On.RECORD,
    "a forged log put into the auditor's database, all its digests right",
    "the database is believed as little as a stick: signatures, chain and what was seen before decide",
)
def test_a_forged_log_in_the_store_is_worth_what_it_is_on_a_stick(tmp_path: Path, devices: Devices) -> None:
    address = str(tmp_path / "forged.sqlite3")
    keep(address, write_log(tmp_path / "usbupdate" / "logs" / "gw-0001", COUNT, key="another key").parents[2])
    verdict = verdicts_of(address, devices)["gw-0001"]
    assert (verdict.standing, verdict.receipts) == (Standing.BROKEN, ())


@attack(
    By.NETWORK,
    On.RECORD,
    "receipts removed from the auditor's database with every trace",
    "what was seen of a device is kept apart from the database",
)
def test_a_history_that_was_replaced_in_the_store_contradicts_what_was_seen(
    tmp_path: Path, store: str, devices: Devices
) -> None:
    verdicts_of(store, devices)
    address = str(tmp_path / "replaced.sqlite3")
    keep(address, write_log(tmp_path / "usbupdate" / "logs" / "gw-0001", COUNT, text="another history").parents[2])
    assert verdicts_of(address, devices)["gw-0001"].standing is Standing.BROKEN


@attack(
    By.STICK,
    On.OFFICE,
    "names and lines that are statements to a database",
    "values are bound to statements and never a part of them",
)
def test_what_is_on_a_stick_is_never_a_statement(store_address: str) -> None:
    hostile = "'; DROP TABLE lines; -- %s %(x)s :x ? \x00"
    copy = LogCopy(hostile, DeviceId("gw-0001"), {"receipts.jsonl": hostile.encode() + b"\n", "checkpoint": b"%b"}, {})
    keep_places(store_address, [Held(copy)], importer=Importer(hostile.replace("\x00", ""), "1"))
    assert kept(store_address)[0].files == copy.files


@attack(
    By.STICK,
    On.OFFICE,
    "a log of nothing but line feeds, or of lines that are nothing",
    "so many lines are taken apart, and the rest is kept in one piece",
)
@pytest.mark.parametrize("line", [b"\n", b"x\n"])
def test_a_log_of_nothing_is_kept_and_does_not_fill_the_store(tmp_path: Path, line: bytes) -> None:
    address = str(tmp_path / "evidence.sqlite3")
    receipts = line * (1 << 20)
    keep_places(address, [Held(LogCopy("x", DeviceId("gw-0001"), {"receipts.jsonl": receipts}, {}))])
    assert kept(address)[0].files["receipts.jsonl"] == receipts
    with closing(sqlite3.connect(address)) as database:
        assert database.execute("SELECT count(*) FROM lines").fetchone() == (1,)
