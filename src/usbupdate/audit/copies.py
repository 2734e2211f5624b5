"""Finding devices' logs in whatever an auditor has: a stick, a copy of its folders, or an archive of these.

Everything is read through `medium` or `archives`, bounded, and nothing is believed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.audit.archives import ENDINGS, ArchiveMedium
from usbupdate.core import acknowledged, identity as identity_form
from usbupdate.core.acknowledged import ACKNOWLEDGED_SIZE_MAX
from usbupdate.core.checkpoint import CHECKPOINT_SIZE_MAX
from usbupdate.core.identity import IDENTITY_SIZE_MAX
from usbupdate.core.layout import (
    ACKNOWLEDGED,
    CHECKPOINT,
    EVIDENCE_NAMES,
    IDENTITY,
    LOGS,
    PART_SUFFIX,
    RECEIPTS,
    TOP,
    MediumPath,
    shown,
)
from usbupdate.core.logparts import counts_instead
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import (
    MalformedError,
    MediumError,
    MediumFileMissingError,
    NewerFormatError,
    NoEvidenceError,
    RejectedError,
    UnusableFileError,
)
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from usbupdate.core.identity import Identity
    from usbupdate.medium import HeldFolder

    Medium = DirectoryMedium | ArchiveMedium

RECEIPTS_SIZE_MAX: Final = 64 << 20
"""As much as a device's ledger may ever hold."""

_SIZE_MAX: Final = {
    IDENTITY: IDENTITY_SIZE_MAX,
    ACKNOWLEDGED: ACKNOWLEDGED_SIZE_MAX,
    RECEIPTS: RECEIPTS_SIZE_MAX,
    CHECKPOINT: CHECKPOINT_SIZE_MAX,
}


@dataclass(frozen=True, slots=True)
class LogCopy:
    """One copy of one device's log, unproven.

    Attributes:
        source: where it lies, as a person reads it.
        folder: the device that its folder names; nothing if the auditor named the folder itself, which may be called anything.
        files: what could be read, by name.
        unreadable: why a file that is there could not be read, by name.
    """

    source: str
    folder: DeviceId | None
    files: dict[str, bytes]
    unreadable: dict[str, str]


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where one copy lies; it is read when its device's turn comes, so that a full stick does not have to fit into memory."""

    medium: Medium
    path: MediumPath
    folder: DeviceId | None

    def read(self) -> LogCopy:
        """Return the copy, with whatever could not be read said in it."""
        source = f"{self.medium.mount}/{shown(self.path)}" if self.path else str(self.medium.mount)
        copy = LogCopy(source, self.folder, {}, {})
        try:
            with self.medium.held(self.path) as folder:
                _read_into(copy, folder)
        except MediumFileMissingError:
            pass
        except (RejectedError, MediumError) as error:
            copy.unreadable.update(dict.fromkeys(EVIDENCE_NAMES, str(error)))
        return copy


def find_copies(places: Iterable[Path]) -> list[LogPlace]:
    """Return every log copy in the places, in the order given and then by device.

    Raises:
        UnusableFileError: a place is no folder that can be read.
        NoEvidenceError: a place holds no log at all.
    """
    return [copy for place in places for copy in _copies_in(place)]


def is_archive(place: Path) -> bool:
    """Tell whether a place is a file that is called an archive."""
    return place.name.lower().endswith(ENDINGS) and place.is_file()


def _copies_in(place: Path) -> list[LogPlace]:
    medium = ArchiveMedium(place) if is_archive(place) else DirectoryMedium(place)
    try:
        names = medium.names(())
    except (RejectedError, MediumError) as error:
        raise UnusableFileError(path=str(place), problem="neither a folder that can be read nor an archive") from error
    if TOP in names:
        copies = _devices_under(medium, LOGS)
    elif LOGS[-1] in names:
        copies = _devices_under(medium, LOGS[1:])
    elif _is_log(names):
        copies = [LogPlace(medium, (), None)]
    else:
        # A copied folder `logs` is known only by what lies in it; other folders beside the logs are none of ours.
        copies = [copy for copy in _devices_under(medium, ()) if _is_log(_names(medium, copy.path))]
    if not copies:
        raise NoEvidenceError(path=str(place))
    return copies


def _read_into(copy: LogCopy, folder: HeldFolder) -> None:
    for name in EVIDENCE_NAMES:
        # A part may take the file's place at any moment, so where there is one the file may be there too.
        has_part = folder.may_hold(name + PART_SUFFIX)
        if not has_part and not folder.may_hold(name):
            continue
        contents, problem = _contents(folder, name, _SIZE_MAX[name])
        part, planted = _contents(folder, name + PART_SUFFIX, _SIZE_MAX[name]) if has_part else (None, None)
        # A link or the like in the place of the file is somebody's doing and no cut's.
        is_planted = isinstance(problem, RejectedError)
        if part is not None and not is_planted and _counts_instead(copy, name, contents, part):
            copy.files[name] = part
        elif contents is not None:
            copy.files[name] = contents
        elif problem is not None:
            copy.unreadable[name] = str(problem)
        elif isinstance(planted, RejectedError):
            copy.unreadable[name] = str(planted)


def _counts_instead(copy: LogCopy, name: str, contents: bytes | None, part: bytes) -> bool:
    return counts_instead(name, contents, part, stated_identity(copy), acknowledged_count(copy))


def _contents(folder: HeldFolder, name: str, limit: int) -> tuple[bytes | None, RejectedError | MediumError | None]:
    """Return what a file holds, or why it cannot be read; neither where there is none."""
    try:
        return folder.read(name, limit), None
    except MediumFileMissingError:
        return None, None
    except (RejectedError, MediumError) as error:
        return None, error


def _devices_under(medium: Medium, logs: MediumPath) -> list[LogPlace]:
    return [
        LogPlace(medium, (*logs, name), DeviceId(name)) for name in _names_but_files(medium, logs) if DEVICE_ID.fullmatch(name)
    ]


def _names_but_files(medium: Medium, folder: MediumPath) -> tuple[str, ...]:
    """Return what lies in a folder without ordinary files, which no device put there; a link is told as what cannot be read."""
    try:
        return medium.names_but_files(folder)
    except (RejectedError, MediumError):
        return ()


def _names(medium: Medium, folder: MediumPath) -> tuple[str, ...]:
    try:
        return medium.names(folder)
    except (RejectedError, MediumError):
        return ()


def stated_identity(copy: LogCopy) -> Identity | None:
    """Return whose log a copy says that it is."""
    try:
        return identity_form.decode(copy.files.get(IDENTITY, b""))
    except MalformedError:
        return None


def acknowledged_count(copy: LogCopy) -> int:
    """Return up to which number a copy may lack receipts, as it says itself."""
    if ACKNOWLEDGED not in copy.files:
        return 0
    try:
        return acknowledged.decode(copy.files[ACKNOWLEDGED]).checkpoint.size
    except (MalformedError, NewerFormatError):
        return 0


def _is_log(names: tuple[str, ...]) -> bool:
    return any(name in names or name + PART_SUFFIX in names for name in EVIDENCE_NAMES)
