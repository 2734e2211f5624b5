"""Keys on tokens, from the first root to a device that installs: real PKCS#11, with tokens of SoftHSM2."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pkcs11
import pytest

from tests.commands import usbupdate
from tests.field import COMPATIBLE, NEXT, OFFERED, Field
from tests.matrix import By, On, attack
from tests.tokens import MODULE, PIN, WRONG_PIN, Tokens, needs_softhsm
from usbupdate.device.obligations import Rest
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_softhsm

ROOT, TARGETS = "pkcs11:token=vault;object=root", "pkcs11:token=vault;id=%03"


@pytest.fixture(autouse=True)
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tokens]:
    """Give a folder in which commands are typed, and a token with a root key and a targets key."""
    made = Tokens(tmp_path / "softhsm")
    made.prepare()
    monkeypatch.chdir(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("USBUPDATE_PIN", "USBUPDATE_PIN_FILE"):
        monkeypatch.delenv(name, raising=False)
    made.plug_in("vault")
    made.make_key("vault", 2, "root")
    made.make_key("vault", 3, "targets", "secp384r1")
    yield made
    pkcs11.unload(MODULE)


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the right PIN in a file."""
    Path("pin").write_text(f"{PIN}\n")
    monkeypatch.setenv("USBUPDATE_PIN_FILE", "pin")


def tree() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path("repo").rglob("*") if path.is_file()}


def found_office() -> None:
    usbupdate("repo", "init", "repo", "--key", f"root={ROOT}", "--key", f"targets={TARGETS}")


def release(field: Field, sequence: int) -> object:
    order = ("--name", "gw", "--version", f"1.{sequence}", "--sequence", str(sequence), "--compatible", COMPATIBLE)
    return usbupdate("bundle", "create", field.image(sequence), "--repo", "repo", *order, "--json").json()["signed"]


@pytest.mark.usefixtures("pin")
def test_device_installs_what_keys_on_tokens_have_signed_before_and_after_they_change(tokens: Tokens) -> None:
    found_office()
    field = Field(Path.cwd(), Path.cwd(), datetime.now(UTC))
    device = field.device("gw-1")
    assert release(field, OFFERED) is True
    assert device.update(field.stick("first")).rest is Rest.IDLE
    assert device.status()["sequence"] == OFFERED

    # The token of the targets key is lost; the root key moves to another token.
    for label in ("spare", "daily"):
        tokens.plug_in(label)
        tokens.make_key(label, 1, "mine")
    new = ("--key", "root=pkcs11:token=spare;object=mine", "--key", "targets=hsm:1?label=daily")
    assert "It counts now" in usbupdate("repo", "rotate", "repo", *new).out
    assert release(field, NEXT) is True
    assert device.update(field.stick("second", "gw-3")).rest is Rest.IDLE
    assert device.status()["sequence"] == NEXT
    assert device.record().root.version == 2


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("pkcs11:token=vault;id=%09", "The token vault did not open: its PIN is missing"),
        ("pkcs11:token=other;id=%02", "the token other is not there (tokens that are: twin, twin, vault)"),
        ("pkcs11:token=vault;serial=0;id=%02", "the token vault is not there"),
        ("pkcs11:token=twin;id=%02", "the token twin could be any of several"),
        ("pkcs11:id=%02", "a token could be any of several"),
        ("hsm:2", "a token could be any of several"),
        ("pkcs11:token=vault;object=ed", "not used on tokens, where ECDSA P-256 and P-384 are"),
        ("pkcs11:token=vault;object=wide", "it is of a kind that is not used"),
        ("pkcs11:token=vault;object=same", "the URI has to say which by id"),
        ("pkcs11:token=vault;id=%02?pin-value=1234", "module and PIN belong to you"),
    ],
)
def test_a_key_that_cannot_be_meant_ends_in_two_sentences_and_makes_nothing(uri: str, says: str, tokens: Tokens) -> None:
    for _ in range(2):
        tokens.plug_in("twin")
    tokens.make_key("vault", 4, "ed", "ed25519")
    tokens.make_key("vault", 5, "wide", "secp521r1")
    for number in (6, 7):
        tokens.make_key("vault", number, "same")
    said = usbupdate("repo", "init", "repo", "--key", f"root={uri}", code=ExitCode.KEY)
    assert says in said.err
    assert not Path("repo").exists()


@pytest.mark.usefixtures("pin")
def test_a_key_that_is_not_on_the_token_is_called_so() -> None:
    assert "holds no key that fits" in usbupdate("key", "show", "pkcs11:token=vault;id=%09", code=ExitCode.KEY).err
    assert "ECDSA P-384" in usbupdate("key", "show", TARGETS).out


@pytest.mark.parametrize(
    ("module", "says"),
    [("", "PYKCS11LIB does not say"), ("/nowhere.so", "No such file"), (sys.executable, "cannot be used")],
)
def test_a_module_that_is_none_is_called_so(module: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYKCS11LIB", module)
    assert says in usbupdate("key", "show", ROOT, code=ExitCode.KEY).err


@pytest.mark.usefixtures("pin")
def test_a_key_whose_public_half_is_hidden_signs_too(tokens: Tokens) -> None:
    tokens.make_key("vault", 8, "hidden", shown=False)
    usbupdate("repo", "init", "repo", "--key", "root=pkcs11:token=vault;object=hidden")
    assert "sticks can be written" in usbupdate("repo", "check", "repo").out


def test_a_wrong_pin_stops_the_command_and_is_tried_once(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    found_office()
    before = tree()
    monkeypatch.setenv("USBUPDATE_PIN", WRONG_PIN)
    assert "its PIN is wrong" in usbupdate("repo", "sign", "repo", "--yes", code=ExitCode.KEY).err
    assert tree() == before
    assert tokens.was_pin_wrong("vault")
    # Nobody is at the terminal, so nothing that is written down is tried again, not even the right one.
    monkeypatch.setenv("USBUPDATE_PIN", PIN)
    assert "only a person at the prompt may give it" in usbupdate("repo", "sign", "repo", "--yes").out
    assert tokens.was_pin_wrong("vault")


def test_a_person_at_the_prompt_opens_a_token_after_a_wrong_pin(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    found_office()
    monkeypatch.setenv("USBUPDATE_PIN", WRONG_PIN)
    usbupdate("repo", "sign", "repo", "--yes", code=ExitCode.KEY)
    environment = {**os.environ, "COLUMNS": "200"}
    person = pexpect.spawn(
        sys.executable, ["-m", "usbupdate", "repo", "sign", "repo", "--yes"], env=environment, encoding="utf-8", timeout=60
    )
    person.expect("PIN of the token vault")
    person.sendline(PIN)
    person.expect("sticks can be written")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0
    assert PIN not in str(person.before)
    pkcs11.unload(MODULE)
    assert not tokens.was_pin_wrong("vault")


def test_a_passphrase_is_never_tried_as_a_pin(tokens: Tokens) -> None:
    usbupdate("key", "create", "alice.pem", passphrase=WRONG_PIN)
    usbupdate("repo", "init", "repo", "--key", f"root={ROOT}", "--key", "targets=alice.pem", passphrase=WRONG_PIN)
    said = usbupdate("repo", "sign", "repo", "--yes", passphrase=WRONG_PIN)
    assert "its PIN is missing" in said.out
    assert not tokens.was_pin_wrong("vault")


def test_looking_spends_no_pin_and_asks_for_none(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    found_office()
    monkeypatch.setenv("USBUPDATE_PIN", WRONG_PIN)
    usbupdate("repo", "check", "repo")
    assert not tokens.was_pin_wrong("vault")


def test_another_key_on_the_token_is_given_no_pin_and_does_not_sign(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    found_office()
    tokens.replace_key("vault", 2, "root")
    monkeypatch.setenv("USBUPDATE_PIN", WRONG_PIN)
    usbupdate("key", "show", ROOT)
    said = usbupdate("repo", "sign", "repo", "--yes", "--key", ROOT, code=ExitCode.KEY)
    assert "belongs to no role" in said.err
    assert not tokens.was_pin_wrong("vault")
    monkeypatch.setenv("USBUPDATE_PIN", PIN)
    said = usbupdate("repo", "sign", "repo", "--yes")
    assert f"{ROOT} did not sign: it is not the key that the repository knows" in said.out
    assert not list(Path("repo/metadata").glob("*"))


@attack(
    By.NETWORK,
    On.OFFICE,
    "a reference in the repository loads a library of theirs, or asks for a PIN where they read it",
    "references name a token and a key; module and PIN come from the person",
)
def test_a_repository_cannot_choose_what_code_speaks_to_a_token(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    found_office()
    monkeypatch.setenv("USBUPDATE_PIN", PIN)
    settings = Path("repo/office.json")
    shutil.copy(MODULE, "evil.so")
    for more in ("?module-path=evil.so", "?pin-source=evil.so", "?pin-value=1"):
        settings.write_text(settings.read_text().replace("object=root", f"object=root{more}"))
        said = usbupdate("repo", "sign", "repo", "--yes")
        assert "module and PIN belong to you" in said.out
        assert "evil.so" not in Path("/proc/self/maps").read_text()
        settings.write_text(settings.read_text().replace(more, ""))
    assert not tokens.was_pin_wrong("vault")
    assert "root is signed" in usbupdate("repo", "sign", "repo", "--yes").out
