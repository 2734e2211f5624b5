"""Small releases with real content: ext4 images made from a folder, without a mount and without root."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.device import process
from usbupdate.errors import ProgramMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_SIZE: Final = 32 << 20
_CONTENT_SIZE: Final = 14 << 20
_VOLUME_SIZE: Final = 1 << 20
_MAKE_S: Final = 60.0
_UUID: Final = "5b9f5a0c-7d0e-4c58-9d62-1f3f0a1d2c3b"


def make_image(image: Path, version: str, sequence: int) -> None:
    """Make the ext4 image of one release: a release file, and some megabytes of real text.

    Raises:
        ProgramMissingError: there is no mke2fs, or it failed.
    """
    tree = image.with_name(f"{image.stem}.tree")
    durable.make_directory(tree / "usr/lib/usbupdate")
    durable.make_directory(tree / "usr/share/library")
    durable.make_directory(tree / "opt/app")
    release = {"name": "gateway", "version": version, "sequence": sequence}
    durable.save(tree / "usr/lib/usbupdate/release.json", json.dumps(release).encode() + b"\n")
    durable.save(tree / "opt/app/main", f"#!/bin/sh\necho gateway {version}\n".encode() * 20_000, mode=0o755)
    for number, volume in enumerate(_volumes(skipped=sequence * 3_000_000)):
        durable.save(tree / f"usr/share/library/volume-{number:02d}.txt", volume)
    options = f"root_owner=0:0,hash_seed={_UUID},lazy_itable_init=0"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", _UUID, "-E", options, "-d", str(tree), str(image)]
    try:
        finished = process.run([*command, f"{IMAGE_SIZE >> 10}k"], timeout_s=_MAKE_S)
    except OSError as error:
        raise ProgramMissingError(program="mke2fs") from error
    if not finished.succeeded:
        raise ProgramMissingError(program=f"mke2fs ({finished.last_line})")
    durable.remove_tree(tree)


def _volumes(skipped: int) -> Iterator[bytes]:
    """Yield the text of Python's own library in equal volumes, from another place for each release."""
    volume = b""
    left = _CONTENT_SIZE
    for source in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in source.parts:
            continue
        text = source.read_bytes()
        if skipped > 0:
            skipped -= len(text)
            continue
        volume += text
        while len(volume) >= _VOLUME_SIZE and left > 0:
            yield volume[:_VOLUME_SIZE]
            volume, left = volume[_VOLUME_SIZE:], left - _VOLUME_SIZE
        if left <= 0:
            return
