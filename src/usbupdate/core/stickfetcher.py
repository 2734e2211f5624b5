"""How the TUF library reads a stick: by fixed names, bounded, and with every document looked over before the library sees it.

Two fetchers for the two passes of a refresh: the first gives out roots only, the second everything else.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Root, Timestamp
from tuf.ngclient.fetcher import FetcherInterface

from usbupdate.core.layout import MediumReader, metadata_path
from usbupdate.core.rootrules import SIZE_MAX, Document, is_signed, read_document, title
from usbupdate.errors import ForkedOfficeError, MediumFileMissingError, MetadataMissingError, OlderStickError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BASE: Final = "stick:/"
_NAME: Final = re.compile(r"stick:/(?:([1-9][0-9]{0,15})\.(root|snapshot|targets)|(timestamp))\.json")
_NOT_FOUND: Final = 404


class MetadataOnStick:
    """The metadata on a stick, document by document."""

    def __init__(self, medium: MediumReader) -> None:
        self._medium = medium

    def find(self, role: str, version: int | None) -> Document | None:
        """Return one document, or None if the stick has no such file.

        Raises:
            RejectedError: what lies there is no ordinary file, is too large, or breaks a rule that needs no key.
            MediumError: the stick could not be read.
        """
        try:
            raw = self._medium.read(metadata_path(role, version), SIZE_MAX[role])
        except MediumFileMissingError:
            return None
        return read_document(role, raw)

    def get(self, role: str, version: int | None) -> Document:
        """Return one document as `find` does.

        Raises:
            MetadataMissingError: the stick has no such file.
        """
        document = self.find(role, version)
        if document is None:
            raise MetadataMissingError(role=role, name="/".join(metadata_path(role, version)))
        return document


class _StickFetcher(FetcherInterface):
    """Answers the library's questions by name; `seen` is what was given out last, by role."""

    def __init__(self) -> None:
        self.asked: str = Root.type
        self.seen: dict[str, Document] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        match = _NAME.fullmatch(url)
        document = None if match is None else self._answer(match[2] or match[3], int(match[1]) if match[1] else None)
        if document is None:
            raise DownloadHTTPError("not found", _NOT_FOUND)
        # Not a generator: what goes wrong must go wrong here, where the base class expects it.
        return iter([document.raw])

    @abstractmethod
    def _answer(self, role: str, version: int | None) -> Document | None:
        """Return the metadata that are asked for, or nothing if there are none."""


class RootFetcher(_StickFetcher):
    """Gives out roots and nothing else, so that a refresh with it only walks the chain of roots."""

    def __init__(self, stick: MetadataOnStick) -> None:
        super().__init__()
        self._stick = stick

    def _answer(self, role: str, version: int | None) -> Document | None:
        if role != Root.type:
            return None
        return self._stick.find(role, version)


class NewestFetcher(_StickFetcher):
    """Gives out everything but roots, and whichever timestamp is newer: the stick's or the device's own.

    Args:
        stick: where documents come from.
        root: the newest root.
        older_roots: those before it, for telling an older stick from a forged one.
        stored: the device's own timestamp, snapshot and targets, each signed under `root`.

    Source: design, section 3, "An older stick is judged by the device's own newer metadata".
    """

    def __init__(
        self, stick: MetadataOnStick, root: Root, older_roots: Callable[[], Iterator[Root]], stored: Mapping[str, Document]
    ) -> None:
        super().__init__()
        self._stick = stick
        self._root = root
        self._older_roots = older_roots
        self._stored = stored
        self.is_stick_older = False

    def _answer(self, role: str, version: int | None) -> Document | None:
        self.asked = role
        if role == Root.type:
            return None
        document = self._newer_timestamp() if role == Timestamp.type else self._below(role, version)
        self.seen[role] = document
        return document

    def _below(self, role: str, version: int | None) -> Document:
        document = self._stick.find(role, version)
        own = self._stored.get(Timestamp.type)
        if document is None and self.is_stick_older and own is not None:
            # A newer stick was cut short after its timestamp: nothing is wrong with this one, but it cannot be judged.
            raise OlderStickError(newer=title(own))
        document = document or self._stick.get(role, version)
        self._require_no_fork(document)
        return document

    def _require_no_fork(self, document: Document) -> None:
        """Refuse a document that was signed under a version under which the device knows another one.

        Raises:
            ForkedOfficeError: it is such a document.
        """
        own = self._stored.get(document.signed.type)
        if own is None or own.version != document.version or own.says_the_same(document):
            return
        if is_signed(self._root, document):
            raise ForkedOfficeError(role=document.signed.type, version=document.version)

    def _newer_timestamp(self) -> Document:
        found = self._stick.get(Timestamp.type, None)
        own = self._stored.get(Timestamp.type)
        if own is None:
            return found
        if is_signed(self._root, found):
            self._require_no_fork(found)
            self.is_stick_older = found.version < own.version
        else:
            # Signed by keys that were good once: an older stick. Signed by nobody we ever knew: the library is to reject it.
            self.is_stick_older = any(is_signed(root, found) for root in self._older_roots())
        return own if self.is_stick_older else found
