"""What the TUF library is told, and what its errors mean for a stick."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

import pytest
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from tests.attack.metadata_office import START, Office
from usbupdate.core.layout import metadata_path
from usbupdate.core.rootrules import Document, read_document
from usbupdate.core.tuflibrary import _meaning, _set_time, first_expired
from usbupdate.errors import (
    MediumUnreadableError,
    MetadataMalformedError,
    MetadataMixedError,
    MetadataRollbackError,
    MetadataSignatureError,
    TrustLibraryError,
)

if TYPE_CHECKING:
    from tuf.ngclient.updater import Updater

    from usbupdate.errors import UsbupdateError

YEAR = timedelta(days=365)


def documents() -> list[Document]:
    files = Office().files
    named = [(Root.type, 1), (Targets.type, 1), (Timestamp.type, None)]
    return [read_document(role, files[metadata_path(role, version)]) for role, version in named]


def test_the_first_document_that_has_ended_is_told_with_its_end_and_the_time() -> None:
    assert first_expired(documents(), START) is None
    assert first_expired(documents(), START + YEAR - timedelta(seconds=1)) is None
    error = first_expired(documents(), START + YEAR)
    assert error is not None
    assert (error.role, error.expires, error.now) == ("timestamp", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    error = first_expired(documents(), START + 3 * YEAR)
    assert error is not None
    assert (error.role, error.expires, error.now) == ("targets", "2028-01-01T00:00:00Z", "2028-12-31T00:00:00Z")


def test_a_library_without_the_place_for_its_time_stops_everything() -> None:
    with pytest.raises(TrustLibraryError) as caught:
        _set_time(cast("Updater", object()), START)
    assert caught.value.version == version("tuf")


OTHER_BYTES = "its bytes are not those that other metadata name"


@pytest.mark.parametrize(
    ("error", "role", "kind", "problem"),
    [
        (UnsignedMetadataError("few keys."), Snapshot.type, MetadataSignatureError, None),
        (LengthOrHashMismatchError("hash."), Snapshot.type, MetadataMixedError, OTHER_BYTES),
        (DownloadLengthMismatchError("length."), Targets.type, MetadataMixedError, OTHER_BYTES),
        (BadVersionNumberError("Expected 2, got 3."), Root.type, MetadataMixedError, "Expected 2, got 3"),
        (BadVersionNumberError("2 is lower than 3."), Targets.type, MetadataRollbackError, "2 is lower than 3"),
        (RepositoryError("odd."), Timestamp.type, MetadataMalformedError, "odd"),
        (DownloadError("odd"), Root.type, MetadataMalformedError, "odd"),
    ],
)
def test_an_error_of_the_library_is_told_in_our_words(
    error: DownloadError | RepositoryError, role: str, kind: type[UsbupdateError], problem: str | None
) -> None:
    told = _meaning(error, role)
    assert type(told) is kind
    assert vars(told)["role"] == role
    assert vars(told).get("problem") == problem


def test_an_error_of_ours_that_the_library_wrapped_is_told_itself() -> None:
    ours = MediumUnreadableError(name="timestamp.json", problem="pulled")
    wrapped = DownloadError("Failed to download.")
    wrapped.__cause__ = ours
    assert _meaning(wrapped, Timestamp.type) is ours
