"""The release engineer at the command line: from an empty folder to sticks in several pockets."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from securesystemslib.signer import CryptoSigner

from tests.commands import usbupdate
from usbupdate import durable, packager
from usbupdate.cli import repo
from usbupdate.errors import ExitCode

RIGHT, WRONG = "open sesame", "wrong"
MADE = ("--name", "gw", "--version", "1.0", "--compatible", "acme,gw-100", "--repo", "repo")


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the commands are typed, with an image and two empty sticks."""
    monkeypatch.chdir(tmp_path)
    Path("image").write_bytes(os.urandom(300_000) + bytes(600_000))
    Path("app").write_bytes(os.urandom(10_000))
    Path("empty").touch()
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
    shown = usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem")
    assert "root: needs 2 of 3 keys" in shown.err
    assert "root: targets needs 2 of 3 keys" in shown.err
    assert "NOT SIGNED YET: root needs 1 more" in shown.out
    assert "sticks can be written" in usbupdate("repo", "sign", "repo", "--yes", "--key", "bob.pem").out
    created = usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", "--json").json()
    assert created["signed"] is False
    missing = created["missing"]
    assert isinstance(missing, list)
    assert [(each["role"], each["needed"], len(each["keys"])) for each in missing] == [("targets", 2, 3)]
    assert "written all the same" not in usbupdate("stick", "write", "repo", "stick1", code=ExitCode.UNSIGNED).err
    assert tree("stick1") == {}
    state = usbupdate("repo", "check", "repo").out
    assert "NO STICK CAN BE WRITTEN until targets is signed." in state
    assert "good until" not in state
    assert "To do: What waits (targets) needs keys that are not within reach: their holders run 'usbupdate repo sign'." in state
    assert usbupdate("repo", "check", "repo", "--json").json()["sticks_can_be_written"] is False
    usbupdate("repo", "sign", "repo", "--yes", "--key", "bob.pem")
    usbupdate("repo", "sign", "repo", "--yes", "--key", "carol.pem")
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


def test_a_root_that_waits_stops_no_stick() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("key", "create", "absent.pem")
    Path("absent.pem").rename("away.pem")
    usbupdate("repo", "rotate", "repo", "--key", "root=absent.pem.pub")
    assert "Sticks that are written now are good until" in usbupdate("repo", "check", "repo").out
    assert "written all the same" in usbupdate("stick", "write", "repo", "stick1").err


def test_what_is_to_be_done_stands_at_the_end_of_the_checkup() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("key", "create", "audit.pem")
    usbupdate("repo", "name-acknowledger", "repo", "audit.pem.pub")
    told = [line.split(" ", 2)[:2] for line in usbupdate("repo", "check", "repo").out.splitlines()]
    assert told.index(["acknowledger", "audit,"]) < told.index(["To", "do:"])


def test_a_protected_key_takes_its_passphrase_from_a_file_or_the_environment() -> None:
    Path("secret").write_text(f"{RIGHT}\n", encoding="utf-8")
    usbupdate("key", "create", "alice.pem", "--passphrase-file", "secret")
    assert b"ENCRYPTED" in Path("alice.pem").read_bytes()
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub", "--passphrase-file", "secret")
    usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem", passphrase=WRONG, code=ExitCode.KEY)
    said = usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem", passphrase=RIGHT, code=0)
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


def test_a_stick_with_deltas_only_says_for_which_images_it_is_good() -> None:
    usbupdate("repo", "init", "repo")
    old = Path("image").read_bytes()
    Path("old").write_bytes(old)
    Path("image").write_bytes(old[:5000] + b"changed" + old[5007:])
    digest = hashlib.sha256(old).hexdigest()[:16]
    said = usbupdate("bundle", "create", "image", *MADE, "--sequence", "2", "--base", "old")
    assert digest in said.out
    usbupdate("stick", "write", "repo", "stick1")
    said = usbupdate("stick", "write", "repo", "stick2", "--only-delta")
    assert "ONLY WHAT DIFFERS" in said.out
    assert digest in said.out
    sizes = [sum(len(contents) for contents in tree(stick).values()) for stick in ("stick1", "stick2")]
    assert sizes[1] < sizes[0] - 290_000
    inspected = usbupdate("stick", "inspect", "stick2", "--root", "repo/metadata/1.root.json")
    assert "ONLY WHAT DIFFERS" in inspected.out
    assert digest in inspected.out
    assert "ONLY WHAT DIFFERS" not in usbupdate("stick", "inspect", "stick1").out
    assert usbupdate("stick", "write", "repo", "stick2", "--only-delta", "--json").json()["only_delta"] is True
    # The whole again, beside what is there.
    usbupdate("stick", "write", "repo", "stick2")
    assert "ONLY WHAT DIFFERS" not in usbupdate("stick", "inspect", "stick2").out


def test_a_bundle_without_deltas_does_not_go_onto_a_stick_with_deltas_only() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "2")
    before = tree("stick1")
    said = usbupdate("stick", "write", "repo", "stick1", "--only-delta", code=ExitCode.OFFICE)
    assert "gw-2" in said.err
    assert tree("stick1") == before


def test_deltas_without_numpy_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    usbupdate("repo", "init", "repo")
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.delitem(sys.modules, "usbupdate.packager.similarity", raising=False)
    before = tree("repo/metadata")
    said = usbupdate("bundle", "create", "image", *MADE, "--sequence", "2", "--base", "app", code=ExitCode.INPUT)
    assert "usbupdate[office]" in said.err
    assert tree("repo/metadata") == before


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
        (("repo", "init", "other", "--lifetime", "root=99999999"), ExitCode.INPUT),
        (("repo", "init", "image/repo"), ExitCode.INPUT),
        (("repo", "check", "nowhere"), ExitCode.OFFICE),
        (("repo", "sign", "repo", "--key", "image"), ExitCode.KEY),
        (("repo", "rotate", "repo", "--key", "root="), ExitCode.INPUT),
        (("repo", "rotate", "repo", "--threshold", "root=5"), ExitCode.KEY),
        (("key", "create", "nowhere/alice.pem"), ExitCode.INPUT),
        (("key", "create", "image"), ExitCode.KEY),
        (("key", "show", "nowhere"), ExitCode.KEY),
        (("key", "create", "alice.pem", "--passphrase-file", "nowhere"), ExitCode.INPUT),
        (("key", "create", "alice.pem", "--passphrase-file", "empty"), ExitCode.INPUT),
        (("key", "create", "alice.pem", "--passphrase-file", "image"), ExitCode.INPUT),
        (("bundle", "create", "nowhere", *MADE, "--sequence", "2"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--base", "nowhere"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--base", "empty"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--base", "app=app"), ExitCode.INPUT),
        (("stick", "write", "repo", "stick1", "--only-delta", "--log-only"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "0"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "1"), ExitCode.OFFICE),
        (("bundle", "create", "image", *MADE, "--sequence", "1002"), ExitCode.OFFICE),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--class", "rootfs=app"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--class", "app"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--level", "99"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--notes-file", "image"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE), ExitCode.USAGE),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--class", "app=nowhere"), ExitCode.INPUT),
        (("bundle", "create", "image", *MADE, "--sequence", "2", "--notes", "x", "--notes-file", "app"), ExitCode.INPUT),
        (("bundle", "withdraw", "--repo", "repo", "--name", "pump"), ExitCode.OFFICE),
        (("bundle", "list", "--repo", "nowhere"), ExitCode.OFFICE),
        (("stick", "write", "repo"), ExitCode.INPUT),
        (("stick", "write", "repo", "nowhere"), ExitCode.INPUT),
        (("stick", "write", "repo", "image"), ExitCode.INPUT),
        (("stick", "write", "repo", "repo"), ExitCode.INPUT),
        (("stick", "write", "repo", "repo/metadata"), ExitCode.INPUT),
        (("stick", "write", "repo", "."), ExitCode.INPUT),
        (("stick", "write", "repo", "stick1", "stick2/../stick1"), ExitCode.INPUT),
        (("stick", "write", "repo", "--image", "image"), ExitCode.INPUT),
        (("stick", "write", "repo", "--image", "nodir/image"), ExitCode.INPUT),
        (("stick", "write", "repo", "stick1", "--bundle", "gw", "--log-only"), ExitCode.INPUT),
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


def protected(name: str, passphrase: str) -> None:
    Path(f"{name}.secret").write_text(passphrase, encoding="utf-8")
    usbupdate("key", "create", f"{name}.pem", "--passphrase-file", f"{name}.secret")


def test_a_key_without_a_passphrase_is_said_to_be_unprotected() -> None:
    assert "NOT PROTECTED" in usbupdate("key", "create", "alice.pem").err
    Path("secret").write_text(RIGHT, encoding="utf-8")
    said = usbupdate("key", "create", "bob.pem", "--passphrase-file", "secret", "--json")
    assert "NOT PROTECTED" not in said.err
    assert said.json()["protected"] is True


def test_a_wrong_passphrase_stops_a_bundle_before_anything_is_registered_and_the_right_one_makes_it() -> None:
    protected("alice", RIGHT)
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem", passphrase=RIGHT)
    before = tree("repo")
    order = ("bundle", "create", "image", *MADE, "--sequence", "1")
    assert "passphrase is wrong" in usbupdate(*order, passphrase=WRONG, code=ExitCode.KEY).err
    assert tree("repo") == before
    assert usbupdate(*order, "--json", passphrase=RIGHT).json()["signed"] is True


def test_a_missing_passphrase_is_named_beside_the_role_that_lacks_a_signature() -> None:
    protected("alice", RIGHT)
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem", passphrase=RIGHT)
    said = usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    assert "alice.pem did not sign: its passphrase is missing" in said.out
    usbupdate("bundle", "withdraw", "--repo", "repo", "--name", "gw", passphrase=WRONG, code=ExitCode.KEY)


def test_a_key_that_was_given_and_cannot_sign_is_an_error() -> None:
    protected("alice", RIGHT)
    usbupdate("key", "create", "bob.pem")
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub", "--key", "root=bob.pem")
    before = tree("repo")
    sign = ("repo", "sign", "repo", "--yes", "--key")
    assert "public key" in usbupdate(*sign, "alice.pem.pub", code=ExitCode.KEY).err
    assert "missing" in usbupdate(*sign, "alice.pem", code=ExitCode.KEY).err
    assert "wrong" in usbupdate(*sign, "alice.pem", passphrase=WRONG, code=ExitCode.KEY).err
    assert "signed nothing" in usbupdate(*sign, "bob.pem", code=ExitCode.KEY).err
    assert tree("repo") == before
    usbupdate(*sign, "alice.pem", passphrase=RIGHT)
    assert "Nothing waits" in usbupdate(*sign, "alice.pem", passphrase=RIGHT).out


def test_signing_twice_says_that_nothing_new_was_signed() -> None:
    for name in ("alice", "bob"):
        usbupdate("key", "create", f"{name}.pem")
    people = ("--key", "targets=alice.pem.pub", "--key", "targets=bob.pem.pub", "--threshold", "targets=2")
    usbupdate("repo", "init", "repo", *people)
    sign = ("repo", "sign", "repo", "--yes", "--key", "alice.pem")
    assert "targets is signed with alice.pem.pub" in usbupdate(*sign).out
    assert "Nothing new is signed" in usbupdate(*sign).out


def test_a_signer_is_shown_what_to_compare() -> None:
    usbupdate("key", "create", "alice.pem")
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "7")
    said = usbupdate("repo", "sign", "repo", "--key", "alice.pem")
    digest = hashlib.sha256(Path("image").read_bytes()).hexdigest()
    for fact in ("gw, version 1.0, sequence 7, for acme,gw-100", f"900000 bytes, sha256 {digest}"):
        assert fact in said.err


def test_an_unsigned_bundle_that_is_withdrawn_leaves_nothing_that_waits() -> None:
    usbupdate("key", "create", "alice.pem")
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub")
    usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    usbupdate("stick", "write", "repo", "stick1", code=ExitCode.UNSIGNED)
    assert "withdrawn: gw" in usbupdate("bundle", "withdraw", "--repo", "repo", "--name", "gw").out
    usbupdate("stick", "write", "repo", "stick1")


def test_a_withdrawal_that_waits_is_called_so() -> None:
    usbupdate("key", "create", "alice.pem")
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem")
    said = usbupdate("bundle", "withdraw", "--repo", "repo", "--name", "gw")
    assert "will be withdrawn once that is signed: gw" in said.out
    assert "will be withdrawn" in usbupdate("bundle", "list", "--repo", "repo").out
    usbupdate("repo", "sign", "repo", "--yes", "--key", "alice.pem")
    assert "No bundles" in usbupdate("bundle", "list", "--repo", "repo").out


def test_withdrawing_several_bundles_at_once_needs_a_yes() -> None:
    usbupdate("repo", "init", "repo")
    for sequence in ("1", "2"):
        usbupdate("bundle", "create", "image", *MADE, "--sequence", sequence)
    withdraw = ("bundle", "withdraw", "--repo", "repo", "--name", "gw")
    assert "sequence 2" in usbupdate(*withdraw, code=ExitCode.INPUT).err
    usbupdate(*withdraw, "--yes")


def test_refreshing_says_until_when_and_fails_when_it_cannot_sign() -> None:
    usbupdate("repo", "init", "repo")
    assert "timestamp is signed anew: version 2, until " in usbupdate("repo", "refresh", "repo").out
    renewed = usbupdate("repo", "refresh", "repo", "--json").json()["renewed"]
    assert isinstance(renewed, dict)
    assert [(role, each["version"]) for role, each in renewed.items()] == [("timestamp", 3)]
    Path("repo/keys/targets.pem").write_bytes(b"spoilt")
    usbupdate("repo", "refresh", "repo")
    Path("repo/keys/timestamp.pem").write_bytes(b"spoilt")
    said = usbupdate("repo", "refresh", "repo", code=ExitCode.UNSIGNED)
    assert "timestamp.pem did not sign" in said.out
    # What is published is as good as before, and nothing that waits stands in its way.
    usbupdate("stick", "write", "repo", "stick1")


def test_rotating_names_the_roles_that_change_hands() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("key", "create", "new.pem")
    said = usbupdate("repo", "rotate", "repo", "--key", "targets=new.pem")
    assert "+ targets key" in said.out
    assert "timestamp key" not in said.out


def test_the_checkup_says_how_many_have_signed() -> None:
    for name in ("alice", "bob"):
        usbupdate("key", "create", f"{name}.pem")
    people = ("--key", "targets=alice.pem", "--key", "targets=bob.pem.pub", "--threshold", "targets=2")
    usbupdate("repo", "init", "repo", *people)
    assert "needs 2 of 2 keys, 1 has signed the change that waits" in usbupdate("repo", "check", "repo").out


def test_a_second_command_is_turned_away_while_one_changes_the_repository() -> None:
    usbupdate("repo", "init", "repo")
    lock = Path("repo/office.lock")
    lock.write_text("process 1 on another-computer", encoding="utf-8")
    said = usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", code=ExitCode.OFFICE)
    assert "office.lock" in said.err
    usbupdate("stick", "write", "repo", "stick1")
    # A command of this computer that is no more has left its lock behind.
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    lock.write_text(f"process {gone.stdout.strip()} on {socket.gethostname()}", encoding="utf-8")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    assert not lock.exists()


def test_a_folder_of_a_stick_is_not_taken_for_a_stick() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("stick", "write", "repo", "stick1")
    before = tree("stick1")
    usbupdate("stick", "write", "repo", "stick1/usbupdate", code=ExitCode.INPUT)
    usbupdate("stick", "write", "repo", "stick1/usbupdate/metadata", code=ExitCode.INPUT)
    assert tree("stick1") == before
    Path("usbupdate").mkdir()
    assert "plain folder" in usbupdate("stick", "write", "repo", "usbupdate").err


def test_an_image_is_written_over_only_when_that_is_meant() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("stick", "write", "repo", "--image", "image", "--overwrite")
    assert Path("image").stat().st_size % 512 == 0


def test_a_stick_that_failed_is_told_once_and_no_success_with_it() -> None:
    usbupdate("repo", "init", "repo")
    said = usbupdate("stick", "write", "repo", "nowhere", code=ExitCode.INPUT)
    assert said.out == ""
    assert said.err.count("not the folder of a mounted stick") == 1
    said = usbupdate("stick", "write", "repo", "nowhere", "stick1", "elsewhere", code=ExitCode.INPUT)
    assert "stick1: written" in said.out
    assert said.err.count("What to do: ") == said.err.count("Error: ") == 2
    assert "100 %" not in said.err


def test_progress_without_a_terminal_ends_at_100_and_is_silent_with_json() -> None:
    usbupdate("repo", "init", "repo")
    said = usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")
    assert said.err.splitlines()[-1] == "packing: 100 %"
    for _ in range(2):
        # The second time nearly nothing is written.
        written = usbupdate("stick", "write", "repo", "stick1").err.splitlines()
        assert written[-1] == "writing and reading back: 100 %"
        assert len(written) <= 12
    assert "%" not in usbupdate("stick", "write", "repo", "stick2", "--json").err
    assert usbupdate("stick", "inspect", "stick1").err.splitlines()[-1] == "reading: 100 %"
    assert usbupdate("stick", "inspect", "stick1", "--json").err == ""


def test_what_is_no_root_is_called_so_in_words_of_the_office() -> None:
    usbupdate("repo", "init", "repo")
    usbupdate("stick", "write", "repo", "stick1")
    said = usbupdate("stick", "inspect", "stick1", "--root", "repo/metadata/timestamp.json", code=ExitCode.INPUT)
    assert "it is not root metadata" in said.err


def test_a_bad_value_is_shown_as_it_was_typed() -> None:
    usbupdate("repo", "init", "repo")
    said = usbupdate(
        "bundle", "create", "image", *MADE[:4], "--repo", "repo", "--sequence", "1", "--compatible", "a b", code=ExitCode.INPUT
    )
    assert "compatible[0] 'a b' cannot be used" in said.err


def test_a_full_disk_of_the_office_is_not_blamed_on_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    usbupdate("repo", "init", "repo")
    before = tree("repo")
    real = durable.Growing.write

    def full(growing: durable.Growing, contents: bytes) -> None:
        if len(contents) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(growing, contents)

    with monkeypatch.context() as patch:
        patch.setattr(durable.Growing, "write", full)
        said = usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", code=ExitCode.OFFICE)
    assert "repo/payload in the repository could not be written: No space left" in said.err
    assert tree("repo") == before
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1")


def test_ctrl_c_while_signing_leaves_nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    usbupdate("repo", "init", "repo")
    order = ("bundle", "create", "image", *MADE, "--sequence", "1")

    def stop(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CryptoSigner, "sign", stop)
        usbupdate(*order, code=ExitCode.STOPPED)
    assert "No bundles" in usbupdate("bundle", "list", "--repo", "repo").out
    assert list(Path("repo/staged").iterdir()) == []
    usbupdate("stick", "write", "repo", "stick1")
    usbupdate(*order)


def test_a_file_that_cannot_be_read_is_told_in_our_words_and_not_in_those_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The library of the command line asks the system beforehand, in a box and with the exit code of a wrong command line.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    Path("secret").write_text(RIGHT, encoding="utf-8")
    Path("notes").write_text("Better.", encoding="utf-8")
    usbupdate("key", "create", "alice.pem", "--passphrase-file", "secret")
    usbupdate("repo", "init", "repo")
    usbupdate("bundle", "create", "image", *MADE, "--sequence", "1", "--notes-file", "notes", "--sbom", "app")
    usbupdate("stick", "write", "repo", "stick1")
    usbupdate("stick", "write", "repo", "--image", "app", "--overwrite")
    usbupdate("stick", "inspect", "stick1", "--root", "repo/metadata/1.root.json")


def test_a_travelling_repository_does_not_tell_where_public_keys_lay() -> None:
    usbupdate("key", "create", "alice.pem")
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem.pub")
    assert str(Path.cwd()) not in Path("repo/office.json").read_text(encoding="utf-8")


def test_a_passphrase_is_asked_for_only_where_something_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    protected("alice", RIGHT)
    usbupdate("repo", "init", "repo", "--key", "targets=alice.pem", passphrase=RIGHT)
    asked: list[str] = []

    def ask(name: str) -> None:
        asked.append(name)

    monkeypatch.setattr(repo, "passphrases", lambda _: ask)
    usbupdate("repo", "sign", "repo")
    usbupdate("repo", "refresh", "repo")
    assert asked == []


def test_a_lifetime_out_of_range_says_the_range() -> None:
    said = usbupdate("repo", "init", "repo", "--lifetime", "root=36501", code=ExitCode.INPUT)
    assert "--lifetime 'root=36501' cannot be used: a lifetime is 1 to 36500 days" in said.err


def test_a_token_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usbupdate.packager.tokens", None)
    monkeypatch.delattr(packager, "tokens", raising=False)
    for uri in ("hsm:2", "pkcs11:token=alice;id=%02"):
        assert "usbupdate[hsm]" in usbupdate("key", "show", uri, code=ExitCode.KEY).err
