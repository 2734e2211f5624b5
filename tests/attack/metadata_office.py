"""A release office in memory that signs TUF metadata: a test changes one thing, signs again, and expects one error."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata, MetaFile, Role, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from usbupdate.core import layout, manifest
from usbupdate.core.manifest import Artifact, Blob, Kind, Manifest
from usbupdate.core.words import BundleName, Digest, SlotClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from usbupdate.core.layout import MediumPath

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TIME: Final = "x-usbupdate-time"
ROLES: Final = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
LIFETIME_DAYS: Final = {Root.type: 1825, Timestamp.type: 365, Snapshot.type: 365, Targets.type: 730}


class Office:
    """An office with one key for each role, one root and one release; `now` is what its clock says."""

    def __init__(self) -> None:
        self.now = START
        self.signers: dict[str, list[CryptoSigner]] = {role: [new_key()] for role in ROLES}
        self.thresholds = dict.fromkeys(ROLES, 1)
        self.root = Root(version=1, consistent_snapshot=True)
        self.root.version = 0
        self.timestamp = Timestamp()
        self.snapshot = Snapshot()
        self.targets = Targets()
        for signed in (self.timestamp, self.snapshot, self.targets):
            signed.version = 0
        self.files: dict[MediumPath, bytes] = {}
        self._last_root_signers: list[CryptoSigner] = []
        self.publish_root()
        self.add_bundle("gateway", 1)
        self.publish()

    @property
    def first_root(self) -> bytes:
        """What devices are provisioned with."""
        return self.files[layout.metadata_path(Root.type, 1)]

    @property
    def newest_root(self) -> bytes:
        return self.files[layout.metadata_path(Root.type, self.root.version)]

    def publish_root(self) -> None:
        """Sign the next root: by the keys of the last one and by its own."""
        self.root.version += 1
        self.set_root_keys({role: [signer.public_key for signer in signers] for role, signers in self.signers.items()})
        self._stamp(self.root)
        self.sign(self.root, {s.public_key.keyid: s for s in [*self._last_root_signers, *self.signers[Root.type]]}.values())
        self._last_root_signers = list(self.signers[Root.type])

    def set_root_keys(self, keys: Mapping[str, Sequence[Key]]) -> None:
        self.root.keys = {key.keyid: key for each in keys.values() for key in each}
        self.root.roles = {role: Role([key.keyid for key in keys[role]], self.thresholds[role]) for role in ROLES}

    def publish(self, *roles: str) -> None:
        """Sign new versions of these roles; without any: of all three but the root."""
        chosen = roles or (Targets.type, Snapshot.type, Timestamp.type)
        if Targets.type in chosen:
            self.targets.version += 1
            self.sign_again(Targets.type)
        if Snapshot.type in chosen:
            self.snapshot.version += 1
            self.sign_again(Snapshot.type)
        if Timestamp.type in chosen:
            self.timestamp.version += 1
            self.sign_again(Timestamp.type)

    def sign_again(self, role: str) -> None:
        """Sign a role's metadata of the present version, vouching for what is below it."""
        match role:
            case Targets.type:
                self._stamp(self.targets)
                self.sign(self.targets, self.signers[role])
            case Snapshot.type:
                self.snapshot.meta = {"targets.json": self._meta(Targets.type, self.targets.version)}
                self._stamp(self.snapshot)
                self.sign(self.snapshot, self.signers[role])
            case _:
                self.timestamp.snapshot_meta = self._meta(Snapshot.type, self.snapshot.version)
                self._stamp(self.timestamp)
                self.sign(self.timestamp, self.signers[role])

    def sign(self, signed: Signed, signers: Iterable[CryptoSigner]) -> None:
        document = Metadata(cast("Root", signed))
        for signer in signers:
            document.sign(signer, append=True)
        version = None if signed.type == Timestamp.type else signed.version
        self.files[layout.metadata_path(signed.type, version)] = document.to_bytes(JSONSerializer(compact=True))

    def add_bundle(self, name: str, sequence: int, *, target: str | None = None) -> Manifest:
        """Put a release's manifest among the targets; `publish` signs it."""
        bundle = Manifest(
            name=BundleName(name),
            version=f"1.{sequence}",
            sequence=sequence,
            compatible=("acme,gw-100",),
            kind=Kind.FEATURE,
            created="2026-01-01T00:00:00Z",
            artifacts=(
                Artifact(
                    SlotClass("rootfs"), Blob(digest(b"image"), 5), 1 << 18, Blob(digest(b"index"), 5), (Blob(digest(b"p"), 1),)
                ),
            ),
        )
        raw = manifest.encode(bundle)
        self.add_target(target or layout.target_name(name, sequence), raw)
        return bundle

    def add_target(self, name: str, raw: bytes) -> None:
        self.targets.targets[name] = TargetFile.from_data(name, raw, ["sha256"])
        self.files[layout.target_path(digest(raw), name)] = raw

    def write(self, mount: Path) -> None:
        """Make the folder a stick of this office, with nothing else on it."""
        for path in mount.rglob("*"):
            if path.is_file() or path.is_symlink():
                path.unlink()
        for name, raw in self.files.items():
            file = mount.joinpath(*name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(raw)

    def _meta(self, role: str, version: int) -> MetaFile:
        return MetaFile.from_data(version, self.files[layout.metadata_path(role, version)], ["sha256"])

    def _stamp(self, signed: Signed) -> None:
        signed.expires = self.now + timedelta(days=LIFETIME_DAYS[signed.type])
        if signed.type in {Root.type, Timestamp.type}:
            signed.unrecognized_fields[TIME] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def digest(raw: bytes) -> Digest:
    return Digest(hashlib.sha256(raw).hexdigest())
