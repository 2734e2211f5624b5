"""Devices that lack something without which nothing may be installed: they keep running, say why, and forget nothing."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.field import NEXT, OFFERED, RUNNING
from tests.matrix import By, On, attack
from usbupdate.device.bootloaders.simulated import COMMITTED_TRIES
from usbupdate.device.obligations import Rest
from usbupdate.errors import ExitCode, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.field import Field, Rig


@dataclass(frozen=True, slots=True)
class Loss:
    """Something on the device, how it is lost, and what the device answers to a stick then."""

    path: str
    lose: Callable[[Path], None]
    code: ExitCode = ExitCode.NOT_READY
    is_state: bool = False
    """Whether the device does not even know any more what it was doing."""


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _copy(path: Path, to: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, to, symlinks=True)
    else:
        shutil.copy2(path, to, follow_symlinks=False)


def _garbage(path: Path) -> None:
    mode = path.stat().st_mode
    path.write_bytes(b"\xff garbage\n")
    path.chmod(mode)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _unreadable(path: Path) -> None:
    """Make reading fail even for root."""
    _gone(path)
    path.mkdir()


def _exposed(path: Path) -> None:
    path.chmod(0o644)


def _one_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(bytes(raw))


def _later_format(path: Path) -> None:
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | {"format": 2}).encode())


LOSSES: Final = {
    "root-missing": Loss("root.json", _gone),
    "root-garbage": Loss("root.json", _garbage),
    "root-unreadable": Loss("root.json", _unreadable),
    "trust-missing": Loss("state/trust", _gone),
    "trust-link-missing": Loss("state/trust/current", _gone),
    "trust-timestamp-empty": Loss("state/trust/current/timestamp.json", _empty),
    "trust-snapshot-garbage": Loss("state/trust/current/snapshot.json", _garbage),
    "trust-roots-missing": Loss("state/trust/current/root_history", _gone),
    "key-missing": Loss("state/identity/key.pem", _gone),
    "key-garbage": Loss("state/identity/key.pem", _garbage),
    "key-unreadable": Loss("state/identity/key.pem", _unreadable),
    "key-exposed": Loss("state/identity/key.pem", _exposed),
    "identity-missing": Loss("state/identity/identity.json", _gone),
    "identity-garbage": Loss("state/identity/identity.json", _garbage),
    "unit-missing": Loss("state/device.toml", _gone),
    "unit-garbage": Loss("state/device.toml", _garbage),
    "marker-missing": Loss("state/provisioned", _gone, is_state=True),
    "state-missing": Loss("state/state.json", _gone, is_state=True),
    "state-garbage": Loss("state/state.json", _garbage, is_state=True),
    "state-empty": Loss("state/state.json", _empty, is_state=True),
    "state-unreadable": Loss("state/state.json", _unreadable, is_state=True),
    "state-of-a-later-agent": Loss("state/state.json", _later_format, is_state=True),
    "ledger-damaged": Loss("state/ledger/receipts", _one_bit),
    "ledger-emptied": Loss("state/ledger/receipts", _empty),
    "ledger-missing": Loss("state/ledger/receipts", _gone),
    "ledger-unreadable": Loss("state/ledger/receipts", _unreadable),
    "checkpoint-garbage": Loss("state/ledger/checkpoint", _garbage),
}


def _attempt(action: Callable[[], object]) -> UsbupdateError | None:
    try:
        action()
    except UsbupdateError as error:
        return error
    return None


def _tries(rig: Rig, slot: str) -> int:
    tries: int = json.loads((rig.folder / "bootloader.json").read_bytes())["slots"][slot]["tries"]
    return tries


def _used_device(field: Field) -> Rig:
    """Return a device that has been in the field: it runs the second release in slot b."""
    rig = field.rig
    assert rig.update(field.good).rest is Rest.IDLE
    assert rig.events() == ["provisioned", "committed"]
    return rig


@attack(
    By.CHANCE,
    On.SLOT,
    "root, key, trust or state is missing or damaged (the class of unsigned installs where a key file is missing)",
    "fail closed: what is not there proves nothing",
)
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_is_installed_while_something_is_missing_and_everything_goes_on_when_it_is_back(
    field: Field, name: str
) -> None:
    loss, rig = LOSSES[name], _used_device(field)
    path = rig.folder / loss.path
    kept = rig.folder.with_name("kept")
    _copy(path, kept)
    loss.lose(path)
    slots = {slot: rig.slot_image(slot) for slot in "ab"}

    # 1. It boots, again and again, and its boot loader is told that all is well.
    for _ in range(COMMITTED_TRIES + 2):
        _attempt(rig.boot)
        assert rig.status()["booted"] == "b"
        assert _tries(rig, "b") == COMMITTED_TRIES

    # 2. It says why it takes nothing.
    error = rig.error_of(field.cure)
    assert error.exit_code is loss.code, repr(error)
    assert str(error).isprintable()
    assert error.hint.endswith(".")
    assert rig.lines[-1].startswith("refused, nothing changed: ")
    assert {slot: rig.slot_image(slot) for slot in "ab"} == slots
    assert rig.status()["booted"] == "b"
    assert isinstance(_attempt(rig.boot), UsbupdateError) == loss.is_state

    # 3. Nothing was reset meanwhile: with the old thing back it goes on where it stood.
    if path.exists() or path.is_symlink():
        _gone(path)
    # What was recorded while the rest of the ledger was gone goes with the stand-in.
    kept.rename(path)
    assert rig.boot().rest is Rest.IDLE
    events = rig.events()
    assert events[:2] == ["provisioned", "committed"]
    assert ("state-lost" if loss.is_state else "refused") in events[2:]
    assert rig.record().pending == ()
    assert rig.update(field.cure).rest is Rest.IDLE
    assert rig.events()[-1] == "committed"
    assert rig.status()["sequence"] == NEXT


@attack(By.CHANCE, On.SLOT, "a boot loader without its environment", "nothing is made up, nothing is installed")
@pytest.mark.parametrize("lose", [_gone, _garbage, _empty, _unreadable])
def test_boot_loader_without_its_memory_takes_no_update_and_is_not_made_up(field: Field, lose: Callable[[Path], None]) -> None:
    rig = field.rig
    path = rig.folder / "bootloader.json"
    memory = path.read_bytes()
    lose(path)
    rig.status()
    assert rig.boot().rest is Rest.DEGRADED
    before = rig.slot_image("b")
    error = rig.error_of(field.good)
    assert error.exit_code in {ExitCode.BOOT_LOADER, ExitCode.NOT_READY}
    assert rig.slot_image("b") == before
    assert rig.last().event == "refused"
    if path.exists():
        _gone(path)
    path.write_bytes(memory)
    assert rig.boot().rest is Rest.IDLE
    assert rig.update(field.good).rest is Rest.IDLE
    assert rig.status()["sequence"] == OFFERED


@attack(By.CHANCE, On.SLOT, "the state is lost while a release is on trial", "a trial that cannot be judged is not confirmed")
def test_state_lost_on_trial_is_not_confirmed(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    assert (rig.folder / "state/trial").exists()
    (rig.folder / "state/state.json").unlink()
    rig.remove()
    for _ in range(3):
        assert _attempt(rig.boot) is not None
        assert rig.status()["booted"] == "b"
    # Its tries are used up: the boot loader goes back by itself.
    assert _attempt(rig.boot) is not None
    assert rig.status()["booted"] == "a"


def test_configuration_that_is_missing_stops_everything_with_a_sentence(field: Field) -> None:
    rig = field.rig
    (rig.folder / "device.toml").unlink()
    for action in (rig.boot, rig.status, lambda: rig.insert(field.good)):
        error = _attempt(action)
        assert error is not None
        assert error.exit_code is ExitCode.NOT_READY


@attack(By.CHANCE, On.RECORD, "the device's key is lost", "the outcome stays owed until it can be signed")
def test_key_lost_while_an_update_is_due_keeps_the_receipt_of_its_outcome(field: Field) -> None:
    rig = field.rig
    rig.insert(field.good)
    rig.remove()
    key = rig.folder / "state/identity/key.pem"
    kept = key.rename(rig.folder.with_name("key"))
    assert rig.boot().rest is Rest.DEGRADED
    # A release in which the device has no key could not be updated again.
    assert rig.status()["sequence"] == RUNNING
    assert [str(draft.event) for draft in rig.record().pending] == ["check-failed"]
    kept.rename(key)
    rig.boot()
    assert rig.events() == ["provisioned", "check-failed"]
    assert [check.name for check in rig.last().checks] == ["metadata", "device-check: key"]
    assert rig.update(field.cure).rest is Rest.IDLE
