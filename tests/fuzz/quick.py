"""Makes whole sticks quick to fuzz: trust is kept in memory, and what was worked out of the same bytes before is not again.

All that is remembered are functions of their arguments alone, so what becomes of a stick is the same; `test_corpus` compares.
A changed stick is mostly unchanged, and three quarters of the time went into its genuine parts, files and fsync.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import lru_cache
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Self
from unittest.mock import patch

from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import CanonicalJSONSerializer
from tuf.ngclient import fetcher
from tuf.ngclient.updater import Updater

from tests.inmemory import MemoryTrust
from usbupdate.core import chunks, rootrules, stickfetcher, truststate, tuflibrary
from usbupdate.packager import verification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuf.api.metadata import Root

    from usbupdate.core.index import IndexedChunk
    from usbupdate.core.words import Digest

_MANY: Final = 2048
_NOWHERE: Final = "/nowhere/"
"""Folders of the library that are no folders: nothing can be opened in them."""


class OpenTrust(MemoryTrust):
    """A folder of trust in memory that `_MemoryUpdater` finds by `directory`, as long as it is open."""

    folders: Final[dict[str, OpenTrust]] = {}

    def __init__(self, other: MemoryTrust | None = None) -> None:
        super().__init__(other, f"{_NOWHERE}{id(self)}")

    def __enter__(self) -> Self:
        self.folders[self.directory] = self
        return self

    def __exit__(self, *_: object) -> None:
        del self.folders[self.directory]


class _MemoryUpdater(Updater):
    """The library's client, which keeps its files in a `OpenTrust`."""

    def _persist_root(self, version: int, data: bytes) -> None:
        OpenTrust.folders[self._dir].roots[version] = data

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        OpenTrust.folders[self._dir].files[rolename] = data

    def _load_local_metadata(self, rolename: str) -> bytes:
        try:
            return OpenTrust.folders[self._dir].files[rolename]
        except KeyError as error:
            raise FileNotFoundError(rolename) from error

    def _update_root_symlink(self) -> None:
        """Do nothing: nobody here looks at the link."""


@contextmanager
def quick() -> Iterator[None]:
    """Let everything about sticks be quick, until this ends."""
    with ExitStack() as stack:
        for patched in _PATCHES:
            stack.enter_context(patched)
        yield


_read_document = lru_cache(_MANY)(rootrules.read_document)
_really_parsed = Metadata.from_bytes
_really_verified = SSlibKey.verify_signature
_really_restored = chunks.restore_chunk
_really_identified = rootrules.timestamp_keys


class _Parsed(Metadata[Any]):
    """Metadata that nobody changes any more, so that what is signed has one form for ever."""

    canonical: bytes

    @property
    def signed_bytes(self) -> bytes:
        return self.canonical


@lru_cache(_MANY)
def _parse(data: bytes) -> _Parsed:
    parsed = _really_parsed(data)
    kept = _Parsed(parsed.signed, parsed.signatures, parsed.unrecognized_fields)
    kept.canonical = CanonicalJSONSerializer().serialize(parsed.signed)
    return kept


@lru_cache(_MANY)
def _verified(keyid: str, kind: str, scheme: str, public: str, signature: tuple[str, str], data: bytes) -> None:
    _really_verified(SSlibKey(keyid, kind, scheme, {"public": public}), Signature(*signature), data)


def _verify(self: SSlibKey, signature: Signature, data: bytes) -> None:
    public = self.keyval.get("public")
    if isinstance(public, str) and isinstance(signature.signature, str):
        _verified(self.keyid, self.keytype, self.scheme, public, (signature.keyid, signature.signature), data)
    else:
        _really_verified(self, signature, data)


@lru_cache(_MANY)
def _restored(chunk: IndexedChunk, stored: bytes) -> bytes:
    return _really_restored(chunk, _Stored(stored))


class _Stored:
    def __init__(self, contents: bytes) -> None:
        self._contents = contents

    def read(self, _pack: int, _offset: int, _size: int) -> bytes:
        return self._contents


def _restore(chunk: IndexedChunk, stored: bytes) -> None:
    _restored(chunk, stored)


def _identified(root: Root) -> Digest:
    known: Digest | None = getattr(root, "fuzz_timestamp_keys", None)
    if known is None:
        known = _really_identified(root)
        root.fuzz_timestamp_keys = known  # type: ignore[attr-defined]  # beside what it is
    return known


_PATCHES: Final = (
    patch.object(Metadata, "from_bytes", lambda data, _=None: _parse(data)),
    patch.object(SSlibKey, "verify_signature", _verify),
    patch.object(tuflibrary, "Updater", _MemoryUpdater),
    patch.object(fetcher, "tempfile", SimpleNamespace(TemporaryFile=BytesIO)),
    patch.object(rootrules, "read_document", _read_document),
    patch.object(stickfetcher, "read_document", _read_document),
    patch.object(truststate, "read_document", _read_document),
    patch.object(truststate, "timestamp_keys", _identified),
    patch.object(verification, "_restore", _restore),
)
