"""What a release engineer asks for, checked by the device's own reader before any work.

Source: design, section 4.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from usbupdate.core import manifest as manifests
from usbupdate.core.manifest import Artifact, Blob, Kind, Manifest
from usbupdate.core.timefloor import format_time
from usbupdate.core.words import BUNDLE_NAME, VERSION, BundleName, Digest, SlotClass
from usbupdate.errors import MalformedError, UnusableFileError, UnusableValueError
from usbupdate.packager import pack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

_HASH_PIECE: Final = 1 << 20
_NO_DIGEST: Final = Digest("0" * 64)


@dataclass(frozen=True, slots=True)
class Order:
    """What a release engineer asks for. Empty `devices` and `groups` mean every device that is compatible.

    `images` is by slot class, and so is `bases`: images of earlier releases whose devices get by with what differs.
    """

    name: str
    version: str
    sequence: int
    compatible: tuple[str, ...]
    images: Mapping[str, Path]
    kind: Kind = Kind.FEATURE
    from_sequence_min: int = 0
    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    notes: str = ""
    sbom: Path | None = None
    bases: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    jump_is_meant: bool = field(default=False, kw_only=True)


def with_jump_meant(order: Order) -> Order:
    """Return the order of somebody who was asked about its sequence and said yes."""
    return replace(order, jump_is_meant=True)


def draft_of(order: Order, now: datetime) -> Manifest:
    """Return the manifest as it will be, with artifacts of no content, once it is sure that a device can read it.

    Raises:
        InputError: a value or an image cannot be used.
    """
    for image in (*order.images.values(), *(base for bases in order.bases.values() for base in bases)):
        pack.require_image(image)
    for slot_class in order.bases:
        if slot_class not in order.images:
            raise UnusableValueError(what="--base", value=slot_class, problem="the bundle has no image for that slot class")
    if not BUNDLE_NAME.fullmatch(order.name):
        problem = "a name has lower-case letters, digits, '.', '_' and '-', and does not begin with 'allow-'"
        raise UnusableValueError(what="name", value=order.name, problem=problem)
    if not VERSION.fullmatch(order.version):
        problem = "a version has letters, digits and '.+~_-', 64 at most"
        raise UnusableValueError(what="version", value=order.version, problem=problem)
    nothing = Blob(_NO_DIGEST, 1)
    draft = Manifest(
        name=BundleName(order.name),
        version=order.version,
        sequence=order.sequence,
        compatible=order.compatible,
        kind=order.kind,
        created=format_time(now),
        artifacts=tuple(Artifact(SlotClass(each), nothing, manifests.CHUNK_SIZE_MIN, nothing, ()) for each in order.images),
        from_sequence_min=order.from_sequence_min,
        devices=order.devices,
        groups=order.groups,
        notes=order.notes,
        sbom_sha256=_digest_of(order.sbom) if order.sbom is not None else None,
    )
    try:
        # The device's own reader is the judge.
        return manifests.decode(manifests.encode(draft))
    except MalformedError as error:
        raise UnusableValueError(what=error.field, value=_value_of(order, error.field), problem=error.problem) from error


def _value_of(order: Order, field_name: str) -> str:
    """Return what was given for a field of the manifest, such as `compatible[0]`, as the person gave it."""
    name, _, rest = field_name.partition("[")
    given: object = getattr(order, name, "")
    if not isinstance(given, tuple):
        return str(given)
    number = rest.partition("]")[0]
    return str(given[int(number)]) if number.isdigit() and int(number) < len(given) else ", ".join(given)


def _digest_of(path: Path) -> Digest:
    whole = hashlib.sha256()
    try:
        with path.open("rb") as source:
            while piece := source.read(_HASH_PIECE):
                whole.update(piece)
    except OSError as error:
        raise UnusableFileError(path=str(path), problem=error.strerror or "it cannot be read") from error
    return Digest(whole.hexdigest())
