"""What a stick is to hold, file by file, and whether it may be written: signed by enough people, good for long enough."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from usbupdate.core import acknowledgements, layout
from usbupdate.core.timefloor import format_time, parse_time
from usbupdate.errors import ExpiresSoonError, NoDeltasError, NotSignedError, OfficeFileError
from usbupdate.packager import acknowledging, bundle, downgrade, readme, thresholds
from usbupdate.packager.metadata import Role
from usbupdate.packager.pack import payload_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.core.words import DeviceId, Digest
    from usbupdate.packager.bundle import Bundle
    from usbupdate.packager.downgrade import Allowance
    from usbupdate.packager.office import Office

MARGIN_DAYS: Final = 14
PIECE: Final = 1 << 20
"""How many bytes are read at once."""
TIMESTAMP: Final = layout.metadata_path(Role.TIMESTAMP, None)
"""The file that decides what a stick says."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a stick: where it goes, its size, and where its bytes come from; `digest` is None for small text."""

    path: MediumPath
    size: int
    digest: Digest | None = None
    source: Path | None = None
    contents: bytes = b""


@dataclass(frozen=True, slots=True)
class Plan:
    """What sticks written now hold; `items` in the order of writing, the timestamp last. `expires` is their earliest end.

    `allowances` are the authorisations to go back to one of the bundles, `acknowledged` counts the devices whose receipts the
    office says have arrived.
    """

    items: tuple[Item, ...]
    bundles: tuple[Bundle, ...]
    root: bytes
    expires: str
    now: datetime
    only_deltas: bool = False
    allowances: tuple[Allowance, ...] = ()
    acknowledged: int = 0

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(item.size for item in self.items)


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which bundles (none named: the newest of each name), or none at all for a stick that only carries logs.

    `only_deltas` leaves out all that devices need which run none of the bases.
    """

    bundles: Sequence[str] = ()
    log_only: bool = False
    only_deltas: bool = False
    margin_days: int = MARGIN_DAYS


def plan(office: Office, now: datetime, wishes: Wishes | None = None) -> Plan:
    """Return what sticks written now would hold.

    Raises:
        NotSignedError: something is not signed by enough people.
        ExpiresSoonError: such a stick would live shorter than the margin.
        NoSuchBundleError: a bundle that is named is not offered.
        NoDeltasError: a bundle that is to go out as deltas only has none.
    """
    wishes = wishes or Wishes()
    if waiting := thresholds.in_the_way(office.metadata):
        raise NotSignedError(roles=", ".join(f"{each.role} ({each.needed} more)" for each in waiting))
    expires = _require_margin(office, now, wishes.margin_days)
    bundles = () if wishes.log_only else bundle.chosen(office, wishes.bundles)
    if wishes.only_deltas:
        _require_deltas(bundles)
    allowances = _allowances(office, bundles, now)
    text = readme.text(bundles, expires, allowances, only_deltas=wishes.only_deltas).encode()
    items = [
        *_payload(office, bundles, only_deltas=wishes.only_deltas),
        *_signed(office, bundles, allowances),
        Item(layout.READ_ME, len(text), contents=text),
    ]
    notes = acknowledging.load(office)
    items += _acknowledgements(notes)
    items += _metadata(office)
    first_root = office.metadata.version(Role.ROOT, 1).read_bytes()
    return Plan(tuple(items), bundles, first_root, expires, now, wishes.only_deltas, allowances, len(notes))


def read_pieces(item: Item) -> Iterator[bytes]:
    """Yield the bytes of one file of a stick, which are those of the plan once the last piece was asked for.

    Raises:
        OfficeFileError: the repository has lost them, which must not look like a fault of the stick.
    """
    if item.source is None:
        yield item.contents
        return
    whole = hashlib.sha256()
    try:
        with item.source.open("rb") as source:
            while piece := source.read(PIECE):
                whole.update(piece)
                yield piece
    except OSError as error:
        raise OfficeFileError(path=str(item.source), problem=error.strerror or "it cannot be read") from error
    if whole.hexdigest() != item.digest:
        raise OfficeFileError(path=str(item.source), problem="its contents have changed")


def _require_margin(office: Office, now: datetime, margin_days: int) -> str:
    """Return when a stick written now ends, which is far enough away."""
    folder = office.metadata
    found = [each for each in (folder.root(), folder.targets(), folder.snapshot(), folder.timestamp()) if each is not None]
    first = min(found, key=lambda each: each.signed.expires)
    require_alive(first.signed.type, format_time(first.signed.expires), now, margin_days)
    return format_time(first.signed.expires)


def require_alive(role: str, expires: str, now: datetime, margin_days: int) -> None:
    """Refuse what ends within the margin.

    Raises:
        ExpiresSoonError: it does.
    """
    if parse_time(expires) - now < timedelta(days=margin_days):
        raise ExpiresSoonError(role=role, expires=expires, margin_days=margin_days)


def _require_deltas(bundles: Sequence[Bundle]) -> None:
    for each in bundles:
        for artifact in each.manifest.artifacts:
            if not artifact.deltas:
                raise NoDeltasError(bundle=each.target.removesuffix(".json"), slot_class=artifact.slot_class)


def _payload(office: Office, bundles: Sequence[Bundle], *, only_deltas: bool) -> list[Item]:
    # By digest: bundles that share payload share the file.
    files = {blob.sha256: blob for each in bundles for blob in (each.delta_payload if only_deltas else each.payload)}
    return [
        Item(layout.payload_path(digest), blob.size, digest, payload_file(office.payload, digest))
        for digest, blob in files.items()
    ]


def _allowances(office: Office, bundles: Sequence[Bundle], now: datetime) -> tuple[Allowance, ...]:
    """Return the authorisations that go with the bundles that they are for, as long as they count."""
    wanted = {each.sha256 for each in bundles}
    allowances = downgrade.listed(office) if bundles else ()
    return tuple(
        each
        for each in allowances
        if each.published and each.authorisation.manifest_sha256 in wanted and not each.has_ended(now)
    )


def _signed(office: Office, bundles: Sequence[Bundle], allowances: Sequence[Allowance]) -> Iterator[Item]:
    """Yield what is a target: the authorisations first, so that no bundle is ever there without its own."""
    targets = [(each.sha256, each.authorisation.name) for each in allowances]
    for digest, name in (*targets, *((each.sha256, each.target) for each in bundles)):
        source = office.manifests / f"{digest}.{name}"
        yield Item(layout.target_path(digest, name), source.stat().st_size, digest, source)


def _acknowledgements(notes: Mapping[DeviceId, bytes]) -> Iterator[Item]:
    """Yield the office's word on receipts, if it has given any; a stick for logs only brings it too."""
    if notes:
        raw = acknowledgements.encode(notes)
        yield Item(layout.ACKNOWLEDGEMENTS, len(raw), contents=raw)


def _metadata(office: Office) -> Iterator[Item]:
    """Yield every root, and of the other roles the version that the timestamp leads to; the timestamp last."""
    folder = office.metadata
    numbered = [(Role.ROOT, number) for number in folder.versions(Role.ROOT)]
    numbered += [(role, folder.versions(role)[-1]) for role in (Role.TARGETS, Role.SNAPSHOT)]
    for role, number in numbered:
        raw = folder.version(role, number).read_bytes()
        yield Item(layout.metadata_path(role, number), len(raw), contents=raw)
    raw = (folder.published / TIMESTAMP[-1]).read_bytes()
    yield Item(TIMESTAMP, len(raw), contents=raw)
