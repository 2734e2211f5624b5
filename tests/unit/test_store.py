"""The store of evidence, in SQLite and in PostgreSQL: what goes in comes out, once, and stays."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from alembic import command
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.receipts import chain, checkpoint_over, device, write_log
from tests.source import CHECKOUT
from tests.stores import IMPORTER, NOW, Held, contents_of, keep, keep_places, kept, verdicts_of
from usbupdate.audit.copies import LogCopy, find_copies
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.store import database, importing
from usbupdate.audit.store.address import address_of
from usbupdate.audit.store.claims import claims_of
from usbupdate.audit.store.database import Store, opened, opened_for_import
from usbupdate.audit.store.derived import rebuild
from usbupdate.audit.store.importing import Importer, import_logs
from usbupdate.audit.store.reading import StoredPlace, stored_places
from usbupdate.audit.store.schema import EVIDENCE, RECEIPTS
from usbupdate.audit.verdict import Standing
from usbupdate.core import envelope
from usbupdate.core.words import DeviceId
from usbupdate.errors import (
    EvidenceStoreFailedError,
    EvidenceStoreMissingError,
    EvidenceStoreNewerError,
    EvidenceStoreOlderError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config
    from sqlalchemy import Connection

LIMIT_S: Final = 120
GENUINE: Final = b"".join(line + b"\n" for line in chain(4))
COLUMNS: Final = [next(iter(table.columns)).name for table in EVIDENCE]
LATER_REVISIONS: Final = Path(__file__).parent / "revisions"


def stick(folder: Path, count: int, name: str = "gw-0001", *, text: str = "") -> Path:
    """Return a stick with one device's log."""
    return write_log(folder / "usbupdate" / "logs" / name, count, name, text=text).parents[2]


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    """Return the auditor's memory, with gw-0001 enrolled."""
    devices = Devices(tmp_path / "devices")
    enrol(stick(tmp_path / "to-enrol", 1), devices, device=None, fingerprint=None)
    return devices


@pytest.fixture
def filled(store_address: str, tmp_path: Path) -> Iterator[Store]:
    """Give an open store with two devices' logs."""
    keep(store_address, stick(tmp_path / "one", 4), stick(tmp_path / "two", 3, "gw-0002"))
    with opened(address_of(store_address, {})) as store:
        yield store


# --- What goes in comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "receipts",
    [
        GENUINE,
        b"",
        b"\n",
        b"\n\n\n" + GENUINE,
        GENUINE + b"{",
        GENUINE[:-1],
        GENUINE.replace(b"\n", b"\r\n"),
        GENUINE + GENUINE,
        b"\n".join(reversed(GENUINE.splitlines())),
        GENUINE + b"".join(line + b"\n" for line in chain(3, "gw-0002")),
        b"\x00\xff\n[]\n{}\nnull\n" + GENUINE,
        b'{"payload":"' + b"A" * 200_000 + b'"}\n',
        b'{"payload":"' + b"W1tbW1tb" * 10_000 + b'"}\n',
    ],
    ids=lambda receipts: f"{len(receipts)} bytes",
)
def test_what_came_comes_out_byte_for_byte(store_address: str, receipts: bytes) -> None:
    files = {"receipts.jsonl": receipts, "checkpoint": b"\xff\x00", "identity.json": b""}
    copy = LogCopy("/media/stick", DeviceId("gw-0001"), files, {})
    keep_places(store_address, [Held(copy)])
    (found,) = kept(store_address)
    assert (found.files, found.folder, found.unreadable) == (copy.files, copy.folder, {})
    assert found.source == f"/media/stick, imported {NOW} by {IMPORTER.name}"


@pytest.mark.parametrize("missing", ["receipts.jsonl", "checkpoint", "identity.json"])
def test_what_did_not_come_does_not_come_out(store_address: str, tmp_path: Path, missing: str) -> None:
    (stick(tmp_path, 2) / "usbupdate" / "logs" / "gw-0001" / missing).unlink()
    keep(store_address, tmp_path)
    assert kept(store_address)[0].files == find_copies([tmp_path])[0].read().files


def test_a_file_that_could_not_be_read_is_told_again(store_address: str, tmp_path: Path) -> None:
    checkpoint = stick(tmp_path, 2) / "usbupdate" / "logs" / "gw-0001" / "checkpoint"
    checkpoint.unlink()
    checkpoint.mkdir()
    done = keep(store_address, tmp_path)
    assert done.unread == [str(checkpoint.parent)]
    assert kept(store_address)[0].unreadable == find_copies([tmp_path])[0].read().unreadable != {}


def test_a_folder_that_names_no_device_is_kept_as_one(store_address: str, tmp_path: Path) -> None:
    keep(store_address, write_log(tmp_path / "case 17", 2))
    assert kept(store_address)[0].folder is None


def test_a_path_that_is_no_text_is_kept_as_well_as_can_be(store_address: str) -> None:
    keep_places(store_address, [Held(LogCopy("/media/\udcff\n", DeviceId("gw-0001"), {}, {}))])
    assert kept(store_address)[0].source.startswith("/media/\ufffd\ufffd, imported")


def test_a_place_can_be_read_in_another_process(filled: Store) -> None:
    places = stored_places(filled)
    with get_context("spawn").Pool(1) as pool:
        assert pool.map(StoredPlace.read, places) == [place.read() for place in places]


# --- Once, however often it comes ---------------------------------------------------------------------------------------------


def test_the_same_stick_twice_changes_nothing(store_address: str, tmp_path: Path) -> None:
    first = keep(store_address, stick(tmp_path / "stick", 4))
    before = contents_of(store_address)
    raw = Path(store_address).read_bytes() if not store_address.startswith("postgresql") else b""
    again = keep(store_address, tmp_path / "stick")
    assert (first.new_copies, first.new_lines, first.new_origins) == (1, 4, 1)
    assert (again.logs, again.new_copies, again.new_lines, again.new_origins) == (1, 0, 0, 0)
    assert contents_of(store_address) == before
    if raw:
        assert Path(store_address).read_bytes() == raw


def test_lines_that_many_sticks_bring_are_kept_once(store_address: str, tmp_path: Path) -> None:
    news = [keep(store_address, stick(tmp_path / str(count), count)).new_lines for count in (4, 2, 6, 5)]
    assert news == [4, 0, 2, 0]
    found = contents_of(store_address)
    assert len(found["lines"]) == len(found["receipts"]) == 6
    # A log that only grew takes one row more, however long it is.
    assert len(found["copies"]) == len(found["runs"]) == len(found["origins"]) == 4


def test_each_place_and_person_that_brings_a_copy_is_remembered(store_address: str, tmp_path: Path) -> None:
    shutil.copytree(stick(tmp_path / "one", 2), tmp_path / "two")
    keep(store_address, tmp_path / "one", tmp_path / "two")
    keep(store_address, tmp_path / "one", importer=Importer("bob@laptop", "1"))
    found = contents_of(store_address)
    assert len(found["copies"]) == 1
    assert [(Path(str(row[1])).parts[-4], row[2]) for row in found["origins"]] == [
        ("one", "alice@office"),
        ("one", "bob@laptop"),
        ("two", "alice@office"),
    ]


def test_two_histories_of_one_device_are_both_kept_and_told(store_address: str, tmp_path: Path, devices: Devices) -> None:
    keep(store_address, stick(tmp_path / "one", 4), stick(tmp_path / "two", 3, text="another history"))
    verdict = verdicts_of(store_address, devices)["gw-0001"]
    assert verdict.standing is Standing.BROKEN
    assert "forked" in {str(finding.flaw) for finding in verdict.findings}
    assert len(contents_of(store_address)["lines"]) == 7


def test_the_database_refuses_to_change_or_remove_evidence(filled: Store) -> None:
    names = [table.name for table in EVIDENCE]
    changes = ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "DELETE FROM {0} WHERE true"]
    changes += ["REPLACE INTO {0} SELECT * FROM {0}"] if filled.engine.dialect.name == "sqlite" else ["TRUNCATE {0} CASCADE"]
    for change, (name, column) in itertools.product(changes, zip(names, COLUMNS, strict=True)):
        with pytest.raises(DBAPIError, match="evidence is never changed or removed"), filled.engine.begin() as connection:
            connection.execute(text(change.format(name, column)))


# --- Killed, and several at once ----------------------------------------------------------------------------------------------


def test_an_import_that_stopped_anywhere_is_finished_by_the_next(
    store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [stick(tmp_path / str(number), number + 2, f"gw-{number:04}") for number in range(3)]
    monkeypatch.setattr(importing, "_LINES_AT_ONCE", 1)

    def stop_after_two(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), opened_for_import(address_of(store_address, {})) as store:
        import_logs(store, find_copies(mounts), IMPORTER, lambda: NOW, stop_after_two)
    assert len(contents_of(store_address)["copies"]) == 2
    assert keep(store_address, *mounts).new_copies == 1
    assert [len(copy.files["receipts.jsonl"].splitlines()) for copy in kept(store_address)] == [2, 3, 4]


KILLED: Final = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from tests.stores import keep
left = int(sys.argv[2])
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "before_cursor_execute", count)
event.listen(Engine, "commit", count)
keep(sys.argv[1], Path(sys.argv[3]))
print(-left)
"""


def run_until(statements: int, address: str, mount: Path) -> subprocess.CompletedProcess[str]:
    """Run an import in a program that kills itself before a statement or commit; never before the 0th."""
    words: list[str | Path] = [sys.executable, "-c", KILLED, address, str(statements), mount]
    return subprocess.run(words, check=False, timeout=LIMIT_S, capture_output=True, text=True, cwd=CHECKOUT)


def test_an_import_that_is_killed_leaves_a_whole_store_or_none(
    store_address: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    mount = stick(tmp_path / "stick", 4)
    alone = str(tmp_path / "alone.sqlite3")
    whole = int(run_until(0, alone, mount).stdout)
    expected = contents_of(alone)
    # While the tables are made, while evidence is written, and before its commit.
    for number, moment in enumerate((2, whole // 3, whole - 4, whole - 1, whole)):
        is_file = not store_address.startswith("postgresql")
        address = f"{store_address}-{number}" if is_file else request.getfixturevalue("postgresql").new_database()
        killed = run_until(moment, address, mount)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        with suppress(EvidenceStoreMissingError):
            assert contents_of(address) != expected
        keep(address, mount)
        assert contents_of(address) == expected


SEVERAL: Final = """
import sys
from pathlib import Path
from tests.stores import keep
from usbupdate.audit.store import importing
importing._LINES_AT_ONCE = 20
sys.stdin.read(1)
keep(sys.argv[1], *map(Path, sys.argv[2:]))
"""


def test_several_imports_at_once_into_a_new_store_make_what_one_makes(store_address: str, tmp_path: Path) -> None:
    # Copies of different age share lines, so the programs write the same rows in the same moments.
    mounts = [stick(tmp_path / f"{number}-{age}", 3 + age, f"gw-{number:04}") for number in range(8) for age in (0, 4, 2)]
    orders = [mounts, mounts[::-1], mounts[5:] + mounts[:5], mounts[::2] + mounts[1::2]]
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", SEVERAL, store_address, *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=CHECKOUT,
        )
        for order in orders
    ]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write(b"!")
        program.stdin.flush()
    for program in programs:
        _, errors = program.communicate(timeout=LIMIT_S)
        assert program.returncode == 0, errors.decode()
    alone = str(tmp_path / "alone.sqlite3")
    keep(alone, *mounts)
    assert contents_of(store_address) == contents_of(alone)


# --- What is left out because another copy tells it --------------------------------------------------------------------------


def test_a_stick_that_was_pulled_speaks_against_a_device_until_the_next_one_comes(
    store_address: str, tmp_path: Path, devices: Devices
) -> None:
    pulled = stick(tmp_path / "pulled", 4)
    log = pulled / "usbupdate" / "logs" / "gw-0001"
    (log / "checkpoint").unlink()
    log.joinpath("receipts.jsonl").write_bytes(log.joinpath("receipts.jsonl").read_bytes()[:-700])
    keep(store_address, pulled)
    assert verdicts_of(store_address, devices)["gw-0001"].standing is not Standing.OK
    keep(store_address, stick(tmp_path / "next", 5))
    verdict = verdicts_of(store_address, devices)["gw-0001"]
    assert (verdict.standing, len(verdict.receipts), len(verdict.sources)) == (Standing.OK, 5, 1)


def test_older_copies_are_not_read_again_and_again(store_address: str, tmp_path: Path) -> None:
    for count in (1, 5, 3):
        keep(store_address, stick(tmp_path / str(count), count))
    (copy,) = kept(store_address)
    assert copy.files["receipts.jsonl"].count(b"\n") == 5


def _with_checkpoint_over(lines: list[bytes]) -> bytes:
    return checkpoint_over(lines, *device("gw-0001"))


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("checkpoint", _with_checkpoint_over(chain(3, text="another history"))),
        ("checkpoint", _with_checkpoint_over(chain(6))),
        ("checkpoint", b"no checkpoint"),
        ("identity.json", b"somebody else"),
        ("receipts.jsonl", b"".join(line + b"\n" for line in [chain(3)[0], chain(3)[2]])),
        ("receipts.jsonl", b"".join(line + b"\n" for line in chain(3)) + b"added"),
    ],
    ids=[
        "over another history",
        "over more than the other",
        "malformed",
        "another identity",
        "a line less",
        "half a line more",
    ],
)
def test_an_older_copy_that_could_contradict_is_not_left_out(
    store_address: str, tmp_path: Path, name: str, contents: bytes
) -> None:
    older = stick(tmp_path / "older", 3)
    (older / "usbupdate" / "logs" / "gw-0001" / name).write_bytes(contents)
    keep(store_address, older, stick(tmp_path / "newer", 5))
    assert sorted(copy.files[name] == contents for copy in kept(store_address)) == [False, True]


def test_a_whole_copy_is_not_left_out_for_a_longer_one_without_a_checkpoint(store_address: str, tmp_path: Path) -> None:
    longer = stick(tmp_path / "longer", 5)
    (longer / "usbupdate" / "logs" / "gw-0001" / "checkpoint").unlink()
    keep(store_address, longer, stick(tmp_path / "whole", 3))
    assert len(kept(store_address)) == 2


# --- The table to ask by ------------------------------------------------------------------------------------------------------


def test_what_receipts_claim_can_be_asked_for(filled: Store) -> None:
    with filled.reading() as connection:
        rows = connection.execute(select(RECEIPTS).where(RECEIPTS.c.device == "gw-0001").order_by(RECEIPTS.c.number)).mappings()
        found = [dict(row) for row in rows]
    receipts = [envelope.peek_unproven(line) for line in chain(4)]
    expected = [
        {
            "line": bytes.fromhex(envelope.line_digest(line)),
            "device": receipt.device,
            "number": receipt.number,
            "event": str(receipt.event),
            "wall": receipt.draft.moment.wall,
            "clock": str(receipt.draft.moment.clock),
            "boot_id": receipt.draft.moment.boot_id,
            "monotonic_ms": receipt.draft.moment.monotonic_ms,
            "from_version": "1.0",
            "from_sequence": receipt.number,
            "to_version": "1.1",
            "to_sequence": receipt.number + 1,
            "bundle": "gateway",
            "reason": None,
            "count": receipt.draft.count,
            "duration_ms": receipt.draft.duration_ms,
        }
        for line, receipt in zip(chain(4), receipts, strict=True)
    ]
    assert found == expected


def test_what_somebody_wrote_into_the_table_is_mended_from_the_evidence(store_address: str, filled: Store) -> None:
    before = contents_of(store_address)
    with filled.writing() as connection:
        connection.execute(RECEIPTS.update().values(to_version="9.9"))
        connection.execute(RECEIPTS.delete().where(RECEIPTS.c.number == 2))
    assert contents_of(store_address) != before
    assert rebuild(filled) == 7
    assert contents_of(store_address) == before
    with filled.writing() as connection:
        command.check(database.configuration(connection))


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM receipts WHERE device = 'gw-0001' ORDER BY number",
        "SELECT device, max(number) FROM receipts GROUP BY device",
        "SELECT count(*) FROM receipts WHERE event = 'committed' AND wall > '2026'",
        "SELECT device FROM receipts WHERE to_version = '1.1' ORDER BY wall",
        "SELECT * FROM copies WHERE device = 'gw-0001'",
    ],
)
def test_the_questions_of_a_report_have_an_index(tmp_path: Path, question: str) -> None:
    address = str(tmp_path / "evidence.sqlite3")
    keep(address, stick(tmp_path / "stick", 1))
    with opened(address_of(address, {})) as store, store.reading() as connection:
        plan = "; ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}"))
    assert " INDEX " in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'{"payload":"',
        b'{"payload":"!"}',
        b'{"payload":"e30="}',
        b'{"payload":"W10="}',
        b'{"payload":"MQ=="}',
        b'{"payload":"' + b"W1tb" * 20_000 + b'"}',
        b"\xff" * 100,
    ],
    ids=range(9),
)
def test_what_is_no_receipt_claims_nothing(line: bytes) -> None:
    assert claims_of(line) is None


# --- The form of the store ----------------------------------------------------------------------------------------------------


def test_the_tables_are_what_the_migrations_make(filled: Store) -> None:
    with filled.writing() as connection:
        command.check(database.configuration(connection))


@contextmanager
def later_version() -> Iterator[None]:
    """Be a later version of the program, which knows one more form of the store."""
    ours = database.configuration

    def configuration(connection: Connection | None = None) -> Config:
        config = ours(connection)
        places = [str(Path(importing.__file__).parent / "migrations" / "versions"), str(LATER_REVISIONS)]
        config.set_main_option("version_locations", os.pathsep.join(places))
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "configuration", configuration)
        yield


def test_a_filled_store_of_an_earlier_form_is_upgraded_by_an_import_and_by_nothing_else(
    store_address: str, tmp_path: Path
) -> None:
    keep(store_address, stick(tmp_path / "one", 3))
    before = contents_of(store_address)
    with later_version():
        with pytest.raises(EvidenceStoreOlderError, match="earlier version"), opened(address_of(store_address, {})):
            pass
        keep(store_address, tmp_path / "one")
        assert contents_of(store_address) == before
        with opened(address_of(store_address, {})) as store, store.reading() as connection:
            assert connection.execute(text("SELECT count(noted), count(*) FROM receipts")).one() == (0, 3)


def test_a_store_of_a_later_form_is_refused_and_left_alone(store_address: str, tmp_path: Path) -> None:
    with later_version():
        keep(store_address, stick(tmp_path / "one", 3))
        before = contents_of(store_address)
    with pytest.raises(EvidenceStoreNewerError, match="later version"), opened(address_of(store_address, {})):
        pass
    with pytest.raises(EvidenceStoreNewerError, match="later version"):
        keep(store_address, tmp_path / "one")
    with later_version():
        assert contents_of(store_address) == before


def test_a_store_that_was_never_made_is_not_made_by_reading(store_address: str) -> None:
    with pytest.raises(EvidenceStoreMissingError), opened(address_of(store_address, {})):
        pass
    assert not Path(store_address).exists()


@pytest.mark.parametrize("contents", [b"no database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "evidence.sqlite3"
    path.write_bytes(contents)
    with pytest.raises(EvidenceStoreFailedError):
        keep(str(path), stick(tmp_path / "one", 1))
    assert path.read_bytes() == contents


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "evidence.sqlite3"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE holidays (day TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(EvidenceStoreFailedError, match="something else"):
        keep(str(path), stick(tmp_path / "one", 1))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_new_store_is_private_and_one_file(tmp_path: Path) -> None:
    path = tmp_path / "data" / "evidence.sqlite3"
    keep(str(path), stick(tmp_path / "one", 1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_database_that_nobody_answers_for_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceStoreFailedError, match="postgresql:///nothing"):
        keep(f"postgresql:///nothing?host={tmp_path}", stick(tmp_path / "one", 1))
