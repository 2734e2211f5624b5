"""Root keys that never come near the office: what travels to them, and what comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signature
from tuf.api.metadata import Metadata, Root

from tests.commands import usbupdate
from tests.matrix import By, On, attack
from usbupdate.errors import ExitCode
from usbupdate.packager import keys
from usbupdate.packager.keys import no_passphrase

SAFE = ("safe/r1.pem", "safe/r2.pem", "safe/r3.pem")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give two folders that stand for two computers: `daily`, and `safe` with the root keys; the first root is signed."""
    monkeypatch.chdir(tmp_path)
    for place in ("safe", "daily"):
        Path(place).mkdir()
    for name in (*SAFE, "daily/alice.pem", "daily/bob.pem"):
        usbupdate("key", "create", name)
    root = [word for name in SAFE for word in ("--key", f"root={name}.pub")]
    usbupdate("repo", "init", "daily/repo", *root, "--threshold", "root=2", "--key", "targets=daily/alice.pem")
    ceremony(*SAFE[:2])


def ceremony(*signers: str, folder: str = "safe/trip") -> str:
    """Carry what waits to the root keys and back; return what the office said then."""
    usbupdate("repo", "export", "daily/repo", folder)
    for each in signers:
        usbupdate("repo", "sign", folder, "--yes", "--key", each)
    said = usbupdate("repo", "import", "daily/repo", folder).out
    shutil.rmtree(folder)
    return said


def bundle(sequence: int, repo: str = "daily/repo", code: int = 0) -> None:
    Path("image").write_bytes(bytes([sequence]) * 300_000)
    order = ("--name", "gw", "--version", "1", "--sequence", str(sequence), "--compatible", "acme,gw-100", "--repo", repo)
    usbupdate("bundle", "create", "image", *order, code=code)


def tree(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def propose() -> None:
    usbupdate("repo", "rotate", "daily/repo", "--key", "targets=daily/bob.pem")


def test_what_travels_has_no_keys_and_no_payload_and_the_office_goes_on_meanwhile() -> None:
    bundle(1)
    propose()
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    travels = tree("safe/trip")
    assert not [name for name, contents in travels.items() if b"PRIVATE KEY" in contents or "payload" in name]
    assert str(Path.cwd()).encode() not in b"".join(travels.values())
    bundle(2)
    Path("stick").mkdir()
    usbupdate("stick", "write", "daily/repo", "stick")
    for each in SAFE[1:]:
        usbupdate("repo", "sign", "safe/trip", "--yes", "--key", each)
    assert "carry the folder back" in usbupdate("repo", "check", "safe/trip").out
    said = usbupdate("repo", "import", "daily/repo", "safe/trip").out
    assert "root was signed with r2.pem.pub" in said
    assert "sticks can be written" in said
    usbupdate("stick", "write", "daily/repo", "stick")
    found = usbupdate("stick", "inspect", "stick", "--root", "daily/repo/metadata/1.root.json", "--json").json()
    assert found["root_version"] == 2


def test_signatures_come_back_from_several_journeys() -> None:
    propose()
    for place in ("safe/one", "safe/two"):
        usbupdate("repo", "export", "daily/repo", place)
    usbupdate("repo", "sign", "safe/one", "--yes", "--key", SAFE[0])
    usbupdate("repo", "sign", "safe/two", "--yes", "--key", SAFE[2])
    assert "NOT SIGNED YET: root needs 1 more" in usbupdate("repo", "import", "daily/repo", "safe/one").out
    assert "sticks can be written" in usbupdate("repo", "import", "daily/repo", "safe/two").out
    before = tree("daily/repo")
    assert "No new signature" in usbupdate("repo", "import", "daily/repo", "safe/two").out
    assert tree("daily/repo") == before


def test_an_excerpt_is_no_repository_and_what_waits_for_nobody_does_not_travel() -> None:
    usbupdate("repo", "export", "daily/repo", "safe/none", code=ExitCode.OFFICE)
    assert not Path("safe/none").exists()
    propose()
    usbupdate("repo", "export", "daily/repo", "daily", code=ExitCode.OFFICE)
    usbupdate("repo", "export", "daily/repo", "safe/new")
    before = tree("safe/new")
    bundle(1, "safe/new", code=ExitCode.OFFICE)
    for command in ("rotate", "refresh"):
        usbupdate("repo", command, "safe/new", code=ExitCode.OFFICE)
    usbupdate("stick", "write", "safe/new", "daily", code=ExitCode.UNSIGNED)
    assert tree("safe/new") == before


def test_people_with_targets_keys_sign_elsewhere_too() -> None:
    two = ("--key", "targets=daily/alice.pem.pub", "--key", "targets=daily/bob.pem.pub", "--threshold", "targets=2")
    usbupdate("repo", "rotate", "daily/repo", *two)
    ceremony(*SAFE[:2])
    bundle(1)
    usbupdate("repo", "export", "daily/repo", "safe/list")
    shown = usbupdate("repo", "sign", "safe/list", "--yes", "--key", "daily/alice.pem").err
    assert "image of rootfs: 300000 bytes, sha256" in shown
    usbupdate("repo", "sign", "safe/list", "--yes", "--key", "daily/bob.pem")
    said = usbupdate("repo", "import", "daily/repo", "safe/list").out
    assert "targets was signed with alice.pem.pub" in said
    assert "sticks can be written" in said

    device = ("--device", "gw-1", "--fingerprint", "ab" * 32, "--bundle", "gw-1", "--ticket", "CHG-1", "--floor", "2")
    usbupdate("repo", "allow-downgrade", "daily/repo", *device)
    usbupdate("repo", "export", "daily/repo", "safe/allowed")
    assert "gw-1 may go back to gw" in usbupdate("repo", "sign", "safe/allowed", "--yes", "--key", "daily/alice.pem").err


@attack(
    By.NETWORK,
    On.OFFICE,
    "a folder comes back from the signers with another root, strangers' signatures or broken ones",
    "only valid signatures over what waits here are taken",
)
def test_nothing_but_signatures_of_what_waits_is_taken_from_a_folder_that_travelled() -> None:
    propose()
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    usbupdate("repo", "sign", "safe/trip", "--yes", "--key", SAFE[0])
    path = Path("safe/trip/staged/root.json")
    signed, before = path.read_bytes(), tree("daily/repo")

    # Another root, well signed by the one who was asked: nothing of it is taken.
    root = Metadata[Root].from_bytes(signed)
    root.signed.roles["root"].threshold = 1
    root.sign(signer(SAFE[0]))
    path.write_bytes(root.to_bytes())
    assert "not what waits here" in usbupdate("repo", "import", "daily/repo", "safe/trip", code=ExitCode.OFFICE).err
    assert tree("daily/repo") == before

    # The right root, with the signature of a stranger and a broken one.
    root = Metadata[Root].from_bytes(signed)
    usbupdate("key", "create", "safe/stranger.pem")
    root.sign(signer("safe/stranger.pem"), append=True)
    one, two = (signer(name).public_key.keyid for name in SAFE[:2])
    root.signatures[two] = Signature(two, root.signatures[one].signature)
    path.write_bytes(root.to_bytes())
    said = usbupdate("repo", "import", "daily/repo", "safe/trip").out
    assert "root was signed with r1.pem.pub" in said
    assert "root needs 1 more" in said
    assert set(Metadata[Root].from_file("daily/repo/staged/root.json").signatures) == {one}


@attack(
    By.NETWORK,
    On.OFFICE,
    "the present root in a folder that travels is forged, so that a key of theirs seems to be an old one",
    "people who sign a root are shown every key in it, those that stay too",
)
def test_a_signer_sees_every_key_of_a_root_and_not_only_what_changes() -> None:
    propose()
    usbupdate("repo", "export", "daily/repo", "safe/trip")
    usbupdate("key", "create", "theirs.pem")
    theirs = signer("theirs.pem").public_key
    for path in (Path("safe/trip/metadata/1.root.json"), Path("safe/trip/staged/root.json")):
        root = Metadata[Root].from_file(str(path))
        root.signed.add_key(theirs, "root")
        path.write_bytes(root.to_bytes())
    shown = usbupdate("repo", "sign", "safe/trip", "--yes", "--key", SAFE[0]).err
    assert f"= root key {theirs.keyid} (unknown place)" in shown


def signer(name: str) -> CryptoSigner:
    found = keys.open_signer(name, keys.public_key(name, no_passphrase), no_passphrase)
    assert isinstance(found, CryptoSigner)
    return found
