"""Bundles: made from images, listed, withdrawn. A bundle is offered by being a target; its sequence is its own for ever.

Source: design, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from usbupdate.core import manifest as manifests
from usbupdate.core.layout import target_name
from usbupdate.core.words import BundleName, Digest, SlotClass
from usbupdate.errors import (
    NoSuchBundleError,
    SequenceJumpError,
    SequenceTakenError,
    UnusableValueError,
)
from usbupdate.packager import delta, keys, pack, targetfiles
from usbupdate.packager.order import Order, draft_of, with_jump_meant
from usbupdate.packager.pack import Packing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from tuf.api.metadata import Metadata, TargetFile, Targets

    from usbupdate.core.manifest import Artifact, Blob, Manifest
    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.office import Office
    from usbupdate.packager.thresholds import Missing

__all__ = [
    "Bundle",
    "Offer",
    "Order",
    "bundle_of",
    "chosen",
    "create",
    "highest_published",
    "listed",
    "require_order",
    "to_withdraw",
    "with_jump_meant",
    "withdraw",
]

JUMP_MAX: Final = 1000
_LEVEL_MAX: Final = 22


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of the repository: its target name, the digest of its manifest, and whether sticks would carry it now.

    `leaving` is True while a list without it waits for signatures.
    """

    target: str
    manifest: Manifest
    sha256: Digest
    published: bool
    leaving: bool = False

    @property
    def delta_payload(self) -> tuple[Blob, ...]:
        """What of it devices need that run a base of its deltas."""
        packs = {blob.sha256 for artifact in self.manifest.artifacts for blob in artifact.packs}
        return tuple(blob for blob in self.payload if blob.sha256 not in packs)

    @property
    def payload(self) -> tuple[Blob, ...]:
        """The indexes and packs of the bundle, those of its deltas included, each once."""
        return tuple({blob.sha256: blob for artifact in self.manifest.artifacts for blob in artifact.payload}.values())


@dataclass(frozen=True, slots=True)
class Offer:
    """What became of a change to the list of bundles: the bundle, and who still has to sign."""

    bundle: Bundle
    missing: tuple[Missing, ...]


def create(
    office: Office, order: Order, now: datetime, *, how: Packing | None = None, ask: Passphrases = keys.no_passphrase
) -> Offer:
    """Pack the images of a release, and propose it as a target, signed with every key within reach.

    Whatever stops it, the repository offers nothing new, and the same order can be given again.

    Raises:
        OfficeKeyError: a passphrase fits no key; the repository is as it was.
        InputError: a value or an image cannot be used; the repository is as it was.
        SequenceTakenError: another bundle has the sequence; as above.
        SequenceJumpError: the sequence looks like a slip; as above.
    """
    how = how or Packing()
    if not 1 <= how.level <= _LEVEL_MAX:
        raise UnusableValueError(what="level", value=str(how.level), problem=f"it is not between 1 and {_LEVEL_MAX}")
    draft = require_order(office, order, now)
    desk = office.desk(now, ask)
    desk.open_keys()
    pack.forget_unfinished(office.payload)
    artifacts = tuple(_artifact(order, name, office.payload, how) for name in order.images)
    raw = manifests.encode(replace(draft, artifacts=artifacts))
    name = target_name(draft.name, draft.sequence)
    digest, missing = targetfiles.propose(office, desk, name, raw)
    published = office.metadata.targets()
    is_published = published is not None and name in published.signed.targets
    return Offer(Bundle(name, manifests.decode(raw), digest, is_published), missing)


def _artifact(order: Order, slot_class: str, payload: Path, how: Packing) -> Artifact:
    """Pack one image, and what differs from each of its bases; equal bases are one."""
    image = order.images[slot_class]
    artifact = pack.pack_image(image, SlotClass(slot_class), payload, how)
    made = [delta.make_delta(image, artifact, base, payload, how) for base in order.bases.get(slot_class, ())]
    deltas = {each.base_sha256: each for each in made if each is not None}
    return replace(artifact, deltas=tuple(deltas.values()))


def require_order(office: Office, order: Order, now: datetime) -> Manifest:
    """Refuse an order that cannot be carried out, before any work; return its manifest with artifacts of no content.

    Raises:
        InputError: a value cannot be used.
        SequenceTakenError: another bundle has the sequence.
        SequenceJumpError: the sequence looks like a slip, and is not said to be meant.
    """
    draft = draft_of(order, now)
    # The sequence of a withdrawn bundle stays taken: devices may run it.
    _require_free_sequence(draft, _manifests_in(office, office.metadata.all_targets()), jump_is_meant=order.jump_is_meant)
    return draft


def listed(office: Office) -> tuple[Bundle, ...]:
    """Return every bundle that is offered or waits for signatures, by name and rising sequence.

    Raises:
        OfficeFileError: a manifest is missing or damaged.
    """
    published, waiting = office.metadata.targets(), office.metadata.staged_targets()
    offered = published.signed.targets if published is not None else {}
    entries = [(target, True) for target in offered.values()]
    proposed = waiting.signed.targets if waiting is not None else offered
    entries += [(target, False) for name, target in proposed.items() if offered.get(name) != target]
    found = [bundle_of(office, target, published=is_published) for target, is_published in entries]
    bundles = [replace(each, leaving=each.target not in proposed) for each in found if each is not None]
    return tuple(sorted(bundles, key=lambda each: (each.manifest.name, each.manifest.sequence)))


def withdraw(
    office: Office, name: str, sequence: int | None, now: datetime, ask: Passphrases = keys.no_passphrase
) -> tuple[Offer, ...]:
    """Propose a list of bundles without one, or without all of one name; devices then refuse older sticks that carry it.

    Raises:
        NoSuchBundleError: nothing of that name and sequence is offered.
    """
    gone = to_withdraw(office, name, sequence)
    targets = targetfiles.edited(office)
    for each in gone:
        del targets.targets[each.target]
    desk = office.desk(now, ask)
    desk.open_keys()
    missing = desk.propose_targets(targets)
    still = {each.target for each in listed(office)}
    return tuple(Offer(replace(each, leaving=each.target in still), missing) for each in gone)


def to_withdraw(office: Office, name: str, sequence: int | None) -> tuple[Bundle, ...]:
    """Return the bundles that a withdrawal would mean: the one with that sequence, or all of that name.

    Raises:
        NoSuchBundleError: nothing of that name and sequence is offered, or it is being withdrawn already.
    """
    meant = [each for each in listed(office) if each.manifest.name == name and sequence in {None, each.manifest.sequence}]
    found = tuple(each for each in meant if not each.leaving)
    if not found:
        raise NoSuchBundleError(bundle=name if sequence is None else f"{name}-{sequence}")
    return found


def chosen(office: Office, names: Iterable[str] = ()) -> tuple[Bundle, ...]:
    """Return the published bundles for a stick: of each name the one with the highest sequence, or those that are named.

    Args:
        office: the repository.
        names: bundle names, or names with a sequence such as `gateway-7`, for stepping stones.

    Raises:
        NoSuchBundleError: one of them is not offered.
    """
    offered = [each for each in listed(office) if each.published]
    newest = {each.manifest.name: each for each in offered}
    exact = {each.target.removesuffix(".json"): each for each in offered}
    wanted: dict[str, Bundle] = {}
    for name in names:
        bundle = newest.get(BundleName(name)) or exact.get(name)
        if bundle is None:
            raise NoSuchBundleError(bundle=name)
        wanted[bundle.target] = bundle
    return tuple(wanted.values()) if wanted else tuple(newest.values())


def _require_free_sequence(draft: Manifest, others: Iterable[Manifest], *, jump_is_meant: bool) -> None:
    """Refuse a sequence that another bundle has in the same space, or that is far beyond it.

    Source: design, section 4, "one sequence space per compatible".
    """
    near = [each for each in others if each.name == draft.name or set(each.compatible) & set(draft.compatible)]
    for each in near:
        if each.sequence == draft.sequence:
            raise SequenceTakenError(
                sequence=draft.sequence, bundle=target_name(each.name, each.sequence).removesuffix(".json")
            )
    highest = max((each.sequence for each in near), default=None)
    if highest is not None and draft.sequence > highest + JUMP_MAX and not jump_is_meant:
        raise SequenceJumpError(sequence=draft.sequence, highest=highest)


def _manifests_in(office: Office, lists: Iterable[Metadata[Targets]]) -> list[Manifest]:
    """Return the manifests of all bundles in these lists, each once.

    Raises:
        OfficeFileError: one is missing or damaged.
    """
    entries = {
        (target.path, target.hashes["sha256"]): target for metadata in lists for target in metadata.signed.targets.values()
    }
    found = [bundle_of(office, target, published=False) for target in entries.values()]
    return [each.manifest for each in found if each is not None]


def highest_published(office: Office, like: Manifest) -> int:
    """Return the highest sequence that was ever offered, withdrawn or not, for hardware that a bundle is for; 0 for none."""
    every = _manifests_in(office, office.metadata.published_targets())
    return max((each.sequence for each in every if set(each.compatible) & set(like.compatible)), default=0)


def bundle_of(office: Office, target: TargetFile, *, published: bool) -> Bundle | None:
    """Return the bundle that a target is, or None for a target of another kind.

    Raises:
        OfficeFileError: its manifest is missing or damaged.
    """
    if target.path.startswith("allow-"):
        return None
    manifest = targetfiles.read(office, target, manifests.decode)
    return Bundle(target.path, manifest, Digest(target.hashes["sha256"]), published)
