"""Where built images wait for their next use: outside the checkout, each named by a digest of all that it was made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIGEST_LENGTH: Final = 16


def cache_folder() -> Path:
    """Return the folder of the cache: `USBUPDATE_CACHE`, or `usbupdate` in the user's own cache folder."""
    configured = os.environ.get("USBUPDATE_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    base = Path(configured) if configured else usual / "usbupdate"
    base.mkdir(parents=True, exist_ok=True)
    return base


def digest_of(*inputs: bytes | str | Path) -> str:
    """Return a digest of texts, bytes, files and folders, in this order; of a folder, its files by name, mode and contents."""
    digest = hashlib.sha256()
    for each in inputs:
        parts = _parts(each) if isinstance(each, Path) else [each.encode() if isinstance(each, str) else each]
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:_DIGEST_LENGTH]


def _parts(path: Path) -> Iterator[bytes]:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    for file in files:
        # What Python leaves beside its modules was not written by anybody.
        if "__pycache__" in file.parts:
            continue
        yield str(file.relative_to(path) if path.is_dir() else file.name).encode()
        yield b"executable" if os.access(file, os.X_OK) else b"plain"
        yield file.read_bytes()


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the file that was built under this name from what `key` is a digest of, building it first if need be.

    Two builders wait for each other, and one that is stopped half-way leaves nothing that looks complete. Older files of the
    same name are kept: another checkout may use them; whoever needs the space removes the folder.

    Args:
        name: what it is; becomes part of the file's name.
        key: from `digest_of`.
        build: writes the file, or makes the folder, at the path that it is given.
    """
    stem, dot, suffix = name.partition(".")
    finished = cache_folder() / f"{stem}-{key}{dot}{suffix}"
    with _alone(finished.name):
        if not finished.exists():
            workplace = Path(tempfile.mkdtemp(prefix=f".{stem}-", dir=cache_folder()))
            try:
                build(workplace / "made")
                (workplace / "made").rename(finished)
            finally:
                shutil.rmtree(workplace, ignore_errors=True)
    return finished


@contextmanager
def _alone(name: str) -> Iterator[None]:
    with (cache_folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
