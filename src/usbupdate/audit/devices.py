"""The auditor's own memory: which key belongs to which device, on whose word, and what was seen of each.

One `<device>.json` a device, and beside it `<device>.leaves` with the leaf hashes of the receipts seen, 32 bytes each: with
them every later copy, older or newer, shows the first receipt in which it differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from usbupdate import durable, plainfile
from usbupdate.core import strictjson
from usbupdate.core.identity import Identity, decode, encode
from usbupdate.core.merkle import HASH_SIZE, root
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import EnrolmentUnreadableError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.core.strictjson import Fields, Json

FORMAT: Final = 1
FORMAT_WITH_FORMER: Final = 2
_SIZE_MAX: Final = 16 << 10
_PEM_MAX: Final = 4 << 10
_NAME_MAX: Final = 200
_FORMER_MAX: Final = 16
_RECEIPTS_MAX: Final = 1 << 24
"""More than any device ever states."""
_RECORD: Final = ".json"
_LEAVES: Final = ".leaves"


class Trust(StrEnum):
    """On whose word a key is taken for a device's."""

    FINGERPRINT = "fingerprint"
    FIRST_USE = "first-use"


@dataclass(frozen=True, slots=True)
class Former:
    """A key that a device had before: what was seen under it, and who replaced it when."""

    identity: Identity
    trust: Trust
    leaves: tuple[bytes, ...]
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A device that the auditor knows.

    Attributes:
        identity: its id and key.
        trust: on whose word the key is taken.
        leaves: the hashes of the receipts seen so far under this key, from receipt 1 on.
        former: the keys before, oldest first.
    """

    identity: Identity
    trust: Trust
    leaves: tuple[bytes, ...] = ()
    former: tuple[Former, ...] = ()

    def former_of(self, stated: bytes) -> Former | None:
        """Return the former key that an `identity.json` states, if it is one of these."""
        return next((each for each in self.former if encode(each.identity) == stated), None)


class Devices:
    """The enrolled devices in one folder, which need not exist before the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, device: DeviceId) -> Enrolment | None:
        """Return what is known of a device, or nothing.

        Raises:
            EnrolmentUnreadableError: something is there and is not what `save` wrote.
        """
        path = f"{self._folder}/{device}{_RECORD}"
        try:
            raw = plainfile.read(path, _SIZE_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnrolmentUnreadableError(path=path, problem=error.strerror or type(error).__name__) from error
        try:
            record = _decode(raw)
        except MalformedError as error:
            raise EnrolmentUnreadableError(path=path, problem=f"{error.field}: {error.problem}") from error
        if record.identity.device != device:
            raise EnrolmentUnreadableError(path=path, problem=f"it speaks of {record.identity.device}")
        former = tuple(
            replace(each, leaves=self._leaves(_former_name(each.identity), seen))
            for each, seen in zip(record.former, record.seen[1:], strict=True)
        )
        return Enrolment(record.identity, record.trust, self._leaves(f"{device}{_LEAVES}", record.seen[0]), former)

    def save(self, enrolment: Enrolment) -> None:
        """Remember a device, durably; a cut leaves what was known before.

        Raises:
            UnusableFileError: nothing was saved.
        """
        device = enrolment.identity.device
        with plainfile.translated(self._folder):
            durable.make_directory(self._folder)
            # The hashes first: a record counts only as many of them as it was saved with.
            for each in enrolment.former:
                durable.save(self._folder / _former_name(each.identity), b"".join(each.leaves))
            durable.save(self._folder / f"{device}{_LEAVES}", b"".join(enrolment.leaves))
            durable.save(self._folder / f"{device}{_RECORD}", _encode(enrolment))

    def names(self) -> Iterator[DeviceId]:
        """Yield the ids of the enrolled devices, sorted."""
        if self._folder.is_dir():
            stems = [path.stem for path in self._folder.iterdir() if path.suffix == _RECORD]
            yield from sorted(DeviceId(stem) for stem in stems if DEVICE_ID.fullmatch(stem))

    def _leaves(self, name: str, seen: _Seen) -> tuple[bytes, ...]:
        path = f"{self._folder}/{name}"
        try:
            raw = plainfile.read(path, seen.size * HASH_SIZE)
        except OSError as error:
            raise EnrolmentUnreadableError(path=path, problem=error.strerror or type(error).__name__) from error
        leaves = tuple([raw[start : start + HASH_SIZE] for start in range(0, len(raw), HASH_SIZE)])
        if root(leaves).hex() != seen.root:
            raise EnrolmentUnreadableError(path=path, problem="it is not what was saved with the record")
        return leaves


class _Seen(NamedTuple):
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class _Record:
    """What a record says; `seen` is that of the present key and then of each former one."""

    identity: Identity
    trust: Trust
    former: tuple[Former, ...]
    seen: tuple[_Seen, ...]


def _former_name(identity: Identity) -> str:
    return f"{identity.device}.{identity.fingerprint[:16]}{_LEAVES}"


def _encode(enrolment: Enrolment) -> bytes:
    table = {"format": FORMAT, **_key_table(enrolment.identity, enrolment.trust, enrolment.leaves)}
    if enrolment.former:
        # An earlier version must not take a replaced key for the only one that there ever was.
        table["format"] = FORMAT_WITH_FORMER
        table["former"] = [
            {**_key_table(each.identity, each.trust, each.leaves), "by": each.by, "at": each.at} for each in enrolment.former
        ]
    return strictjson.encode(table) + b"\n"


def _key_table(identity: Identity, trust: Trust, leaves: tuple[bytes, ...]) -> dict[str, Json]:
    return {
        "identity": encode(identity).decode("ascii"),
        "trust": str(trust),
        "seen": {"size": len(leaves), "root": root(leaves).hex()},
    }


def _decode(raw: bytes) -> _Record:
    fields = strictjson.decode(raw, "record of a device", limit=_SIZE_MAX)
    number = fields.integer("format", FORMAT, FORMAT_WITH_FORMER)
    identity, trust, seen = _key_from(fields)
    former: list[Former] = []
    all_seen = [seen]
    for each in fields.objects("former", limit=_FORMER_MAX) if number == FORMAT_WITH_FORMER else ():
        key, its_trust, its_seen = _key_from(each)
        former.append(Former(key, its_trust, (), each.free_text("by", limit=_NAME_MAX), each.time("at")))
        all_seen.append(its_seen)
        each.done()
    fields.done()
    return _Record(identity, trust, tuple(former), tuple(all_seen))


def _key_from(fields: Fields) -> tuple[Identity, Trust, _Seen]:
    identity = decode(fields.free_text("identity", limit=_PEM_MAX).encode())
    trust = fields.choice("trust", Trust)
    seen = fields.inner("seen")
    result = _Seen(seen.integer("size", 0, _RECEIPTS_MAX), seen.digest("root"))
    seen.done()
    return identity, trust, result
