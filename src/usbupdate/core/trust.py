"""Whom this device believes, and what they say is on the stick.

`refresh` does, in this order:

1. what the device has stored must verify under its own newest root; a broken store stops everything;
2. the start is the newest stored root, or the configured one if its version is higher: the root never goes backwards;
3. walk the roots on the stick, and forget what the new root no longer vouches for;
4. recompute the time floor, and from it what time it is;
5. timestamp, snapshot, targets: the stick's or the device's own, whichever are newer, by the library;
6. what was accepted must also be good at the time that it proves.

What was proven before a failure stays in the folder, whatever the failure. Signatures, thresholds, versions and expiry are the
library's work (`tuf.ngclient`); this module gives it a stick, a time and a place.

Source: design, section 3.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from usbupdate.core import acknowledgers, authorisation as authorisations, manifest
from usbupdate.core.judgement import Judgement, judge
from usbupdate.core.layout import METADATA, target_name, target_path
from usbupdate.core.manifest import Blob
from usbupdate.core.payload import read_signed
from usbupdate.core.rootrules import Document, is_signed, root_of, signers, title
from usbupdate.core.stickfetcher import MetadataOnStick, NewestFetcher
from usbupdate.core.timefloor import ClockReading, format_time, trusted_now
from usbupdate.core.truststate import (
    Standing,
    TrustFolder,
    check_configured_root,
    newest_stored_root,
    older_roots,
    read_own,
    settle,
    starting_root,
    stored_floor,
)
from usbupdate.core.tuflibrary import ROTATIONS_MAX, first_expired, update_the_rest, walk_roots
from usbupdate.core.words import DIGEST, Digest
from usbupdate.errors import (
    AliasedTargetError,
    ForkedOfficeError,
    MalformedError,
    MediumFileMissingError,
    MetadataMalformedError,
    MetadataMissingError,
    MetadataMixedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from usbupdate.core.authorisation import Authorisation
    from usbupdate.core.cosignature import Cosigner
    from usbupdate.core.layout import MediumReader
    from usbupdate.core.receipt import ClockQuality

__all__ = [
    "ClockReading",
    "TrustFolder",
    "Trusted",
    "authorisation_names",
    "bundle_names",
    "check_configured_root",
    "newest_stored_root",
    "read_authorisation",
    "read_manifest",
    "refresh",
    "stored_floor",
    "tell_nobody",
]

_ROOT_NAME: Final = re.compile(r"([1-9][0-9]{0,15})\.root\.json")
_TARGET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\.json")
_BUNDLE_TARGET: Final = re.compile(r"(?!allow-)[a-z0-9][a-z0-9._-]{0,62}-[1-9][0-9]{0,15}\.json")


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a refresh proved.

    `root_sha256` is the digest of the newest root's bytes. `signers` are the ids of the keys that validly signed targets.
    `expires` is the earliest end over the four roles; `floor` and `now` are the time floor and the time by which expiry was
    judged, and `clock` tells where that comes from. `targets` are those of the top-level targets metadata. `newer_than_medium`
    says what the device knows that is newer than the stick, and is empty if the stick is as new.
    """

    root_version: int
    root_sha256: Digest
    timestamp_version: int
    snapshot_version: int
    targets_version: int
    signers: tuple[str, ...]
    expires: str
    floor: str
    now: str
    clock: ClockQuality
    targets: Mapping[str, Blob]
    newer_than_medium: str = ""
    acknowledgers: tuple[Cosigner, ...] = ()
    """Whose cosignatures under a checkpoint count; nobody's where what the targets metadata say of it cannot be read."""


def tell_nobody(_judgement: Judgement) -> None:
    """Keep the time by which metadata are judged from those who do not ask for it."""


def refresh(
    folder: TrustFolder,
    bootstrap: bytes,
    medium: MediumReader,
    clock: ClockReading,
    judged: Callable[[Judgement], None] = tell_nobody,
) -> Trusted:
    """Return what the stick's metadata prove, judged by everything that the folder's metadata prove already.

    Args:
        folder: empty, or what an earlier refresh left.
        bootstrap: the configured root, as in its file.
        medium: the stick.
        clock: what the system says; whether it counts is decided here.
        judged: is told by what time the metadata are judged, before they are, and again if they prove that it is later. After a
            failure, what was told last is what the verdict rests on.

    Raises:
        NotReadyError: the folder or the configured root cannot be relied on; nothing has changed.
        RejectedError: the metadata on the stick do not verify; what did verify stays in the folder.
        OlderStickError: the stick is older than the device's own metadata, and does not hold what they call for; as above.
        MediumError: the stick could not be read; as above.
        OSError: the folder could not be written.
    """
    own = read_own(folder)
    start = starting_root(own, bootstrap)
    stick = MetadataOnStick(medium)
    try:
        walk_roots(folder, start, stick)
    finally:
        before = settle(folder, start)
        judged(judge(before.floor, clock))
    root = before.root
    _require_no_gap(root, start, medium)
    now, _ = trusted_now(before.floor, clock)
    fetcher = NewestFetcher(stick, root_of(root), lambda: older_roots(folder, root.version), before.documents)
    try:
        update_the_rest(folder, before, fetcher, now)
    finally:
        after = settle(folder, start)
    if not fetcher.is_stick_older:
        _require_whole(stick, after)
    judged(judge(after.floor, clock))
    return _proven(after, fetcher, clock)


def bundle_names(trusted: Trusted) -> tuple[str, ...]:
    """Return the names of the targets that are manifests of bundles, sorted."""
    return tuple(sorted(name for name in trusted.targets if _BUNDLE_TARGET.fullmatch(name)))


def read_manifest(trusted: Trusted, name: str, medium: MediumReader) -> tuple[manifest.Manifest, Digest]:
    """Return the manifest that a target is, and its digest.

    Args:
        trusted: what a refresh proved.
        name: one of `bundle_names(trusted)`.
        medium: the stick.

    Raises:
        MediumFileMissingError: the bundle is offered, but not on this stick.
        NewerFormatError: only a later usbupdate can read it.
        RejectedError: what lies there is not what was signed, or is signed under another release's name.
        MediumError: the stick could not be read.
    """
    entry = trusted.targets[name]
    bundle = manifest.decode(read_signed(medium, target_path(entry.sha256, name), entry, manifest.MANIFEST_SIZE_MAX))
    # One manifest under two names would be one release with two sequences.
    actual = target_name(bundle.name, bundle.sequence)
    if actual != name:
        raise AliasedTargetError(name=name, actual=actual)
    return bundle, entry.sha256


def authorisation_names(trusted: Trusted) -> tuple[str, ...]:
    """Return the names of the targets that are downgrade authorisations, of whatever device, sorted."""
    return tuple(sorted(name for name in trusted.targets if authorisations.parse_name(name) is not None))


def read_authorisation(trusted: Trusted, name: str, medium: MediumReader) -> Authorisation:
    """Return the downgrade authorisation that a target is.

    Args:
        trusted: what a refresh proved.
        name: one of `authorisation_names(trusted)`.
        medium: the stick.

    Raises:
        MediumFileMissingError: it is not on this stick.
        NewerFormatError: only a later usbupdate can read it.
        RejectedError: what lies there is not what was signed, or is signed under another device's name or another number.
        MediumError: the stick could not be read.
    """
    entry = trusted.targets[name]
    raw = read_signed(medium, target_path(entry.sha256, name), entry, authorisations.AUTHORISATION_SIZE_MAX)
    found = authorisations.decode(raw)
    if found.name != name:
        raise AliasedTargetError(name=name, actual=found.name)
    return found


def _require_no_gap(root: Document, start: Document, medium: MediumReader) -> None:
    """Reject a stick that has later roots than the walk could reach; listed names are compared, never opened.

    Source: design, section 3, "Every stick carries every root version".
    """
    try:
        names = medium.names(METADATA)
    except MediumFileMissingError:
        return
    newest = max((int(match[1]) for name in names if (match := _ROOT_NAME.fullmatch(name))), default=0)
    if newest > root.version and root.version - start.version < ROTATIONS_MAX:
        raise MetadataMissingError(role=Root.type, name=f"{root.version + 1}.root.json")


def _proven(standing: Standing, fetcher: NewestFetcher, clock: ClockReading) -> Trusted:
    root = standing.root
    timestamp, snapshot, targets = (standing.documents[role] for role in (Timestamp.type, Snapshot.type, Targets.type))
    now, quality = trusted_now(standing.floor, clock)
    # The timestamp proves that it is at least as late as when it was signed. The next refresh judges by that; so must this one.
    expired = first_expired([root, timestamp, snapshot, targets], now)
    if expired is not None:
        raise expired
    # A document that was read for a role is of that role.
    listing = cast("Targets", targets.signed)
    return Trusted(
        root_version=root.version,
        root_sha256=Digest(hashlib.sha256(root.raw).hexdigest()),
        timestamp_version=timestamp.version,
        snapshot_version=snapshot.version,
        targets_version=targets.version,
        signers=signers(root_of(root), targets),
        expires=format_time(min(document.signed.expires for document in (root, timestamp, snapshot, targets))),
        floor=format_time(standing.floor),
        now=format_time(now),
        clock=quality,
        targets=_entries(listing),
        newer_than_medium=title(timestamp) if fetcher.is_stick_older else "",
        acknowledgers=_acknowledgers(listing),
    )


def _require_whole(stick: MetadataOnStick, standing: Standing) -> None:
    """Reject a stick of the present state whose other metadata are not those accepted: the verdict is the stick's own.

    The library does not read what the device has in store, so a damaged or forked stick would pass on some devices only.
    """
    for document in (standing.root, standing.documents[Snapshot.type], standing.documents[Targets.type]):
        role = document.signed.type
        found = stick.find(role, document.version)
        # A root may be newer than the latest timestamp, so a stick of the present state need not have it.
        if found is None and role == Root.type:
            continue
        found = found or stick.get(role, document.version)
        is_genuine = is_signed(root_of(standing.root), found)
        if found.raw == document.raw or (is_genuine and found.says_the_same(document)):
            continue
        if found.version == document.version and is_genuine:
            raise ForkedOfficeError(role=role, version=document.version)
        raise MetadataMixedError(role=role, problem="its bytes are not those that belong to this version")


def _acknowledgers(signed: Targets) -> tuple[Cosigner, ...]:
    try:
        return acknowledgers.decode(signed.unrecognized_fields)
    except MalformedError:
        # A later form of it must not keep anybody from updating.
        return ()


def _entries(signed: Targets) -> dict[str, Blob]:
    entries: dict[str, Blob] = {}
    for name, target in signed.targets.items():
        digest: object = target.hashes.get("sha256")
        size: object = target.length
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or not isinstance(size, int) or isinstance(size, bool):
            raise MetadataMalformedError(role=Targets.type, problem="a target has no SHA-256 or no size")
        # Other names are nothing that this version would ask a stick for.
        if _TARGET_NAME.fullmatch(name):
            entries[name] = Blob(Digest(digest), size)
    return entries
