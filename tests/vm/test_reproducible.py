"""The same inputs give the same bytes, so that anybody can check an image that somebody else has made."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from refdevice import disk, release
from refdevice.disk import BootScript
from tests.vm import testbed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_two_builds_from_nothing_give_the_same_release_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The office is an input, and its keys are new each time.
    first = testbed.first_release()
    digests = []
    for name in ("one", "another"):
        monkeypatch.setenv("USBUPDATE_CACHE", str(tmp_path / name))
        image, whole = tmp_path / f"{name}.release", tmp_path / f"{name}.disk"
        release.build(first, image)
        disk.build(image, BootScript.USBUPDATE, whole)
        layers = sorted((tmp_path / name).glob("*.tar")) + sorted((tmp_path / name).glob("wheel-*/*.whl"))
        digests.append({each.name: _sha256(each) for each in layers} | {"release": _sha256(image), "disk": _sha256(whole)})
    assert digests[0] == digests[1]
    assert len(digests[0]) == len(("debian", "system", "wheel", "release", "disk"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
