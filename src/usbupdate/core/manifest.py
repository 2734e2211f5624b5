"""The manifest: what one release is, for which devices, and by which digests it is known.

It is the TUF target, so its own digest and signatures are TUF's business; here it is only read, strictly, and written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from usbupdate.core import strictjson
from usbupdate.core.unpack import WINDOW_MAX
from usbupdate.core.words import (
    BUNDLE_NAME,
    COMPATIBLE,
    DEVICE_ID,
    GROUP,
    SEQUENCE_MAX,
    SLOT_CLASS,
    VERSION,
    BundleName,
    Digest,
    SlotClass,
)

FORMAT: Final = 1
MANIFEST_SIZE_MAX: Final = 1 << 20
INDEX_SIZE_MAX: Final = 8 << 20
PACK_SIZE_MAX: Final = 1 << 30
CHUNK_SIZE_MIN: Final = 256 << 10
IMAGE_SIZE_MAX: Final = 1 << 40
CHUNK_SIZE_MAX: Final = WINDOW_MAX
NOTES_MAX: Final = 20_000
_ARTIFACTS_MAX: Final = 16
_PACKS_MAX: Final = 1 << 14
_DELTAS_MAX: Final = 64
_NAMES_MAX: Final = 10_000


class Kind(StrEnum):
    """Why a release is made; an owner may want security updates sooner than features."""

    SECURITY = "security"
    FEATURE = "feature"


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of the payload: its digest, which is also its name, and its size in bytes."""

    sha256: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A way to rebuild an image from one base image; see `core.delta`."""

    base_sha256: Digest
    base_size: int
    index: Blob
    packs: tuple[Blob, ...]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One image of a bundle, for one slot class.

    `chunk_size` is in bytes, a power of two; `packs` are in the order in which the index counts them.
    """

    slot_class: SlotClass
    image: Blob
    chunk_size: int
    index: Blob
    packs: tuple[Blob, ...]
    deltas: tuple[Delta, ...] = ()

    @property
    def payload(self) -> tuple[Blob, ...]:
        """All its files: its index and packs, and those of its deltas."""
        return (self.index, *self.packs, *(blob for delta in self.deltas for blob in (delta.index, *delta.packs)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """One release for one kind of device; empty `devices` and `groups` mean every device that is compatible."""

    name: BundleName
    version: str
    sequence: int
    compatible: tuple[str, ...]
    kind: Kind
    created: str
    artifacts: tuple[Artifact, ...]
    from_sequence_min: int = 0
    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    notes: str = ""
    sbom_sha256: Digest | None = field(default=None)


def decode(raw: bytes) -> Manifest:
    """Return the manifest that `raw` is, or say what is wrong with it.

    Raises:
        NewerFormatError: it is of a later format, which is no fault of the stick.
        MalformedError: it breaks a rule of its format.

    Source: design, section 4, "Manifest".
    """
    fields = strictjson.decode(raw, "manifest", limit=MANIFEST_SIZE_MAX)
    fields.format(FORMAT)
    manifest = Manifest(
        name=BundleName(fields.text("name", BUNDLE_NAME)),
        version=fields.text("version", VERSION),
        sequence=fields.integer("sequence", 1, SEQUENCE_MAX),
        from_sequence_min=fields.integer("from_sequence_min", 0, SEQUENCE_MAX),
        compatible=fields.texts("compatible", COMPATIBLE, limit=_NAMES_MAX),
        devices=fields.texts("devices", DEVICE_ID, limit=_NAMES_MAX) if fields.has("devices") else (),
        groups=fields.texts("groups", GROUP, limit=_NAMES_MAX) if fields.has("groups") else (),
        kind=fields.choice("kind", Kind),
        notes=fields.free_text("notes", limit=NOTES_MAX),
        sbom_sha256=fields.digest("sbom_sha256") if fields.has("sbom_sha256") else None,
        created=fields.time("created"),
        artifacts=tuple(_artifact(each) for each in fields.objects("artifacts", limit=_ARTIFACTS_MAX)),
    )
    if not manifest.compatible:
        fields.fail("compatible", "empty")
    if manifest.from_sequence_min > manifest.sequence:
        fields.fail("from_sequence_min", "above the bundle's own sequence")
    if not manifest.artifacts:
        fields.fail("artifacts", "empty")
    classes = [artifact.slot_class for artifact in manifest.artifacts]
    if len(set(classes)) != len(classes):
        fields.fail("artifacts", "a slot class stands twice")
    fields.done()
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Return the manifest in the one form that is signed; `decode` gives back an equal value."""
    table: dict[str, strictjson.Json] = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "sequence": manifest.sequence,
        "from_sequence_min": manifest.from_sequence_min,
        "compatible": list(manifest.compatible),
        "kind": str(manifest.kind),
        "notes": manifest.notes,
        "created": manifest.created,
        "artifacts": [_artifact_table(artifact) for artifact in manifest.artifacts],
    }
    if manifest.devices:
        table["devices"] = list(manifest.devices)
    if manifest.groups:
        table["groups"] = list(manifest.groups)
    if manifest.sbom_sha256 is not None:
        table["sbom_sha256"] = manifest.sbom_sha256
    return strictjson.encode(table)


def _artifact(fields: strictjson.Fields) -> Artifact:
    chunk_size = fields.integer("chunk_size", CHUNK_SIZE_MIN, CHUNK_SIZE_MAX)
    if chunk_size & (chunk_size - 1):
        fields.fail("chunk_size", "not a power of two")
    artifact = Artifact(
        slot_class=SlotClass(fields.text("class", SLOT_CLASS)),
        image=_blob(fields.inner("image"), IMAGE_SIZE_MAX),
        chunk_size=chunk_size,
        index=_blob(fields.inner("index"), INDEX_SIZE_MAX),
        packs=_packs(fields),
        deltas=tuple(_delta(each) for each in fields.objects("deltas", limit=_DELTAS_MAX)) if fields.has("deltas") else (),
    )
    bases = [delta.base_sha256 for delta in artifact.deltas]
    if len(set(bases)) != len(bases):
        fields.fail("deltas", "a base stands twice")
    fields.done()
    return artifact


def _delta(fields: strictjson.Fields) -> Delta:
    base = _blob(fields.inner("base"), IMAGE_SIZE_MAX)
    delta = Delta(
        base_sha256=base.sha256,
        base_size=base.size,
        index=_blob(fields.inner("index"), INDEX_SIZE_MAX),
        packs=_packs(fields),
    )
    fields.done()
    return delta


def _packs(fields: strictjson.Fields) -> tuple[Blob, ...]:
    return tuple(_blob(each, PACK_SIZE_MAX) for each in fields.objects("packs", limit=_PACKS_MAX))


def _blob(fields: strictjson.Fields, size_max: int) -> Blob:
    blob = Blob(sha256=fields.digest("sha256"), size=fields.integer("size", 1, size_max))
    fields.done()
    return blob


def _artifact_table(artifact: Artifact) -> dict[str, strictjson.Json]:
    table: dict[str, strictjson.Json] = {
        "class": artifact.slot_class,
        "image": _blob_table(artifact.image),
        "chunk_size": artifact.chunk_size,
        "index": _blob_table(artifact.index),
        "packs": [_blob_table(pack) for pack in artifact.packs],
    }
    if artifact.deltas:
        table["deltas"] = [
            {
                "base": _blob_table(Blob(delta.base_sha256, delta.base_size)),
                "index": _blob_table(delta.index),
                "packs": [_blob_table(pack) for pack in delta.packs],
            }
            for delta in artifact.deltas
        ]
    return table


def _blob_table(blob: Blob) -> dict[str, strictjson.Json]:
    return {"sha256": blob.sha256, "size": blob.size}
