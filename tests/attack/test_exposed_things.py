"""What the agent relies on and runs as root, in the hands of somebody who is not root."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tests.field import NEXT, OFFERED
from tests.matrix import By, On, attack
from usbupdate.core.receipt import CheckResult
from usbupdate.device.bootloaders.settings import CustomConfiguration, GrubConfiguration, GrubScript, UbootConfiguration
from usbupdate.device.bootloaders.simulated import COMMITTED_TRIES
from usbupdate.device.clock import LinuxClock
from usbupdate.device.configuration import SignalsConfiguration, load_configuration
from usbupdate.device.health import Gate, ask_gates, run_checks
from usbupdate.device.obligations import Rest
from usbupdate.device.provision import Request, provision
from usbupdate.device.reliance import require_closed
from usbupdate.device.signals import DeviceAnnouncer, Signal
from usbupdate.errors import ExposedError, KeyExposedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.field import Field
    from usbupdate.device.bootloaders.settings import BootLoaderConfiguration

SOMEBODY: Final = 1234
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def _mode(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


def _given_away(path: Path) -> None:
    os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)


OPENED: Final = {
    "folder-readable": ("state", _mode(0o755)),
    "folder-passable": ("state", _mode(0o711)),
    "folder-writable-by-group": ("state", _mode(0o770)),
    "state-writable": ("state/state.json", _mode(0o666)),
    "key-readable": ("state/identity/key.pem", _mode(0o640)),
    "key-folder-writable": ("state/identity", _mode(0o777)),
    "unit-writable": ("state/device.toml", _mode(0o622)),
    "ledger-writable": ("state/ledger/receipts", _mode(0o620)),
    "ledger-folder-writable": ("state/ledger", _mode(0o730)),
    "trust-writable": ("state/trust/current/root_history/1.root.json", _mode(0o602)),
    "roots-writable": ("state/trust/current/root_history", _mode(0o703)),
}
GIVEN_AWAY: Final = ("state", "state/state.json", "state/identity/key.pem", "state/trust/current", "state/ledger/receipts")


@attack(
    By.LOCAL,
    On.TRUST,
    "the state, the key, the trust or the log can be read or changed by others",
    "what others may have changed counts for nothing: no installation, but the boot is confirmed",
)
@pytest.mark.parametrize(
    ("place", "expose"),
    [
        *(pytest.param(*each, id=name) for name, each in OPENED.items()),
        *(pytest.param(place, _given_away, id=f"{place}-given-away", marks=needs_root) for place in GIVEN_AWAY),
    ],
)
def test_nothing_is_installed_while_others_reach_the_state(field: Field, place: str, expose: Callable[[Path], None]) -> None:
    rig = field.rig
    expose(rig.folder / place)
    before = rig.slot_image("b")
    assert rig.boot().rest is Rest.IDLE
    error = rig.error_of(field.good)
    assert isinstance(error, ExposedError | KeyExposedError), repr(error)
    assert rig.lines[-1].startswith("refused, nothing changed: ")
    assert rig.slot_image("b") == before
    rig.boot()
    assert rig.status()["booted"] == "a"
    assert json.loads((rig.folder / "bootloader.json").read_bytes())["slots"]["a"]["tries"] == COMMITTED_TRIES


def test_what_was_closed_again_is_relied_on_again(field: Field) -> None:
    rig = field.rig
    (rig.folder / "state").chmod(0o755)
    assert isinstance(rig.error_of(field.good), ExposedError)
    (rig.folder / "state").chmod(0o700)
    rig.remove()
    assert rig.update(field.good).rest is Rest.IDLE
    assert rig.status()["sequence"] == OFFERED


def _board(field: Field, folder: Path, bootloader: BootLoaderConfiguration) -> None:
    """Ask whether a board with the rig's files, but for its boot loader, could rely on them."""
    require_closed(replace(load_configuration(field.rig.folder / "device.toml"), bootloader=bootloader))


BOOT_LOADERS: Final[dict[str, Callable[[Path], BootLoaderConfiguration]]] = {
    "grubenv": lambda path: GrubConfiguration(path, GrubScript.USBUPDATE),
    "fw_env.config": UbootConfiguration,
    "program": CustomConfiguration,
}


@attack(
    By.LOCAL,
    On.SLOT,
    "the configuration, the root, the boot loader's memory or program, or a folder above them, can be changed by others",
    "no installation relies on what others may change",
)
@pytest.mark.parametrize("opened", ["device.toml", "root.json", "loader", "."])
@pytest.mark.parametrize("loader", BOOT_LOADERS)
def test_a_board_relies_on_nothing_that_others_may_change(field: Field, loader: str, opened: str) -> None:
    folder = field.rig.folder
    (folder / "loader").touch(0o755)
    _board(field, folder, BOOT_LOADERS[loader](folder / "loader"))
    (folder / opened).chmod(0o777)
    with pytest.raises(ExposedError):
        _board(field, folder, BOOT_LOADERS[loader](folder / "loader"))


def test_provisioning_closes_the_state_folder(field: Field, tmp_path: Path) -> None:
    rig = field.rig
    record = rig.record()
    rig.configure('state_dir = "state"', f'state_dir = "{tmp_path / "mounted"}"')
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted").chmod(0o777)
    provision(load_configuration(rig.folder / "device.toml"), record.committed, Request(), LinuxClock())
    assert stat.S_IMODE((tmp_path / "mounted").stat().st_mode) == 0o700


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return a umask that is in force."""
    mask: int = request.param
    before = os.umask(mask)
    yield mask
    os.umask(before)


@attack(By.LOCAL, On.TRUST, "files of the agent that it made under any umask", "files are 0600 and folders 0700, by name")
def test_every_file_of_the_state_is_private_under_any_umask(umask: int, field: Field) -> None:
    rig = field.device("fresh")
    rig.insert(field.good)
    modes = _modes(rig.folder / "state")
    rig.remove()
    assert rig.boot().rest is Rest.IDLE
    assert rig.update(field.cure).rest is Rest.IDLE
    assert rig.status()["sequence"] == NEXT
    modes |= _modes(rig.folder / "state")
    assert {name for name in modes if modes[name] not in {"-rw-------", "drwx------"}} == set()
    assert {
        "state.json",
        "trial",
        "receipts",
        "checkpoint",
        "key.pem",
        "identity.json",
        "device.toml",
        "timestamp.json",
    } <= modes.keys()


def _modes(folder: Path) -> dict[str, str]:
    paths = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    return {path.name: stat.filemode(path.stat().st_mode) for path in paths}


@pytest.fixture
def owners(tmp_path: Path) -> Path:
    """Return a folder of the owner's with one executable, which leaves a trace."""
    folder = tmp_path / "owners" / "gate.d"
    folder.mkdir(parents=True, mode=0o755)
    (folder / "10-a").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (folder / "10-a").chmod(0o755)
    return folder


@attack(
    By.LOCAL,
    On.SLOT,
    "a gate, a health check or the signal command, or a folder above them, can be changed by others",
    "what others may change is not run as root",
)
@pytest.mark.parametrize("opened", ["gate.d/10-a", "gate.d", "."])
def test_what_others_may_change_is_not_run(owners: Path, tmp_path: Path, opened: str) -> None:
    announcer = DeviceAnnouncer(
        SignalsConfiguration(command=(str(owners / "10-a"),), led=None), lambda _: None, tmp_path / "status", tmp_path
    )
    (owners.parent / opened).chmod(0o777)
    announcer.announce(Signal.DONE)
    assert ask_gates(owners, limit_s=20).gate is Gate.REFUSE
    assert [check.result for check in run_checks(owners, limit_s=20)] == [CheckResult.FAILED]
    assert not (tmp_path / "ran").exists()

    (owners.parent / opened).chmod(0o755)
    announcer.announce(Signal.DONE)
    assert (tmp_path / "ran").exists()


@attack(
    By.LOCAL,
    On.SLOT,
    "a script that the signal command gives to its interpreter can be changed by others",
    "every path that the command names is looked at, not its program alone",
)
def test_a_signal_command_whose_script_others_may_change_is_not_run(owners: Path, tmp_path: Path) -> None:
    script = owners / "10-a"
    announcer = DeviceAnnouncer(
        SignalsConfiguration(command=("/bin/sh", str(script)), led=None), lambda _: None, tmp_path / "status", tmp_path
    )
    script.chmod(0o777)
    announcer.announce(Signal.DONE)
    assert not (tmp_path / "ran").exists()

    script.chmod(0o755)
    announcer.announce(Signal.DONE)
    assert (tmp_path / "ran").exists()
