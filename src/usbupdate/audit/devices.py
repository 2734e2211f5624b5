"""The auditor's own memory: which key belongs to which device, on whose word, and what was seen of each.

One `<device>.json` a device, and beside it `<device>.leaves` with the leaf hashes of the receipts seen, 32 bytes each: with
them every later copy, older or newer, shows the first receipt in which it differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from usbupdate import durable, plainfile
from usbupdate.core import strictjson
from usbupdate.core.identity import Identity, decode, encode
from usbupdate.core.merkle import HASH_SIZE, root
from usbupdate.core.words import DEVICE_ID, SEQUENCE_MAX, DeviceId
from usbupdate.errors import EnrolmentUnreadableError, MalformedError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.core.strictjson import Json

FORMAT: Final = 1
_SIZE_MAX: Final = 16 << 10
_PEM_MAX: Final = 4 << 10
_RECORD: Final = ".json"
_LEAVES: Final = ".leaves"


class Trust(StrEnum):
    """On whose word a key is taken for a device's."""

    FINGERPRINT = "fingerprint"
    FIRST_USE = "first-use"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A device that the auditor knows; `leaves` are the hashes of the receipts seen so far, from receipt 1 on."""

    identity: Identity
    trust: Trust
    leaves: tuple[bytes, ...] = ()


class Devices:
    """The enrolled devices in one folder, which need not exist before the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, device: DeviceId) -> Enrolment | None:
        """Return what is known of a device, or nothing.

        Raises:
            EnrolmentUnreadableError: something is there and is not what `save` wrote.
        """
        path = self._folder / f"{device}{_RECORD}"
        try:
            raw = plainfile.read(path, _SIZE_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnrolmentUnreadableError(path=str(path), problem=error.strerror or type(error).__name__) from error
        try:
            identity, trust, size, seen_root = _decode(raw)
        except MalformedError as error:
            raise EnrolmentUnreadableError(path=str(path), problem=f"{error.field}: {error.problem}") from error
        if identity.device != device:
            raise EnrolmentUnreadableError(path=str(path), problem=f"it speaks of {identity.device}")
        leaves = self._leaves(device, size)
        if root(leaves).hex() != seen_root:
            raise EnrolmentUnreadableError(
                path=str(path.with_suffix(_LEAVES)), problem="it is not what was saved with the record"
            )
        return Enrolment(identity, trust, leaves)

    def save(self, enrolment: Enrolment) -> None:
        """Remember a device, durably; a cut leaves what was known before.

        Raises:
            UnusableFileError: nothing was saved.
        """
        device = enrolment.identity.device
        try:
            durable.make_directory(self._folder)
            # The hashes first: a record counts only as many of them as it was saved with.
            durable.save(self._folder / f"{device}{_LEAVES}", b"".join(enrolment.leaves))
            durable.save(self._folder / f"{device}{_RECORD}", _encode(enrolment))
        except OSError as error:
            raise UnusableFileError(path=str(self._folder), problem=error.strerror or type(error).__name__) from error

    def names(self) -> Iterator[DeviceId]:
        """Yield the ids of the enrolled devices, sorted."""
        if self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                if path.suffix == _RECORD and DEVICE_ID.fullmatch(path.stem):
                    yield DeviceId(path.stem)

    def _leaves(self, device: DeviceId, size: int) -> tuple[bytes, ...]:
        path = self._folder / f"{device}{_LEAVES}"
        try:
            raw = plainfile.read(path, size * HASH_SIZE)
        except OSError as error:
            raise EnrolmentUnreadableError(path=str(path), problem=error.strerror or type(error).__name__) from error
        return tuple([raw[start : start + HASH_SIZE] for start in range(0, len(raw), HASH_SIZE)])


def _encode(enrolment: Enrolment) -> bytes:
    table: dict[str, Json] = {
        "format": FORMAT,
        "identity": encode(enrolment.identity).decode("ascii"),
        "trust": str(enrolment.trust),
        "seen": {"size": len(enrolment.leaves), "root": root(enrolment.leaves).hex()},
    }
    return strictjson.encode(table) + b"\n"


def _decode(raw: bytes) -> tuple[Identity, Trust, int, str]:
    fields = strictjson.decode(raw, "record of a device", limit=_SIZE_MAX)
    fields.integer("format", FORMAT, FORMAT)
    identity = decode(fields.free_text("identity", limit=_PEM_MAX).encode())
    trust = fields.choice("trust", Trust)
    seen = fields.inner("seen")
    size = seen.integer("size", 0, SEQUENCE_MAX)
    seen_root = seen.digest("root")
    seen.done()
    fields.done()
    return identity, trust, size, seen_root
