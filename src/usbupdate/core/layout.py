"""Where everything lies on a stick. All names are ours, lower case and fixed; nothing read from a stick is ever a path.

Source: design, section 5.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, Protocol

from usbupdate.errors import FoldingNamesError, ManifestsLostError, MediumFileMissingError

if TYPE_CHECKING:
    from usbupdate.core.words import DeviceId, Digest

MediumPath = tuple[str, ...]
"""Names from the mount downwards; never a string with slashes in it."""

TOP: Final = "usbupdate"
METADATA: Final[MediumPath] = (TOP, "metadata")
TARGETS: Final[MediumPath] = (TOP, "targets")
PAYLOAD: Final[MediumPath] = (TOP, "payload")
LOGS: Final[MediumPath] = (TOP, "logs")
READ_ME: Final[MediumPath] = (TOP, "READ-ME.txt")
ACKNOWLEDGEMENTS: Final[MediumPath] = (TOP, "acknowledgements")
"""One file for all devices: FAT would give each of ten thousand files a cluster of its own."""

IDENTITY: Final = "identity.json"
RECEIPTS: Final = "receipts.jsonl"
CHECKPOINT: Final = "checkpoint"
SUMMARY: Final = "summary.txt"
ACKNOWLEDGED: Final = "acknowledged"
EVIDENCE_NAMES: Final = (IDENTITY, ACKNOWLEDGED, RECEIPTS, CHECKPOINT)
"""Of a log: what proves something; the first two tell which receipts are whole, so they are read first."""
LOG_NAMES: Final = (*EVIDENCE_NAMES, SUMMARY)
PART_SUFFIX: Final = ".part"

NAMES_MAX: Final = 10_000
"""More names than this in one folder, and the stick is none of ours."""


class MediumReader(Protocol):
    """What the core may ask of a stick: bounded reads of ordinary files by name.

    Every method raises `MediumUnreadableError` when the hardware fails, and one of the `MediumFile…Error` leaves when what lies
    there is missing, of another kind, or larger than allowed.
    """

    def read(self, path: MediumPath, limit: int) -> bytes:
        """Return the whole of a file that has at most `limit` bytes."""

    def read_at(self, path: MediumPath, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset`."""

    def size(self, path: MediumPath) -> int:
        """Return a file's size in bytes."""

    def names(self, path: MediumPath) -> tuple[str, ...]:
        """Return the names in a folder, sorted; at most `NAMES_MAX` of them."""


def metadata_path(role: str, version: int | None) -> MediumPath:
    """Return where a role's metadata lies; only timestamp has no version in its name."""
    return (*METADATA, f"{role}.json" if version is None else f"{version}.{role}.json")


def target_name(bundle: str, sequence: int) -> str:
    """Return the TUF target name of a bundle's manifest."""
    return f"{bundle}-{sequence}.json"


def target_path(digest: Digest, name: str) -> MediumPath:
    """Return where a manifest lies, under TUF's consistent snapshot names."""
    return (*TARGETS, f"{digest}.{name}")


def payload_path(digest: Digest) -> MediumPath:
    """Return where an index or a pack lies."""
    return (*PAYLOAD, digest[:2], digest)


def log_path(device: DeviceId, name: str) -> MediumPath:
    """Return where one of a device's log files lies."""
    return (*LOGS, device, name)


def shown(path: MediumPath) -> str:
    """Return a path as a person reads it."""
    return "/".join(path)


def require_no_folding_names(medium: MediumReader) -> None:
    """Refuse a stick on which two names that we use are one name to a file system that ignores case.

    Raises:
        FoldingNamesError: naming the two.

    Source: design, section 5.
    """
    _require_distinct([name for name in medium.names(()) if _folded(name) == TOP])
    inside = medium.names((TOP,))
    _require_distinct(inside)
    for folder in (METADATA, TARGETS, PAYLOAD, LOGS):
        if folder[1] in inside:
            _require_distinct(medium.names(folder))


def names_or_none(medium: MediumReader, folder: MediumPath) -> tuple[str, ...]:
    """Return the names in a folder as `MediumReader.names` does, and none if there is no such folder."""
    try:
        return medium.names(folder)
    except MediumFileMissingError:
        return ()


def require_no_lost_manifests(medium: MediumReader) -> None:
    """Reject a stick that offers nothing and yet carries payload: what it was to bring is lost, and must not pass for "done".

    A stick for receipts only has no payload.

    Raises:
        ManifestsLostError: it is such a stick.
    """
    if names_or_none(medium, PAYLOAD):
        raise ManifestsLostError


def _require_distinct(names: tuple[str, ...] | list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(_folded(name), name)
        if first != name:
            raise FoldingNamesError(first=first, second=name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
