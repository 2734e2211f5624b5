"""Where a device keeps whom it trusts: generations of a folder, and one symbolic link that names the current one.

    trust/current -> 7        trust/7/root_history/…, root.json, timestamp.json, snapshot.json, targets.json, floor.json

The TUF library replaces its files one by one and syncs none of them. So a refresh works on a clone of the current generation;
the clone is made durable and becomes current in one step. A cut at any instant leaves the old generation or the new one, each
whole.

Source: design, section 3, "Staging".
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.core import trust
from usbupdate.core.words import Digest
from usbupdate.errors import MediumError, RefusedError, RejectedError, TrustExistsError, TrustMissingError, TrustStorageError
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from usbupdate.core.judgement import Judgement
    from usbupdate.core.layout import MediumReader

CURRENT: Final = "current"
_FIRST: Final = "1"
_TIMESTAMP: Final = "timestamp"
_GENERATION: Final = re.compile(r"[1-9][0-9]{0,15}")


class TrustStore:
    """The trust of one device, in the folder `trust` of its state directory. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def provision(self, root: bytes) -> None:
        """Trust one root from now on, durably; again with the same root, nothing happens.

        Raises:
            ConfiguredRootError: it is no root.
            TrustExistsError: the device trusts another one already.
            TrustStorageError: the storage failed; nothing is trusted yet.
        """
        document = trust.check_configured_root(root)
        with self._storage():
            current = self._current()
            if current is not None:
                if trust.newest_stored_root(TrustFiles(current)).raw != root:
                    raise TrustExistsError(path=str(self._folder))
                return
            generation = self._folder / _FIRST
            # A provisioning that was cut short leaves the first generation only. Whatever else is there once was trusted.
            if any(path != generation for path in self._generations()) or (self._folder / CURRENT).is_symlink():
                raise TrustExistsError(path=str(self._folder))
            self._sweep(None)
            durable.make_directory(generation, mode=durable.PRIVATE_FOLDER)
            TrustFiles(generation).begin(document.version, root)
            durable.point(self._folder / CURRENT, generation.name)

    def newest_root(self) -> tuple[int, Digest]:
        """Return version and digest of the newest root that this device has accepted.

        Raises:
            TrustMissingError: the device was never provisioned.
            StoredTrustError: the store is broken.
            TrustStorageError: the storage failed.
        """
        with self._storage():
            root = trust.newest_stored_root(TrustFiles(self._require_current()))
        return root.version, Digest(hashlib.sha256(root.raw).hexdigest())

    def floor(self) -> datetime:
        """Return the time floor that this device has proven.

        Raises: as `newest_root`.
        """
        with self._storage():
            return trust.stored_floor(TrustFiles(self._require_current()))

    def refresh(
        self,
        medium: MediumReader,
        clock: trust.ClockReading,
        configured_root: bytes,
        *,
        origin: str = "",
        judged: Callable[[Judgement], None] = trust.tell_nobody,
    ) -> trust.Trusted:
        """Return what the stick's metadata prove, and keep it; what was proven before a failure is kept too.

        Args:
            medium: the stick.
            clock: what the system says.
            configured_root: the root that the configuration names, as in its file.
            origin: how to name the stick to a person, should it turn out to be the newest so far.
            judged: is told by what time the metadata are judged; see `core.trust.refresh`.

        Raises:
            NotReadyError: the store or the configured root cannot be relied on, or the storage failed; the store is as it was.
            RejectedError: the metadata on the stick do not verify.
            OlderStickError: the stick is older than the store, and does not hold what that calls for.
            MediumError: the stick could not be read.

        Source: `core.trust.refresh`.
        """
        with self._storage():
            current = self._require_current()
            self._sweep(current)
            staged = TrustFiles(self._folder / str(int(current.name) + 1))
            durable.clone_tree(current, staged.path)
            try:
                trusted = trust.refresh(staged, configured_root, medium, clock, judged)
            except (RejectedError, RefusedError, MediumError):
                # A revocation holds from the moment it is proven, whatever else is wrong with the stick that brought it.
                self._adopt(staged, current, origin)
                raise
            self._adopt(staged, current, origin)
            if trusted.newer_than_medium and (brought_by := staged.read_origin()):
                return replace(trusted, newer_than_medium=f"{trusted.newer_than_medium}, brought by {brought_by}")
            return trusted

    def _adopt(self, staged: TrustFiles, current: Path, origin: str) -> None:
        if staged.read(_TIMESTAMP) != TrustFiles(current).read(_TIMESTAMP):
            staged.save_origin(origin)
        durable.sync_tree(staged.path)
        durable.sync_directory(self._folder)
        durable.point(self._folder / CURRENT, staged.path.name)
        self._sweep(staged.path)

    def _sweep(self, current: Path | None) -> None:
        """Remove every generation but the current one: what an earlier refresh left behind, or has just replaced."""
        for generation in self._generations():
            if generation != current:
                durable.remove_tree(generation)

    def _generations(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [entry for entry in self._folder.iterdir() if _GENERATION.fullmatch(entry.name)]

    def _current(self) -> Path | None:
        link = self._folder / CURRENT
        if not link.is_symlink():
            return None
        name = link.readlink().name
        generation = self._folder / name
        return generation if _GENERATION.fullmatch(name) and generation.is_dir() else None

    def _require_current(self) -> Path:
        current = self._current()
        if current is None:
            raise TrustMissingError(path=str(self._folder / CURRENT))
        return current

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrustStorageError(problem=error.strerror or type(error).__name__) from error
