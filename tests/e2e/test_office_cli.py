"""The release engineer at the command line: from an empty folder to sticks in several pockets."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from usbupdate.cli.main import app
from usbupdate.errors import ExitCode

RIGHT, WRONG = "open sesame", "wrong"
MADE = ("--name", "gw", "--version", "1.0", "--compatible", "acme,gw-100", "--repo", "repo")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        table = json.loads(self.out)
        assert isinstance(table, dict)
        return table


def usbupdate(*arguments: str | Path, typed: str | None = None, code: int = 0, passphrase: str | None = None) -> Said:
    result = CliRunner().invoke(app, [str(each) for each in arguments], input=typed, env={"USBUPDATE_PASSPHRASE": passphrase})
    said = Said(result.exit_code, result.stdout, result.stderr)
    assert said.code == code, (said, result.exception)
    if code not in {0, ExitCode.USAGE}:
        error, hint = said.err.strip().splitlines()[-2:]
        assert error.startswith("Error: ")
        assert hint.startswith("What to do: ")
    assert "Traceback" not in said.err
    return said


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the commands are typed, with an image and two empty sticks."""
    monkeypatch.chdir(tmp_path)
    Path("image").write_bytes(os.urandom(300_000) + bytes(600_000))
    Path("app").write_bytes(os.urandom(10_000))
    Path("stick1").mkdir()
    Path("stick2").mkdir()
    return tmp_path


def tree(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_one_person_makes_an_office_a_bundle_and_a_stick_with_three_commands() -> None:
    said = usbupdate("repo", "init", "repo")
    assert "move it" in said.out
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path("repo/keys").glob("*.pem")} == {0o600}
    assert (
        usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", "--class", "app=app", "--json").json()["signed"]
        is True
    )
    written = usbupdate("stick", "write", "repo", "stick1", "stick2")
    assert "stick2: written, read back and verified" in written.out
    assert tree("stick1").keys() == {name.replace("stick2", "stick1") for name in tree("stick2")}
    found = usbupdate("stick", "inspect", "stick1", "--root", "repo/metadata/1.root.json", "--json").json()
    assert found["root_given"] is True
    bundles = found["bundles"]
    assert isinstance(bundles, list)
    assert [(each["name"], each["version"], each["sequence"]) for each in bundles] == [("gw", "1.0", 1)]


def test_json_is_one_document_and_nothing_else_on_standard_output() -> None:
    usbupdate("repo", "init", "repo", "--json").json()
    usbupdate("key", "create", "alice.pem", "--json").json()
    usbupdate("key", "show", "alice.pem", "--json").json()
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", "--json").json()
    usbupdate("bundle", "list", "--repo", "repo", "--json").json()
    usbupdate("stick", "write", "repo", "stick1", "--json").json()
    usbupdate("stick", "inspect", "stick1", "--json").json()
    for command in ("check", "refresh", "sign", "rotate"):
        usbupdate("repo", command, "repo", "--json").json()
    usbupdate("bundle", "withdraw", "--repo", "repo", "--name", "gw", "--json").json()


def test_two_of_three_people_sign_on_their_own_computers() -> None:
    for name in ("alice", "bob", "carol"):
        usbupdate("key", "create", f"{name}.pem")
    people = [
        pair
        for name in ("alice", "bob", "carol")
        for pair in ("--key", f"root={name}.pem.pub", "--key", f"targets={name}.pem.pub")
    ]
    said = usbupdate("repo", "init", "repo", *people, "--threshold", "root=2", "--threshold", "targets=2", "--json").json()
    assert said["signed"] is False
    usbupdate("stick", "write", "repo", "stick1", code=ExitCode.UNSIGNED)
    shown = usbupdate("repo", "sign", "repo", "--key", "alice.pem")
    assert "root: 2 of 3 keys sign" in shown.err
    assert "NOT SIGNED YET: root needs 1 more" in shown.out
    assert "sticks can be written" in usbupdate("repo", "sign", "repo", "--key", "bob.pem").out
    created = usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", "--json").json()
    assert created["signed"] is False
    missing = created["missing"]
    assert isinstance(missing, list)
    assert [(each["role"], each["needed"], len(each["keys"])) for each in missing] == [("targets", 2, 3)]
    usbupdate("stick", "write", "repo", "stick1", code=ExitCode.UNSIGNED)
    assert tree("stick1") == {}
    usbupdate("repo", "sign", "repo", "--key", "bob.pem")
    usbupdate("repo", "sign", "repo", "--key", "carol.pem")
    usbupdate("stick", "write", "repo", "stick1")


def test_keys_change_hands_and_old_sticks_go_on_being_readable() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    usbupdate("stick", "write", "repo", "stick1")
    usbupdate("repo", "rotate", "repo")
    usbupdate("stick", "write", "repo", "stick2")
    for mount, version in (("stick1", 1), ("stick2", 2)):
        found = usbupdate("stick", "inspect", mount, "--root", "repo/metadata/1.root.json", "--json").json()
        assert found["root_version"] == version


def test_a_protected_key_takes_its_passphrase_from_a_file_or_the_environment() -> None:
    Path("secret").write_text(f"{RIGHT}\n", encoding="utf-8")
    usbupdate("key", "create", "alice.pem", "--passphrase-file", "secret")
    assert b"ENCRYPTED" in Path("alice.pem").read_bytes()
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub", "--passphrase-file", "secret")
    usbupdate("repo", "sign", "repo", "--key", "alice.pem", passphrase=WRONG, code=ExitCode.KEY)
    said = usbupdate("repo", "sign", "repo", "--key", "alice.pem", passphrase=RIGHT, code=0)
    assert "sticks can be written" in said.out


def test_withdrawing_and_refreshing_are_on_the_next_stick() -> None:
    usbupdate("repo", "init", "repo")
    for sequence in ("1", "2"):
        usbupdate("bundle", "create", "image", *MADE, "--sequence", sequence)
    usbupdate("bundle", "withdraw", "--repo", "repo", "--name", "gw", "--sequence", "2")
    usbupdate("repo", "refresh", "repo")
    said = usbupdate("stick", "write", "repo", "stick1")
    assert "sequence 1" in said.out
    assert "sequence 2" not in said.out
    usbupdate("stick", "write", "repo", "stick2", "--log-only")
    assert "no bundle" in usbupdate("stick", "inspect", "stick2").out


def test_an_image_for_a_duplicator_is_made_in_place_of_a_stick() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    said = usbupdate("stick", "write", "repo", "--image", "stick.img", "--json").json()
    assert said["sticks"] == [{"mount": "stick.img", "written": True, "error": None}]
    assert Path("stick.img").stat().st_size % 512 == 0
    usbupdate("stick", "write", "repo", "stick1", "--image", "stick.img", code=ExitCode.INPUT)


def test_a_damaged_stick_is_rejected_with_a_sentence() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    usbupdate("stick", "write", "repo", "stick1")
    pack = max(Path("stick1/usbupdate/payload").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    pack.write_bytes(pack.read_bytes()[:-1] + b"?")
    usbupdate("stick", "inspect", "stick1", code=ExitCode.REJECTED)
    usbupdate("stick", "inspect", "stick2", code=ExitCode.REFUSED)


def test_a_stick_that_ends_soon_is_told_and_then_an_error() -> None:
    usbupdate("repo", "init", "repo", "--lifetime", "timestamp=10")
    usbupdate("stick", "write", "repo", "stick1", code=ExitCode.EXPIRES_SOON)
    usbupdate("stick", "write", "repo", "stick1", "--margin", "5")
    said = usbupdate("stick", "inspect", "stick1", code=ExitCode.EXPIRES_SOON)
    assert "Good until" in said.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("repo", "init", "repo"), ExitCode.OFFICE),
        (("repo", "init", "other", "--key", "rot=a.pem"), ExitCode.INPUT),
        (("repo", "init", "other", "--key", "root=missing.pem"), ExitCode.KEY),
        (("repo", "init", "other", "--key", "root=image"), ExitCode.KEY),
        (("repo", "init", "other", "--key", "root=hsm:2"), ExitCode.KEY),
        (("repo", "init", "other", "--threshold", "root=2"), ExitCode.KEY),
        (("repo", "init", "other", "--threshold", "root=many"), ExitCode.INPUT),
        (("repo", "init", "other", "--lifetime", "root=0"), ExitCode.INPUT),
        (("repo", "init", "image/repo"), ExitCode.INPUT),
        (("repo", "check", "nowhere"), ExitCode.OFFICE),
        (("repo", "sign", "repo", "--key", "image"), ExitCode.KEY),
        (("repo", "rotate", "repo", "--key", "root="), ExitCode.INPUT),
        (("repo", "rotate", "repo", "--threshold", "root=5"), ExitCode.KEY),
        (("key", "create", "nowhere/alice.pem"), ExitCode.INPUT),
        (("key", "create", "image"), ExitCode.KEY),
        (("key", "show", "nowhere"), ExitCode.KEY),
        (("key", "create", "alice.pem", "--passphrase-file", "nowhere"), ExitCode.INPUT),
        (("bundle", "create", "nowhere", *MADE, "--sequence", "2"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--base", "image"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "0"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "1"), ExitCode.OFFICE),
        (("bundle", "create", "image", *MADE, "--sequence", "1002"), ExitCode.OFFICE),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--class", "rootfs=app"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--class", "app"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--level", "99"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--notes-file", "image"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE), ExitCode.USAGE),
        (("bundle", "withdraw", "--repo", "repo", "--name", "pump"), ExitCode.OFFICE),
        (("bundle", "list", "--repo", "nowhere"), ExitCode.OFFICE),
        (("stick", "write", "repo"), ExitCode.INPUT),
        (("stick", "write", "repo", "nowhere"), ExitCode.INPUT),
        (("stick", "write", "repo", "image"), ExitCode.INPUT),
        (("stick", "write", "repo", "stick1", "--bundle", "pump"), ExitCode.OFFICE),
        (("stick", "inspect", "stick1"), ExitCode.REFUSED),
        (("stick", "inspect", "nowhere"), ExitCode.INPUT),
        (("stick", "inspect", "stick1", "--root", "nowhere"), ExitCode.REFUSED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_ends_in_two_sentences_and_changes_nothing(arguments: tuple[str, ...], code: int) -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    before = tree(".")
    usbupdate(*arguments, code=code)
    assert tree(".") == before


def test_a_jump_in_the_sequence_is_taken_when_it_is_meant() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "20261123", "--yes")
