"""A folder that travels to people who sign elsewhere, changed by somebody on the way or while it is read."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from typer.testing import CliRunner

from tests.commands import usbupdate
from tests.matrix import By, On, attack
from usbupdate.cli import repo as repo_commands
from usbupdate.cli.main import app
from usbupdate.packager import sessions
from usbupdate.packager.office import Office

SAFE = ("safe/r1.pem", "safe/r2.pem")
GPG_KEY = "d" * 64
PUBRING = (
    "AAAAIAEBAAJLQlhmAAAAAGsMdFprDHRaAAAAAAAAAAAAAAGfAgEAAAAAAF4AAAEtAAEAHB+D7ihgSRPGgZfIQFKBDi5mxEpiAAAA"
    "IAAAAAAAAAABAAwAAACjAAAAQAAAAAAAAQAEAAAAAAAAAAAAAAAAAAAAAGsMdFoAAAAAmDMEawx0WhYJKwYBBAHaRw8BAQdAEo3z"
    "l6kgA38S5+upfaZVH+2C1ColQffybhUWGVj6GLmwDAAAZ3BnAQAAAAAAALRAZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRk"
    "ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZLAMAABncGcCAAAAAAAAiJAEExYIADgWIQQfg+4oYEkTxoGXyEBSgQ4u"
    "ZsRKYgUCawx0WgIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAKCRBSgQ4uZsRKYrCzAQC1Ie4IS/QvalsD2sVEQERsoxDQ2zNy"
    "eiyRfxvXi3OjBAD8CGtw3mZXkUhfSQLBu+crHr6sYfZ+dvT7ZIQg0CLbJw+wBgAAZ3BnAChYBknrGVnsLp9opESZORlGHox0"
)
"""A key ring of GnuPG with one public key whose user id is `GPG_KEY`."""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give two folders that stand for two computers; the keys of root and of targets are in `safe` only."""
    monkeypatch.chdir(tmp_path)
    for place in ("safe", "daily"):
        Path(place).mkdir()
    for name in SAFE:
        usbupdate("key", "create", name)
    words = ("--key", f"root={SAFE[0]}.pub", "--key", f"targets={SAFE[1]}.pub")
    usbupdate("repo", "init", "daily/repo", *words)
    usbupdate("repo", "export", "daily/repo", "safe/first")
    for each in SAFE:
        usbupdate("repo", "sign", "safe/first", "--yes", "--key", each)
    usbupdate("repo", "import", "daily/repo", "safe/first")


def bundle(sequence: int) -> None:
    Path("image").write_bytes(bytes([sequence]) * 300_000)
    order = ("--name", "gw", "--version", "1", "--sequence", str(sequence), "--compatible", "acme,gw-100")
    usbupdate("bundle", "create", "image", *order, "--repo", "daily/repo")


@attack(
    By.NETWORK,
    On.OFFICE,
    "a folder that travels names a key of GnuPG, with a configuration beside it that starts a program",
    "keys are files and tokens; no program is started for one",
)
def test_a_folder_that_travels_cannot_have_gpg_run_with_a_configuration_of_its_own() -> None:
    bundle(1)
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    # On the way somebody adds a key to the present root, where it is to be found, and what gpg is to do there.
    gpg = Key.from_dict(GPG_KEY, {"keytype": "eddsa", "scheme": "pgp+eddsa-ed25519", "keyval": {"public": {"q": "00"}}})
    path = Path("safe/trip/metadata/1.root.json")
    root = Metadata[Root].from_bytes(path.read_bytes())
    root.signed.keys[GPG_KEY] = gpg
    root.signed.roles["targets"].keyids.append(GPG_KEY)
    path.write_bytes(root.to_bytes())
    settings = json.loads(Path("safe/trip/office.json").read_text())
    settings["keys"].append({"id": GPG_KEY, "reference": "gnupg:safe/trip/targets"})
    settings["keys"].sort(key=lambda each: each["id"])
    Path("safe/trip/office.json").write_text(json.dumps(settings))
    home = Path("safe/trip/targets")
    (home / "pubring.kbx").write_bytes(base64.b64decode(PUBRING))
    (home / "gpg.conf").write_text(f"agent-program {home.absolute()}/x.bat\n")
    (home / "x.bat").write_text(f"#!/bin/sh\necho ran > {Path.cwd()}/owned\nexit 1\n")
    (home / "x.bat").chmod(0o755)
    said = usbupdate("repo", "sign", "safe/trip", "--yes", "--key", SAFE[1], code=24)
    assert "a key is of a kind that usbupdate does not use" in said.err
    assert not Path("owned").exists()


ERASE = "\x1b[2A\x1b[0J"
"""Two lines up, and nothing is left of what stood below."""


def sign_in_time() -> None:
    """Sign what travels, in a process that is killed if it waits."""
    command = [sys.executable, "-m", "usbupdate", "repo", "sign", "safe/trip", "--yes", "--key", SAFE[1]]
    subprocess.run(command, timeout=20, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def edited(path: str) -> Metadata[Targets]:
    return Metadata[Targets].from_bytes(Path(path).read_bytes())


@attack(
    By.NETWORK,
    On.OFFICE,
    "a list of bundles wipes part of itself off the signer's terminal",
    "what is shown is made of signs that are all seen",
)
def test_what_a_signer_is_shown_cannot_be_wiped_off_the_terminal_by_what_waits() -> None:
    bundle(1)
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    targets = edited("safe/trip/staged/targets.json")
    # A release whose name sorts before it is shown first, and would be gone by the time anybody reads.
    targets.signed.targets["allow-me"] = TargetFile(1, {"sha256": ERASE}, "allow-me")
    targets.signatures.clear()
    Path("safe/trip/staged/targets.json").write_bytes(targets.to_bytes())
    shown = [change.text for change in sessions.changes(Office.open(Path("safe/trip")))]
    assert all(text.isprintable() for text in shown), shown


@attack(
    By.NETWORK,
    On.OFFICE,
    "the place of a key, in a folder that travels, steers the signer's terminal",
    "what is shown is made of signs that are all seen",
)
def test_a_reference_in_a_folder_that_travels_does_not_steer_the_terminal() -> None:
    usbupdate("repo", "rotate", "daily/repo", "--key", f"targets={SAFE[0]}.pub")
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    settings = json.loads(Path("safe/trip/office.json").read_text())
    for each in settings["keys"]:
        each["reference"] = "\x9b1A\x9b2K\u202egp"
    Path("safe/trip/office.json").write_text(json.dumps(settings))
    shown = [change.text for change in sessions.changes(Office.open(Path("safe/trip")))]
    assert all(text.isprintable() for text in shown), shown


@attack(
    By.NETWORK,
    On.OFFICE,
    "a pipe lies in a folder that travels, and nobody writes into it",
    "nothing but plain files is opened",
)
@pytest.mark.parametrize("name", ["staged/targets.json", "office.json", "metadata/1.root.json"])
def test_a_pipe_in_a_folder_that_travels_does_not_keep_the_signer_waiting(name: str) -> None:
    bundle(1)
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    path = Path("safe/trip", name)
    path.unlink()
    os.mkfifo(path)
    sign_in_time()


@attack(
    By.NETWORK,
    On.OFFICE,
    "a digest in a list of bundles is the path of something outside the folder",
    "names are built of digests and plain names alone",
)
def test_a_digest_in_a_folder_that_travels_is_no_path() -> None:
    bundle(1)
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    os.mkfifo("pipe")
    targets = edited("safe/trip/staged/targets.json")
    name = f"/{Path('pipe').absolute().name}"
    targets.signed.targets[name] = TargetFile(1, {"sha256": f"{Path.cwd()}/"}, name)
    Path("safe/trip/staged/targets.json").write_bytes(targets.to_bytes())
    sign_in_time()


@attack(
    By.NETWORK,
    On.OFFICE,
    "a folder that travels gives other bytes when it is signed than when it was shown",
    "each file of metadata is read once",
)
def test_what_is_signed_is_what_was_shown_though_the_folder_changes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle(1)
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    path = Path("safe/trip/staged/targets.json")

    def swap(*_: object, **__: object) -> None:
        # A stick that gives other bytes at the second reading, or somebody on the network share where the folder lies.
        targets = edited(str(path))
        (manifest,) = Path("safe/trip/targets").iterdir()
        raw = json.dumps({**json.loads(manifest.read_bytes()), "sequence": 9}).encode()
        digest = hashlib.sha256(raw).hexdigest()
        Path(f"safe/trip/targets/{digest}.gw-9.json").write_bytes(raw)
        targets.signed.targets["gw-9.json"] = TargetFile(len(raw), {"sha256": digest}, "gw-9.json")
        path.write_bytes(targets.to_bytes())

    monkeypatch.setattr(repo_commands, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(repo_commands, "require_yes", swap)
    CliRunner().invoke(app, ["repo", "sign", "safe/trip", "--key", SAFE[1]])
    found = [edited(str(each)) for each in Path("safe/trip").glob("*/*targets.json")]
    assert ["gw-1.json"] in [list(each.signed.targets) for each in found if each.signatures]
    assert [each for each in found if each.signatures and "gw-9.json" in each.signed.targets] == []
