from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from usbupdate import durable
from usbupdate.core.receipt import Event
from usbupdate.core.record import Idle, Installed
from usbupdate.core.rootrules import SIGNED_TIME
from usbupdate.core.words import DeviceId, Slot
from usbupdate.device import identity
from usbupdate.device.bootloaders import simulated
from usbupdate.device.check import check_device
from usbupdate.device.clock import LinuxClock
from usbupdate.device.configuration import load_configuration
from usbupdate.device.machine import open_ledger
from usbupdate.device.provision import Request, provision, running_release
from usbupdate.device.statestore import PROVISIONED_FILE, StateStore
from usbupdate.device.truststore import TrustStore
from usbupdate.device.unit import Unit, load_unit
from usbupdate.errors import (
    AlreadyProvisionedError,
    ConfiguredRootError,
    NotProvisionedError,
    UnusableFileError,
    UnusableValueError,
)

from .test_configuration import SMALL, write

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.device.configuration import Configuration

RUNNING = Installed(Slot.A, "1.0", 7, {})


def signed_root() -> bytes:
    """Return the root of an office of one person."""
    now = datetime.now(UTC).replace(microsecond=0)
    signer = CryptoSigner.generate_ed25519()
    root = Root(expires=now + timedelta(days=365), consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(signer.public_key, role)
    root.unrecognized_fields[SIGNED_TIME] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = Metadata(root)
    metadata.sign(signer)
    return metadata.to_bytes()


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """Return the configuration of a simulated device that is complete but for its provisioning."""
    (tmp_path / "root.json").write_bytes(signed_root())
    (tmp_path / "slots").mkdir()
    for slot in Slot:
        (tmp_path / "slots" / f"{slot}.img").write_bytes(bytes(4096))
    simulated.lay_down(tmp_path / "bootloader.json", Slot.A)
    return load_configuration(write(tmp_path, SMALL))


def test_a_machine_becomes_a_device(configuration: Configuration) -> None:
    request = Request(DeviceId("gw-0001"), ("north",), operator="ann")
    made = provision(configuration, RUNNING, request, LinuxClock())
    state_dir = configuration.state_dir
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert identity.load(state_dir) == made
    assert load_unit(state_dir) == Unit(DeviceId("gw-0001"), ("north",))
    record = StateStore(state_dir).load()
    assert (record.committed, dict(record.whole), record.floor, record.state) == (RUNNING, {Slot.A: RUNNING}, 7, Idle())
    version, digest = TrustStore(state_dir / "trust").newest_root()
    assert (record.root.version, record.root.sha256) == (version, digest)
    assert record.time_floor > "2026"
    ledger = open_ledger(configuration)
    newest = ledger.newest()
    assert newest is not None
    assert (ledger.count(), newest.event, record.pending) == (1, Event.PROVISIONED, ())


def test_without_an_id_the_device_is_named_after_its_key(configuration: Configuration) -> None:
    made = provision(configuration, RUNNING, Request(), LinuxClock())
    assert made.fingerprint[:12] in made.device
    assert load_unit(configuration.state_dir).id == made.device


def test_a_device_is_provisioned_once(configuration: Configuration) -> None:
    made = provision(configuration, RUNNING, Request(), LinuxClock())
    with pytest.raises(AlreadyProvisionedError):
        provision(configuration, RUNNING, Request(DeviceId("other")), LinuxClock())
    assert identity.load(configuration.state_dir) == made


def test_a_lost_marker_is_no_way_to_lower_the_floor(configuration: Configuration) -> None:
    provision(configuration, RUNNING, Request(), LinuxClock())
    (configuration.state_dir / PROVISIONED_FILE).unlink()
    with pytest.raises(AlreadyProvisionedError):
        provision(configuration, Installed(Slot.A, "", 0, {}), Request(), LinuxClock())
    assert not (configuration.state_dir / PROVISIONED_FILE).exists()


@pytest.mark.parametrize(("device", "groups"), [("GW 1", ()), ("gw-1", ("a b",)), ("gw-1", ("a", "a"))])
def test_a_wrong_name_leaves_nothing_behind(configuration: Configuration, device: str, groups: tuple[str, ...]) -> None:
    with pytest.raises(UnusableValueError):
        provision(configuration, RUNNING, Request(DeviceId(device), groups), LinuxClock())
    assert not configuration.state_dir.exists()


@pytest.mark.parametrize("root", [None, b"", b"{}", b"x" * 600_000])
def test_without_a_good_root_there_is_no_device(configuration: Configuration, root: bytes | None) -> None:
    configuration.root.unlink()
    if root is not None:
        configuration.root.write_bytes(root)
    with pytest.raises(ConfiguredRootError):
        provision(configuration, RUNNING, Request(), LinuxClock())
    with pytest.raises(NotProvisionedError):
        StateStore(configuration.state_dir).load()


class PowerCutError(BaseException):
    """The power is gone; nothing catches it."""


def test_a_power_cut_anywhere_leaves_no_device_or_a_whole_one(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    cut_at = 1
    while True:
        synced = 0

        def fsync(descriptor: int) -> None:
            nonlocal synced
            synced += 1
            if synced == cut_at:  # noqa: B023  # called within this turn of the loop only
                raise PowerCutError
            real(descriptor)

        durable.remove_tree(configuration.state_dir)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            try:
                provision(configuration, RUNNING, Request(DeviceId("first")), LinuxClock())
                was_cut = False
            except PowerCutError:
                was_cut = True
        is_device = (configuration.state_dir / PROVISIONED_FILE).exists()
        if not is_device:
            # Another root and another id: nothing of the first attempt may shine through.
            configuration.root.write_bytes(signed_root())
            provision(configuration, RUNNING, Request(DeviceId("second")), LinuxClock())
        expected = "first" if is_device else "second"
        assert load_unit(configuration.state_dir).id == identity.load(configuration.state_dir).device == expected
        record = StateStore(configuration.state_dir).load()
        assert record.root.sha256 == TrustStore(configuration.state_dir / "trust").newest_root()[1]
        ledger = open_ledger(configuration)
        assert ledger.count() == 1 or [draft.event for draft in record.pending] == [Event.PROVISIONED]
        if not was_cut:
            break
        cut_at += 1
    assert cut_at > 10


def test_the_running_image_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_text('{"name": "gw", "version": "1.2", "sequence": 12}')
    assert running_release(Slot.B, path) == Installed(Slot.B, "1.2", 12, {})


@pytest.mark.parametrize(
    "text", [None, "", "{}", '{"name":"gw","version":"1","sequence":-1}', '{"name":"gw","version":"1","sequence":1,"x":1}']
)
def test_an_image_that_does_not_say_what_it_is_gives_no_floor(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "release.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UnusableFileError):
        running_release(Slot.A, path)


def test_check_is_content_with_a_provisioned_simulated_device(configuration: Configuration) -> None:
    provision(configuration, RUNNING, Request(), LinuxClock())
    assert [finding for finding in check_device(configuration.path) if not finding.ok] == []
