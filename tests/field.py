"""The whole field in one folder: an office, its sticks, and simulated devices with the real agent.

Built once a session and copied for each test. A `Press` signs with the office's own keys what no honest office would sign.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from usbupdate.core import envelope, identity as identity_form, recordform
from usbupdate.core.record import KnownRoot
from usbupdate.core.words import DeviceId, Digest, SlotClass
from usbupdate.device.ledger import Ledger
from usbupdate.errors import UsbupdateError
from usbupdate.packager import bundle, keys, office, stick
from usbupdate.packager.bundle import Order
from usbupdate.packager.pack import Packing
from usbupdate.packager.stick import Wishes
from usbupdate.simulate.bench import Bench, Mishaps
from usbupdate.simulate.setup import ROOTFS, Plan, create

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from securesystemslib.signer import Signer

    from usbupdate.core.receipt import Draft, Receipt
    from usbupdate.core.record import DeviceRecord
    from usbupdate.core.strictjson import Json
    from usbupdate.packager.office import Office
    from usbupdate.simulate.bench import Ran

CHUNK: Final = 256 << 10
CHUNKS: Final = 16
COMPATIBLE: Final = "acme,gw"
APP: Final = SlotClass("app")
RUNNING, OFFERED, NEXT = 1, 2, 3
"""What the device runs, what the stick `good` brings, and the release after that."""

_FAST: Final = Packing(level=1, threads=1)
_MAY_CHANGE: Final = ("state/ledger/", "state/trust/", "state/lock", "lock", "run/", "hardware.json")
"""What a stick that is not taken may leave on a device: receipts, trust, the signal, and that it is in."""

_Kind = TypeVar("_Kind", Root, Targets, Snapshot, Timestamp)


class Quiet:
    """A person who does not look."""

    def began(self, what: str) -> None:
        """Take no notice."""

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        """Take no notice."""


@dataclass(slots=True)
class Rig:
    """One simulated device and what is known of it from outside; `lines` are what its console showed."""

    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def bench(self) -> Bench:
        return Bench(self.folder, self._hear, Quiet())

    def _hear(self, line: str) -> None:
        self.lines.append(line)

    def insert(self, mount: Path) -> Ran:
        return self.bench.insert(mount)

    def error_of(self, mount: Path) -> UsbupdateError:
        """Put a stick in that is not taken, pull it, and return what was said."""
        try:
            self.bench.insert(mount)
        except UsbupdateError as error:
            return error
        finally:
            self.bench.remove()
        message = f"it was taken: {self.lines[-1]}"
        raise AssertionError(message)

    def boot(self, *, panic: bool = False, unhealthy: bool = False) -> Ran:
        return self.bench.boot(Mishaps(panic, unhealthy))

    def remove(self) -> None:
        self.bench.remove()

    def update(self, mount: Path) -> Ran:
        """Put a good stick in, restart, and pull it."""
        self.insert(mount)
        ran = self.boot()
        self.remove()
        return ran

    def status(self) -> Mapping[str, Json]:
        return self.bench.status()

    def slot_image(self, slot: str) -> str:
        """Return the digest of all the bytes of a slot's root file system."""
        return digest((self.folder / f"slots/{slot}.img").read_bytes())

    def record(self) -> DeviceRecord:
        return recordform.decode((self.folder / "state/state.json").read_bytes())

    def save_record(self, record: DeviceRecord) -> None:
        (self.folder / "state/state.json").write_bytes(recordform.encode(record))

    def receipts(self) -> list[Receipt]:
        """Return the receipts of a ledger whose chain is whole."""
        identity = identity_form.decode((self.folder / "state/identity/identity.json").read_bytes())
        ledger = Ledger.open(self.folder / "state/ledger", identity, _no_signer)
        receipts = [envelope.open_line(line, identity) for line in ledger.lines()]
        assert [each.number for each in receipts] == list(range(1, len(receipts) + 1))
        return receipts

    def events(self) -> list[str]:
        return [str(receipt.event) for receipt in self.receipts()]

    def last(self) -> Draft:
        return self.receipts()[-1].draft

    def configure(self, old: str, new: str) -> None:
        """Change the device's configuration."""
        path = self.folder / "device.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def script(self, place: str, body: str) -> Path:
        """Put an executable into one of the device's folders."""
        path = self.folder / place
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def picture(self) -> dict[str, bytes]:
        """Return everything on the device that a stick which is not taken must leave as it is."""
        files = {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
        kept = {name: contents for name, contents in files.items() if not name.startswith(_MAY_CHANGE)}
        record = replace(
            self.record(), pending=(), repeat=None, root=KnownRoot(1, Digest("0" * 64)), time_floor="", ledger_count=0
        )
        kept["state/state.json"] = repr(record).encode()
        return kept


@dataclass(slots=True)
class Field:
    """An office in a folder, with the sticks that it wrote and the devices that are out there."""

    folder: Path
    images: Path
    now: datetime

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    @property
    def office(self) -> Office:
        return office.Office.open(self.repo)

    @property
    def press(self) -> Press:
        return Press(self.repo)

    def image(self, release: int, *, chunks: int = CHUNKS) -> Path:
        """Return the image of a release: two chunks of zeros, every fourth the same in all, the others its own."""
        path = self.images / f"image-{release}-{chunks}"
        if not path.exists():
            noise, same = random.Random(release), random.Random(99)  # noqa: S311 - bytes that look like an image, no secrets
            parts = []
            for number in range(chunks):
                of = same if number % 4 == 0 else noise
                head = b"" if number in {3, 9} else of.randbytes(2048)
                parts.append(head.ljust(CHUNK, b"\0"))
            path.write_bytes(b"".join(parts))
        return path

    def image_sha256(self, release: int) -> str:
        return digest(self.image(release).read_bytes())

    def release(self, sequence: int, name: str = "gw", **changes: object) -> None:
        """Make a bundle of that sequence; `changes` are fields of the order."""
        order = Order(name, f"1.{sequence}", sequence, (COMPATIBLE,), {ROOTFS: self.image(sequence)})
        bundle.create(self.office, replace(order, **changes), self.now, how=_FAST)  # type: ignore[arg-type] # fields by name

    def stick(self, name: str, *wanted: str, log_only: bool = False) -> Path:
        """Write a stick in a folder and return that."""
        mount = self.folder / name
        mount.mkdir(exist_ok=True)
        stick.write(stick.plan(self.office, self.now, Wishes(wanted, log_only=log_only)), mount)
        return mount

    def device(self, name: str, **changes: object) -> Rig:
        """Make a device that runs the first release; `changes` are fields of the plan."""
        root = self.repo / "metadata/1.root.json"
        plan = Plan({ROOTFS: self.image(RUNNING)}, COMPATIBLE, root, DeviceId(name), (), "1.1", RUNNING)
        create(self.folder / name, replace(plan, **changes))  # type: ignore[arg-type] # fields by name
        return Rig(self.folder / name)

    @property
    def rig(self) -> Rig:
        """The device that runs the first release and has seen no stick yet."""
        return Rig(self.folder / "gw-1")

    @property
    def good(self) -> Path:
        """The stick that brings the second release."""
        return self.folder / "good"

    @property
    def cure(self) -> Path:
        """A genuine stick that brings the third release and is newer than whatever a press has signed."""
        return self.folder / "cure"

    def copy(self, to: Path) -> Field:
        """Return the same field in another folder, to be changed there."""
        shutil.copytree(self.folder, to, symlinks=True)
        return Field(to, self.images, self.now)


class Press:
    """Signs whatever a test wants on a stick, with the keys that a one-person office has."""

    def __init__(self, repo: Path) -> None:
        self._keys = repo / "keys"

    def sign(self, signed: _Kind, *names: str) -> bytes:
        """Return metadata signed by the named keys, or by the key of its own role."""
        document = Metadata(signed)
        for name in names or (signed.type,):
            document.sign(self.signer(name), append=True)
        return document.to_bytes()

    def signer(self, name: str) -> Signer:
        """Return the signer of a key in the office's folder; a name without a key gets one."""
        path = self._keys / f"{name}.pem"
        if not path.exists():
            keys.create(path)
        signer = keys.open_signer(str(path), keys.public_key(str(path), keys.no_passphrase), keys.no_passphrase)
        assert signer is not None
        return signer

    def publish(
        self,
        mount: Path,
        edit: Callable[[Targets], None] | None = None,
        *,
        step: int = 1,
        end: Callable[[Timestamp], None] | None = None,
        by: tuple[str, ...] = (),
    ) -> None:
        """Sign targets, snapshot and timestamp on a stick again, under later versions.

        Args:
            mount: the stick.
            edit: changes targets before that.
            step: how far the versions go up.
            end: changes the timestamp before it is signed.
            by: the keys that sign targets, if not its own.
        """
        targets, snapshot, timestamp = load(mount, Targets), load(mount, Snapshot), load(mount, Timestamp)
        for signed in (targets, snapshot, timestamp):
            metadata_file(mount, signed).unlink()
            signed.version += step
        if edit is not None:
            edit(targets)
        raw = self._save(mount, targets, *by)
        snapshot.meta["targets.json"] = MetaFile.from_data(targets.version, raw, ["sha256"])
        raw = self._save(mount, snapshot)
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, raw, ["sha256"])
        if end is not None:
            end(timestamp)
        self._save(mount, timestamp)

    def manifest(self, mount: Path, edit: Callable[[dict[str, Json]], bytes | None]) -> None:
        """Sign the changed manifest of the one bundle on a stick; `edit` changes it, or returns what to sign instead."""
        old = manifest_file(mount)
        name = old.name.partition(".")[2]
        table = json.loads(old.read_bytes())
        raw = edit(table)
        raw = json.dumps(table).encode() if raw is None else raw
        old.unlink()
        (old.parent / f"{digest(raw)}.{name}").write_bytes(raw)

        def listed(targets: Targets) -> None:
            targets.targets[name] = TargetFile.from_data(name, raw, ["sha256"])

        self.publish(mount, listed)

    def root(self, mount: Path, edit: Callable[[Root], None], *by: str) -> None:
        """Put a next root onto a stick, changed and signed by the named keys, or by the root's own."""
        root = load(mount, Root)
        root.version += 1
        edit(root)
        self._save(mount, root, *by)

    def _save(self, mount: Path, signed: _Kind, *names: str) -> bytes:
        raw = self.sign(signed, *names)
        metadata_file(mount, signed).write_bytes(raw)
        return raw


def load(mount: Path, kind: type[_Kind]) -> _Kind:
    """Return the newest metadata of a kind on a stick."""
    folder = mount / "usbupdate/metadata"
    found = sorted(folder.glob(f"*{kind.type}.json"), key=lambda path: int(path.name.split(".")[0].replace(kind.type, "0")))
    signed = Metadata[_Kind].from_bytes(found[-1].read_bytes()).signed
    assert isinstance(signed, kind)
    return signed


def metadata_file(mount: Path, signed: Root | Targets | Snapshot | Timestamp) -> Path:
    """Return where metadata lies on a stick."""
    name = f"{signed.type}.json" if signed.type == Timestamp.type else f"{signed.version}.{signed.type}.json"
    return mount / "usbupdate/metadata" / name


def manifest_file(mount: Path) -> Path:
    """Return where the one manifest of a stick lies."""
    (found,) = (mount / "usbupdate/targets").iterdir()
    return found


def payload_files(mount: Path) -> tuple[Path, Path]:
    """Return where index and pack of the one bundle on a stick lie."""
    artifact = json.loads(manifest_file(mount).read_bytes())["artifacts"][0]
    index, pack = artifact["index"]["sha256"], artifact["packs"][0]["sha256"]
    folder = mount / "usbupdate/payload"
    return folder / index[:2] / index, folder / pack[:2] / pack


def digest(raw: bytes) -> Digest:
    """Return a SHA-256."""
    return Digest(hashlib.sha256(raw).hexdigest())


def build(folder: Path) -> Field:
    """Return a new field: one device, a stick with the next release, and a later one with the release after that."""
    now = datetime.now(UTC).replace(microsecond=0)
    images = folder.with_name(folder.name + "-images")
    for each in (folder, images):
        each.mkdir()
    made = Field(folder, images, now)
    _, missing = office.create(folder / "repo", now)
    assert missing == ()
    made.release(OFFERED)
    made.stick("good")
    made.device("gw-1")
    # In a copy: the office itself has gone no further than its first stick.
    later = made.copy(folder.with_name(folder.name + "-later"))
    later.release(NEXT)
    later.stick("cure", "gw")
    later.press.publish(later.cure, step=10)
    shutil.copytree(later.cure, made.cure)
    shutil.rmtree(later.folder)
    return made


def _no_signer() -> Signer:
    message = "who only looks signs nothing"
    raise AssertionError(message)
