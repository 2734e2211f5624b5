from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.receipts import draft
from usbupdate.core import envelope
from usbupdate.core.receipt import NO_PREVIOUS, Receipt
from usbupdate.core.words import DeviceId
from usbupdate.device import identity
from usbupdate.errors import (
    AlreadyProvisionedError,
    IdentityMissingError,
    IdentityUnreadableError,
    KeyExposedError,
    UnusableValueError,
)

if TYPE_CHECKING:
    from pathlib import Path

NAME = DeviceId("gw-0001")


def key_of(state_dir: Path) -> Path:
    return state_dir / identity.FOLDER / identity.KEY_FILE


def test_a_created_identity_is_loaded_and_signs(tmp_path: Path) -> None:
    made = identity.create(tmp_path, NAME)
    assert identity.load(tmp_path) == made
    line = envelope.sign(Receipt(NAME, 1, NO_PREVIOUS, draft(1)), identity.load_signer(tmp_path))
    assert envelope.open_line(line, made).number == 1


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    identity.create(tmp_path, NAME)
    assert stat.S_IMODE(key_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(key_of(tmp_path).parent.stat().st_mode) == 0o700


def test_a_device_without_a_given_id_is_named_after_its_key(tmp_path: Path) -> None:
    made = identity.create(tmp_path, None)
    assert made.device == f"device-{made.fingerprint[:12]}"


def test_an_identity_is_never_replaced(tmp_path: Path) -> None:
    made = identity.create(tmp_path, NAME)
    with pytest.raises(AlreadyProvisionedError):
        identity.create(tmp_path, DeviceId("gw-0002"))
    assert identity.load(tmp_path) == made


def test_provisioning_that_was_cut_goes_on_with_the_key_that_was_made(tmp_path: Path) -> None:
    made = identity.create(tmp_path, NAME)
    (tmp_path / identity.FOLDER / identity.IDENTITY_FILE).unlink()
    assert identity.create(tmp_path, NAME) == made


@pytest.mark.parametrize("name", ["", "GW", "-a", "a/b", "a" * 64, "a\n"])
def test_an_id_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableValueError):
        identity.create(tmp_path, DeviceId(name))
    assert not (tmp_path / identity.FOLDER).exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_may_read_signs_nothing(tmp_path: Path, mode: int) -> None:
    identity.create(tmp_path, NAME)
    key_of(tmp_path).chmod(mode)
    with pytest.raises(KeyExposedError):
        identity.load_signer(tmp_path)
    assert identity.load(tmp_path).device == NAME


def test_a_missing_identity_or_key_is_an_answer(tmp_path: Path) -> None:
    with pytest.raises(IdentityMissingError):
        identity.load(tmp_path)
    identity.create(tmp_path, NAME)
    key_of(tmp_path).unlink()
    with pytest.raises(IdentityMissingError):
        identity.load_signer(tmp_path)


@pytest.mark.parametrize("kind", ["garbage", "empty", "folder", "link", "fifo", "another device's", "public"])
def test_a_key_that_cannot_be_used_is_an_answer(tmp_path: Path, kind: str) -> None:
    identity.create(tmp_path, NAME)
    key = key_of(tmp_path)
    good = key.read_bytes()
    key.unlink()
    match kind:
        case "folder":
            key.mkdir(mode=0o700)
        case "link":
            (tmp_path / "elsewhere").write_bytes(good)
            key.symlink_to(tmp_path / "elsewhere")
        case "fifo":
            os.mkfifo(key, 0o600)
        case "another device's":
            identity.create(tmp_path / "other", NAME)
            key.write_bytes(key_of(tmp_path / "other").read_bytes())
            key.chmod(0o600)
        case _:
            key.write_bytes({"garbage": b"\x00" * 100, "empty": b""}.get(kind, good.replace(b"PRIVATE", b"PUBLIC")))
            key.chmod(0o600)
    with pytest.raises(IdentityUnreadableError):
        identity.load_signer(tmp_path)


@pytest.mark.parametrize("contents", [b"", b"{}", b"[" * 100_000, b"\xff" * 10_000])
def test_an_identity_that_is_not_ours_is_an_answer(tmp_path: Path, contents: bytes) -> None:
    identity.create(tmp_path, NAME)
    (tmp_path / identity.FOLDER / identity.IDENTITY_FILE).write_bytes(contents)
    with pytest.raises(IdentityUnreadableError):
        identity.load(tmp_path)
