"""The repository: its folders, how it is founded, and how its roles change hands.

REPO/office.json      settings                     REPO/staged/     what waits for signatures
REPO/keys/            keys of a one-person office   REPO/targets/    manifests
REPO/metadata/        what is published            REPO/payload/    indexes and packs by digest
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Role as KeysOfRole, Root, Targets

from usbupdate import durable
from usbupdate.core.plaintext import printable
from usbupdate.errors import (
    OfficeExistsError,
    SameKeyTwiceError,
    ThresholdError,
    UnusableFileError,
    UnusableValueError,
)
from usbupdate.packager import keys, settings, signing, thresholds
from usbupdate.packager.keyring import KeyRing
from usbupdate.packager.metadata import MetadataFolder, Role
from usbupdate.packager.settings import LIFETIME_MAX, LIFETIMES, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key

    from usbupdate.packager.keys import Passphrases
    from usbupdate.packager.signing import Desk
    from usbupdate.packager.thresholds import Missing

KEYS = "keys"
_PLACE_MAX = 4096
EXCERPT = "EXCERPT.txt"
"""The file that tells an excerpt, which travels to people who sign elsewhere, from a repository."""


@dataclass(frozen=True, slots=True)
class Hands:
    """Who answers for what: key references and thresholds by role; a role without keys here gets or keeps its own."""

    keys: Mapping[Role, Sequence[str]] = field(default_factory=dict)
    thresholds: Mapping[Role, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Office:
    """A repository that exists."""

    path: Path
    settings: Settings
    metadata: MetadataFolder

    @classmethod
    def open(cls, path: Path, *, steady: bool = False) -> Office:
        """Return the repository at `path`; a steady one reads each of its metadata files once, see `MetadataFolder`.

        Raises:
            NoOfficeError: there is none.
            OfficeFileError: a file of it cannot be used.
        """
        return cls(path, settings.load(path), MetadataFolder(path / "metadata", path / "staged", steady=steady))

    @property
    def is_excerpt(self) -> bool:
        """Whether this is no repository, but what travels from one to people who sign elsewhere."""
        return (self.path / EXCERPT).exists()

    @property
    def payload(self) -> Path:
        """The folder of indexes and packs."""
        return self.path / "payload"

    @property
    def manifests(self) -> Path:
        """The folder of manifests."""
        return self.path / "targets"

    def desk(self, now: datetime, ask: Passphrases = keys.no_passphrase, extra: Sequence[str] = ()) -> Desk:
        """Return a session of the person at this computer, with the keys that are within reach."""
        references = {each: _absolute(self.path, where) for each, where in self.settings.references.items()}
        return signing.Desk(self.metadata, self.settings.lifetimes, KeyRing(references, ask, extra), now)

    def reference(self, keyid: str) -> str:
        """Return where a key is to be found, in words for a person."""
        return printable(self.settings.references.get(keyid, "unknown place"), _PLACE_MAX)

    def reference_or_id(self, keyid: str) -> str:
        """Return where a key is to be found, or its id if it was given for one occasion only."""
        return printable(self.settings.references.get(keyid, f"key {keyid[:8]}"), _PLACE_MAX)

    def remember(self, references: Mapping[str, str]) -> Office:
        """Return the repository with more keys to be found; what was known stays, for a root is signed by the old keys too."""
        office = self.knowing(references)
        durable.save(self.path / settings.FILE, settings.encode(office.settings))
        return office

    def knowing(self, references: Mapping[str, str]) -> Office:
        """Return the repository with more keys to be found, for this session only."""
        return Office(self.path, Settings(self.settings.lifetimes, {**self.settings.references, **references}), self.metadata)


def create(
    path: Path,
    now: datetime,
    hands: Hands | None = None,
    lifetimes: Mapping[Role, int] | None = None,
    ask: Passphrases = keys.no_passphrase,
) -> tuple[Office, tuple[Missing, ...]]:
    """Found a repository at `path`, sign with every key within reach, and return it with what is still unsigned.

    A role without given keys gets one of its own in `REPO/keys`.

    Raises:
        OfficeExistsError: something is there.
        OfficeKeyError: a key cannot be used, or a threshold cannot be met.
    """
    hands = hands or Hands()
    days = {**LIFETIMES, **(lifetimes or {})}
    for role, each in days.items():
        if not 1 <= each <= LIFETIME_MAX:
            problem = f"a lifetime is 1 to {LIFETIME_MAX} days"
            raise UnusableValueError(what="--lifetime", value=f"{role}={each}", problem=problem)
    given = {role: _read_keys(references, ask) for role, references in hands.keys.items() if references}
    # Everything that a person can have got wrong is found out before anything is made.
    thresholds = {role: hands.thresholds.get(role, 1) for role in Role}
    for role in Role:
        _require_threshold(role, thresholds[role], len(given.get(role, "x")))
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OfficeExistsError(path=str(path))
    references = {key.keyid: where for each in given.values() for where, key in each.items()}
    KeyRing(references, ask).reach(key for each in given.values() for key in each.values())
    try:
        _make_folders(path)
        for role in Role:
            if role not in given:
                given[role] = {str(path / KEYS / f"{role}.pem"): keys.create(path / KEYS / f"{role}.pem")}
        root = Root(consistent_snapshot=True)
        for role in Role:
            _hand_over(root, role, list(given[role].values()), thresholds[role])
        require_distinct_keys(root)
        references = {key.keyid: where for each in given.values() for where, key in each.items()}
        found = Settings(days, {each: _relative(path, where) for each, where in references.items()})
        durable.save(path / settings.FILE, settings.encode(found))
        office = Office.open(path)
        desk = office.desk(now, ask)
        desk.stage_root(root)
        desk.stage_targets(Targets())
        return office, desk.advance()
    except OSError as error:
        raise UnusableFileError(path=str(path), problem=error.strerror or "it cannot be written") from error


def rotate(
    office: Office, now: datetime, hands: Hands, ask: Passphrases = keys.no_passphrase
) -> tuple[Office, tuple[Missing, ...]]:
    """Propose a root in which roles have other keys or thresholds, and sign what can be signed.

    Named keys replace all keys of their role. With nothing named, every role whose keys lie in `REPO/keys` gets a fresh one.
    Timestamp and snapshot change hands together: whoever stole one key may have driven the version numbers of both so high that
    devices would take no honest one; devices forget those numbers only when the keys go.

    Raises:
        OfficeKeyError: a key cannot be used, or a threshold cannot be met.
    """
    newest = thresholds.authority_of(office.metadata)
    published = office.metadata.root()
    root = newest if (waiting := office.metadata.staged_root()) is None else waiting.signed
    root.version = published.signed.version + 1 if published is not None else 1
    given = {role: _read_keys(references, ask) for role, references in hands.keys.items() if references}
    fresh = _roles_to_renew(office, root, given, hands)
    for role in Role:
        count = 1 if role in fresh else len(given.get(role, root.roles[role].keyids))
        _require_threshold(role, hands.thresholds.get(role, 1 if role in fresh else root.roles[role].threshold), count)
    # People are asked before the first key is made.
    references = {key.keyid: _relative(office.path, where) for each in given.values() for where, key in each.items()}
    desk = office.knowing(references).desk(now, ask)
    desk.ring.reach([*_keys_of(root), *(key for each in given.values() for key in each.values())])
    for role in fresh:
        where = _fresh_name(office, role, root.version)
        given[role] = {str(where): keys.create(where)}
    for role in Role:
        threshold = hands.thresholds.get(role, 1 if role in fresh else root.roles[role].threshold)
        own = list(given[role].values()) if role in given else [root.keys[each] for each in root.roles[role].keyids]
        _hand_over(root, role, own, threshold)
    used = {each for role in root.roles.values() for each in role.keyids}
    root.keys = {each: key for each, key in root.keys.items() if each in used}
    require_distinct_keys(root)
    references = {key.keyid: _relative(office.path, where) for each in given.values() for where, key in each.items()}
    office = office.remember(references)
    desk = office.desk(now, ask)
    desk.stage_root(root)
    return office, desk.advance()


def require_distinct_keys(root: Root) -> None:
    """Refuse a root in which one public key bears two key ids: it would count as two people.

    Raises:
        SameKeyTwiceError: naming one of the two.
    """
    seen: dict[str, str] = {}
    for keyid, key in root.keys.items():
        if seen.setdefault(keys.fingerprint(key), keyid) != keyid:
            raise SameKeyTwiceError(key=keyid)


def _roles_to_renew(office: Office, root: Root, given: Mapping[Role, Mapping[str, Key]], hands: Hands) -> list[Role]:
    """Return the roles that get a fresh key in `REPO/keys` without having been named."""

    def own(role: Role) -> bool:
        places = [office.settings.references.get(each, "") for each in root.roles[role].keyids]
        return all(place.startswith(f"{KEYS}/") for place in places)

    if not given and not hands.thresholds:
        return [role for role in Role if own(role)]
    pair = (Role.SNAPSHOT, Role.TIMESTAMP)
    left = [role for role in pair if role not in given] if any(role in given for role in pair) else []
    for role in left:
        if not own(role):
            problem = "timestamp and snapshot change hands together"
            raise UnusableValueError(what="--key", value=f"{role}=?", problem=problem)
    return left


def _keys_of(*roots: Root) -> list[Key]:
    return list({each: root.keys[each] for root in roots for role in root.roles.values() for each in role.keyids}.values())


def _read_keys(references: Sequence[str], ask: Passphrases) -> dict[str, Key]:
    found: dict[str, Key] = {}
    for each in references:
        key = keys.public_key(each, ask)
        if key.keyid in {other.keyid for other in found.values()}:
            raise SameKeyTwiceError(key=each)
        found[each] = key
    return found


def _require_threshold(role: Role, threshold: int, count: int) -> None:
    if not 1 <= threshold <= count:
        raise ThresholdError(role=role, threshold=threshold, keys=count)


def _hand_over(root: Root, role: Role, own: Sequence[Key], threshold: int) -> None:
    root.roles[role] = KeysOfRole([], threshold)
    for key in own:
        root.add_key(key, role)


def _make_folders(path: Path) -> None:
    for name in ("", "metadata", "staged", "targets", "payload"):
        durable.make_directory(path / name)
    durable.make_directory(path / KEYS, mode=0o700)


def _fresh_name(office: Office, role: Role, version: int) -> Path:
    folder = office.path / KEYS
    durable.make_directory(folder, mode=0o700)
    names = [f"{role}-{version}.pem", *(f"{role}-{version}-{number}.pem" for number in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())


def _relative(office: Path, reference: str) -> str:
    """Return a reference as it is kept: a path inside the repository moves with it, another one stays where it is."""
    if keys.is_uri(reference):
        return reference
    inside, absolute = office.resolve(), Path(reference).resolve()
    if absolute.is_relative_to(inside):
        return absolute.relative_to(inside).as_posix()
    # Of somebody who is not here, a name says enough; where the public key lay says something about this person only.
    return absolute.name if keys.is_public(reference) else str(Path(reference).absolute())


def _absolute(office: Path, reference: str) -> str:
    return reference if keys.is_uri(reference) else str(office / reference)
