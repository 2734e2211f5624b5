"""Makes a device out of a machine: its key, its id, its trust and its first floor, in a state folder that becomes valid last.

The marker is the last step. A cut before it leaves a folder that is no device's; provisioning it again starts over, and keeps
nothing but the key. A device that has receipts is never provisioned again, even if its marker is gone: that would be a way to
lower its floor.

Source: design, section 9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import strictjson
from usbupdate.core.receipt import Event
from usbupdate.core.record import DeviceRecord, Installed, KnownRoot
from usbupdate.core.timefloor import format_time
from usbupdate.core.words import BUNDLE_NAME, SEQUENCE_MAX, VERSION, DeviceId
from usbupdate.device import identity, lock
from usbupdate.device.configuration import ClockTrust, Configuration, read_configured_root
from usbupdate.device.drafts import DeviceDrafts
from usbupdate.device.ledgercontents import RECEIPTS_FILE
from usbupdate.device.machine import LEDGER_FOLDER, TRUST_FOLDER, open_ledger
from usbupdate.device.reliance import require_closed
from usbupdate.device.statestore import PROVISIONED_FILE, StateStore
from usbupdate.device.truststore import TrustStore
from usbupdate.device.unit import Unit, require_sound_unit, save_unit
from usbupdate.errors import AlreadyProvisionedError, MalformedError, NotReadyError, UnusableFileError

if TYPE_CHECKING:
    from usbupdate.core.identity import Identity
    from usbupdate.core.words import Slot
    from usbupdate.device.ports import Clock

RELEASE_FILE: Final = Path("/usr/lib/usbupdate/release.json")
_RELEASE_SIZE_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """What is particular to this unit: an id, or None to name it after its key; its groups; and who provisions it."""

    device: DeviceId | None = None
    groups: tuple[str, ...] = ()
    operator: str = "unattended"


def running_release(slot: Slot, release_file: Path = RELEASE_FILE) -> Installed:
    """Return what the running image says of itself, as what `slot` holds; which bytes it was made from, it cannot say.

    Raises:
        UnusableFileError: the file is missing or not of its form. Without it the first floor would be a guess.
    """
    try:
        raw = plainfile.read(release_file, _RELEASE_SIZE_MAX + 1)
        fields = strictjson.decode(raw, "release file", limit=_RELEASE_SIZE_MAX)
        fields.text("name", BUNDLE_NAME)
        installed = Installed(slot, fields.text("version", VERSION), fields.integer("sequence", 0, SEQUENCE_MAX), {})
        fields.done()
    except OSError as error:
        raise UnusableFileError(path=str(release_file), problem=error.strerror or "it cannot be read") from error
    except MalformedError as error:
        raise UnusableFileError(path=str(release_file), problem=f"{error.field}: {error.problem}") from error
    return installed


def provision(configuration: Configuration, running: Installed, request: Request, clock: Clock) -> Identity:
    """Provision this device, and return its identity, whose fingerprint the auditor needs.

    Args:
        configuration: the model's; its root becomes what the device trusts.
        running: what the booted slot holds; its sequence becomes the first floor.
        request: what is particular to this unit.
        clock: the device's clock, for its first receipt.

    Raises:
        AlreadyProvisionedError: it is a device already, or was one.
        UnusableValueError: the id or a group is not of its grammar.
        UnusableFileError: the state folder cannot be written.
        NotReadyError: the configured root is no root, or what an interrupted provisioning left cannot be used.
        ExposedError: others than root could have changed what it is made from, or what is made.
        DeviceLockedError: another command is at work.
    """
    state_dir = configuration.state_dir
    require_sound_unit(Unit(request.device or DeviceId("unnamed"), request.groups))
    root = read_configured_root(configuration)
    try:
        # What it is mounted from is open to everybody when it was just made.
        durable.make_private(state_dir)
        require_closed(configuration)
        with lock.locked(state_dir):
            return _provision(configuration, running, request, clock, root)
    except OSError as error:
        raise UnusableFileError(path=str(state_dir), problem=error.strerror or "it cannot be written") from error


def _provision(configuration: Configuration, running: Installed, request: Request, clock: Clock, root: bytes) -> Identity:
    from usbupdate.core.rootrules import read_root, root_of, signed_time  # noqa: PLC0415  # needs tuf

    state_dir = configuration.state_dir
    # 1. Never over a device, nor over what is left of one.
    for left in (state_dir / PROVISIONED_FILE, state_dir / LEDGER_FOLDER / RECEIPTS_FILE):
        if left.exists():
            raise AlreadyProvisionedError(path=str(left))

    # 2. Whom it trusts. What an interrupted provisioning left may come from another root.
    trust = TrustStore(state_dir / TRUST_FOLDER)
    durable.remove_tree(state_dir / TRUST_FOLDER)
    trust.provision(root)
    version, digest = trust.newest_root()

    # 3. Who it is. The id of an interrupted provisioning was never shown to anybody; its key is as good as a new one.
    durable.remove(state_dir / identity.FOLDER / identity.IDENTITY_FILE)
    made = identity.create(state_dir, request.device)
    save_unit(state_dir, Unit(made.device, request.groups))

    # 4. What it runs, and its first receipt, still pending.
    floor = signed_time(root_of(read_root(root)))
    drafts = DeviceDrafts(
        clock, is_clock_trusted=configuration.clock is ClockTrust.SYSTEM, floor=lambda: floor, operator=request.operator
    )
    draft = replace(drafts.blank(), event=Event.PROVISIONED, after=running.release())
    record = DeviceRecord(
        committed=running,
        whole={running.slot: running},
        floor=running.sequence,
        root=KnownRoot(version, digest),
        pending=(draft,),
        exports_logs=configuration.export_logs,
        time_floor=format_time(floor),
    )
    store = StateStore(state_dir)
    store.save(record)

    # 5. From here on it is a device.
    durable.save(state_dir / PROVISIONED_FILE, b"", mode=durable.PRIVATE)

    # 6. What cannot be appended now is appended by the agent.
    try:
        open_ledger(configuration).append(draft)
    except NotReadyError:
        return made
    store.save(replace(record, pending=(), ledger_count=1))
    return made
