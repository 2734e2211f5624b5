"""`audit import`, `audit store`, and the store as a source of `verify` and `show`, by the command line only."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.receipts import device, write_log
from tests.stores import contents_of
from usbupdate.audit.store.address import FileAddress, ServerAddress, address_of
from usbupdate.cli.main import app
from usbupdate.errors import ExitCode, PasswordExposedError, UnusableValueError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stick(mount: Path) -> Path:
    for name, count in (("gw-0001", 4), ("gw-0002", 2)):
        write_log(mount / "usbupdate" / "logs" / name, count, name)
    return mount


def run(*words: object, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Return exit code, output and what was said beside it."""
    done = CliRunner().invoke(app, ["audit", *map(str, words)], env={"USBUPDATE_STORE": None, **(environment or {})})
    return done.exit_code, done.stdout, done.stderr


def test_an_import_says_what_is_new_and_where_it_is(store_address: str, stick: Path) -> None:
    code, out, _ = run("import", stick, "--store", store_address)
    shown = address_of(store_address, {}).shown()
    assert (code, out) == (0, f"2 logs: 2 new with 6 new receipts, 0 known. All of it is in {shown}.\n")
    code, out, _ = run("import", stick, "--store", store_address)
    assert (code, out) == (0, f"2 logs: 0 new with 0 new receipts, 2 known. All of it is in {shown}.\n")


def test_an_import_is_one_json_document(tmp_path: Path, stick: Path) -> None:
    code, out, err = run("import", stick, "--store", tmp_path / "store", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "store": str(tmp_path / "store"),
        "logs": 2,
        "new_logs": 2,
        "new_receipts": 6,
        "new_origins": 2,
        "unread": [],
    }


def test_what_was_imported_is_verified_and_shown_as_the_stick_is(store_address: str, tmp_path: Path, stick: Path) -> None:
    devices = ("--devices", tmp_path / "devices")
    run("enroll", stick, *devices)
    run("import", stick, "--store", store_address)
    for command in ("verify", "show"):
        on_stick = run(command, stick, *devices)
        assert on_stick[0] == 0
        assert run(command, "--store", store_address, *devices) == on_stick
        assert run(command, *devices, environment={"USBUPDATE_STORE": store_address}) == on_stick
    together = json.loads(run("verify", stick, "--store", store_address, "--json", *devices)[1])
    assert [len(each["sources"]) for each in together["devices"]] == [2, 2]


def test_a_changed_log_is_found_in_the_store_with_the_same_exit_code(tmp_path: Path, stick: Path) -> None:
    devices = ("--devices", tmp_path / "devices")
    run("enroll", stick, *devices)
    log = stick / "usbupdate" / "logs" / "gw-0002" / "receipts.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    run("import", stick, "--store", tmp_path / "store")
    code, out, _ = run("verify", "--store", tmp_path / "store", *devices)
    assert code == ExitCode.EVIDENCE_BROKEN
    assert "gw-0002: receipt 1:" in out
    assert f"{log.parent}, imported " in out


def test_the_usual_store_is_a_file_among_the_users_data(tmp_path: Path, stick: Path) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path / "data"), "LOCALAPPDATA": str(tmp_path / "data")}
    assert run("import", stick, environment=environment)[0] == 0
    assert (tmp_path / "data" / "usbupdate" / "evidence.sqlite3").is_file()
    assert run("verify", environment=environment)[0] == ExitCode.NOT_ENROLLED


def test_without_sticks_and_without_a_store_it_is_said_that_there_is_none(tmp_path: Path) -> None:
    code, out, err = run("verify", "--store", tmp_path / "nothing")
    assert (code, out) == (ExitCode.STORE, "")
    assert "There is no store of evidence" in err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_is_said_to_hold_nothing(tmp_path: Path) -> None:
    assert run("store", "upgrade", "--store", tmp_path / "store")[0] == 0
    code, _, err = run("verify", "--store", tmp_path / "store")
    assert code == ExitCode.INPUT
    assert "holds no device's log" in err


def test_a_stick_without_logs_makes_no_store(tmp_path: Path, mount: Path) -> None:
    assert run("import", mount, "--store", tmp_path / "store")[0] == ExitCode.INPUT
    assert not (tmp_path / "store").exists()


def test_a_file_that_cannot_be_read_ends_in_a_code_of_its_own_and_the_rest_is_kept(tmp_path: Path, stick: Path) -> None:
    checkpoint = stick / "usbupdate" / "logs" / "gw-0001" / "checkpoint"
    checkpoint.unlink()
    checkpoint.mkdir()
    code, out, err = run("import", stick, "--store", tmp_path / "store")
    assert code == ExitCode.MEDIUM
    assert "2 logs: 2 new with 6 new receipts" in out
    assert str(checkpoint.parent) in err


def test_the_table_to_ask_by_is_made_anew(store_address: str, stick: Path) -> None:
    run("import", stick, "--store", store_address)
    before = contents_of(store_address)
    code, out, _ = run("store", "rebuild", "--store", store_address)
    assert code == 0
    assert out.endswith(": 6 receipts can be asked for.\n")
    assert contents_of(store_address) == before


@pytest.mark.parametrize("address", ["postgresql://a:hush@/x", "postgresql://a@/x?password=hush", "postgres://:hush@h/x"])
@pytest.mark.parametrize("words", [["import", "STICK"], ["verify"], ["show"], ["store", "upgrade"], ["store", "rebuild"]])
def test_a_password_is_not_taken_from_the_command_line(stick: Path, words: list[str], address: str) -> None:
    code, out, err = run(*[stick if word == "STICK" else word for word in words], "--store", address)
    assert code == ExitCode.INPUT
    assert "holds a password" in err
    assert "hush" not in out + err


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://a:hush@/x?host=/nowhere",
        "postgresql://a@/x?host=/nowhere&password=hush",
        "postgresql://a@/x?host=/nowhere&sslpassword=hush",
        "postgresql://a:hush@[/x",
        "postgresql://a:hush@host:port/x",
        "postgresql://a@/x?host=/nowhere&hush=hush&password=hush",
        "postgresql://a:12/:hush@host/x",
        "postgresql://a:12?:hush@host/x",
        "postgresql://a:12#:hush@host/x",
        "postgresql://a:12@:hush@host/x",
        "mysql://a:hush@host/x",
        "postgresql://a:hu%73h@/x?host=/nowhere",
    ],
)
def test_a_password_in_the_environment_is_never_shown(stick: Path, address: str) -> None:
    code, out, err = run("import", stick, environment={"USBUPDATE_STORE": address})
    assert code in {ExitCode.STORE, ExitCode.INPUT}
    assert ":hush" not in out + err
    assert "password=hush" not in out + err
    assert "Traceback" not in err


def test_an_address_is_shown_without_what_is_secret() -> None:
    address = address_of(None, {"USBUPDATE_STORE": "postgres://a:b%40c@host:5433/x?host=/run/pg&password=q&sslmode=require"})
    assert isinstance(address, ServerAddress)
    assert address.shown() == "postgresql://a@host:5433/x?host=/run/pg&sslmode=require"
    assert "b%40c" not in repr(address)


def test_what_the_command_line_says_goes_before_the_environment(tmp_path: Path) -> None:
    given = address_of(str(tmp_path / "x"), {"USBUPDATE_STORE": "postgresql://a:b@/x"})
    assert given == FileAddress(tmp_path / "x")
    with pytest.raises(UnusableValueError):
        address_of("oracle://host/x", {})
    with pytest.raises(PasswordExposedError):
        address_of("postgresql+psycopg://a:@/x", {})


@pytest.mark.parametrize("library", ["sqlalchemy", "alembic"])
def test_without_the_libraries_it_is_said_what_to_install_and_sticks_are_verified(
    tmp_path: Path, stick: Path, library: str
) -> None:
    def run_without(*words: object) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.modules[{library!r}] = None; from usbupdate.__main__ import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, "audit", *map(str, words)], capture_output=True, text=True, timeout=120, check=False
        )

    for words in (["import", stick], ["verify"], ["store", "upgrade"], ["store", "rebuild"]):
        done = run_without(*words, "--store", tmp_path / "store")
        assert done.returncode == ExitCode.INPUT
        assert done.stderr.startswith(f"Error: A store of evidence of this kind needs {library}, which is not installed.\n")
        assert "pip install 'usbupdate[audit]'" in done.stderr
    assert not (tmp_path / "store").exists()
    assert run_without("verify", stick, "--devices", tmp_path / "devices").returncode == ExitCode.NOT_ENROLLED


def test_without_the_driver_of_postgresql_it_is_said_what_to_install(stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    code, _, err = run("import", stick, "--store", "postgresql:///x?host=/nowhere")
    assert code == ExitCode.INPUT
    assert err.startswith("Error: A store of evidence of this kind needs psycopg")


def test_who_imported_is_kept(tmp_path: Path, stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr("platform.node", lambda: "office")
    run("import", stick, "--store", tmp_path / "store")
    assert {row[2] for row in contents_of(str(tmp_path / "store"))["origins"]} == {"alice@office"}
    assert device("gw-0001")[0].device in {row[1] for row in contents_of(str(tmp_path / "store"))["copies"]}
