"""The TUF library, given a stick, a place and a time, and its errors in our words.

Two runs of `tuf.ngclient` make a refresh: the first only walks the roots; the second, under the newest root and with the time
that follows from it, does the rest.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from usbupdate.core.rootrules import SIZE_MAX, Document
from usbupdate.core.stickfetcher import BASE, MetadataOnStick, NewestFetcher, RootFetcher
from usbupdate.core.timefloor import format_time
from usbupdate.core.truststate import ROLES, Standing, TrustFolder
from usbupdate.errors import (
    MetadataExpiredError,
    MetadataMalformedError,
    MetadataMixedError,
    MetadataRollbackError,
    MetadataSignatureError,
    TrustLibraryError,
    UsbupdateError,
)

if TYPE_CHECKING:
    from datetime import datetime

ROTATIONS_MAX: Final = 256
"""How many new roots one refresh accepts; the next refresh goes on from there."""


def walk_roots(folder: TrustFolder, start: Document, stick: MetadataOnStick) -> None:
    """Accept every newer root on the stick, each signed under the one before.

    The library stores each root before it asks for the next: a chain that breaks later keeps what it proved.

    Raises:
        RejectedError: a root does not follow from the one before.
        MediumError: the stick could not be read.
        OSError: the folder could not be written.
    """
    updater = _updater(folder, start, RootFetcher(stick))
    try:
        updater.refresh()
    except DownloadHTTPError:
        # No further root, and this fetcher has no timestamp: the walk is over.
        return
    except (DownloadError, RepositoryError) as error:
        raise _meaning(error, Root.type) from error


def update_the_rest(folder: TrustFolder, before: Standing, fetcher: NewestFetcher, now: datetime) -> None:
    """Verify and store timestamp, snapshot and targets under the newest root as of `now`.

    Raises:
        RejectedError: one of them does not verify; those before it are stored.
        OlderStickError: the stick is older than `before`, and does not hold what that calls for.
        MediumError: the stick could not be read.
        TrustLibraryError: the library cannot be told the time.
        OSError: the folder could not be written.
    """
    updater = _updater(folder, before.root, fetcher)
    _set_time(updater, now)
    try:
        updater.refresh()
    except ExpiredMetadataError as error:
        given = [fetcher.seen[role] for role in ROLES if role in fetcher.seen]
        expired = first_expired([before.root, *given, *before.documents.values()], now)
        raise expired or _meaning(error, fetcher.asked) from error
    except (DownloadError, RepositoryError) as error:
        raise _meaning(error, fetcher.asked) from error


def first_expired(documents: list[Document], now: datetime) -> MetadataExpiredError | None:
    """Return the error that tells about the first document that has ended by `now`, if there is one."""
    for document in documents:
        if document.signed.is_expired(now):
            expires = format_time(document.signed.expires)
            return MetadataExpiredError(role=document.signed.type, expires=expires, now=format_time(now))
    return None


def _updater(folder: TrustFolder, root: Document, fetcher: RootFetcher | NewestFetcher) -> Updater:
    config = UpdaterConfig(
        max_root_rotations=ROTATIONS_MAX,
        root_max_length=SIZE_MAX[Root.type],
        timestamp_max_length=SIZE_MAX[Timestamp.type],
        snapshot_max_length=SIZE_MAX[Snapshot.type],
        targets_max_length=SIZE_MAX[Targets.type],
    )
    return Updater(folder.directory, BASE, fetcher=fetcher, config=config, bootstrap=root.raw)


def _set_time(updater: Updater, now: datetime) -> None:
    """Tell the library what time it is. It has no argument for that: this is the one place that knows where it keeps it.

    Raises:
        TrustLibraryError: it keeps it elsewhere by now. Going on would judge expiry by a clock that nobody trusts.
    """
    metadata_set: object = getattr(updater, "_trusted_set", None)
    if not isinstance(metadata_set, TrustedMetadataSet) or not hasattr(metadata_set, "reference_time"):
        raise TrustLibraryError(version=version_of("tuf"))
    metadata_set.reference_time = now


def _meaning(error: DownloadError | RepositoryError, role: str) -> UsbupdateError:
    """Return what an error of the library means for the stick."""
    cause = error.__cause__
    if isinstance(cause, UsbupdateError):
        return cause
    problem = str(error).removesuffix(".")
    match error:
        case UnsignedMetadataError():
            return MetadataSignatureError(role=role)
        case LengthOrHashMismatchError() | DownloadLengthMismatchError():
            return MetadataMixedError(role=role, problem="its bytes are not those that other metadata name")
        case BadVersionNumberError() if role == Root.type:
            return MetadataMixedError(role=role, problem=problem)
        case BadVersionNumberError():
            return MetadataRollbackError(role=role, problem=problem)
        case _:
            return MetadataMalformedError(role=role, problem=problem)
