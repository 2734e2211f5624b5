"""Realistic images: a Debian system, and its next release with the updates of its suite, made anew and updated in place."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice.cache import cached, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE: Final = "bookworm"
_MIRROR: Final = "http://deb.debian.org/debian"
_SECURITY: Final = "http://deb.debian.org/debian-security"
_PACKAGES: Final = "linux-image-amd64,systemd-sysv,udev,python3-cryptography,openssh-server,nginx-light"
_SIZE: Final = "1G"
_UUID: Final = "5b6f4a1e-3c54-4f4c-9f5e-2f4f1f0a5c01"
_EPOCH: Final = "1700000000"


@dataclass(frozen=True, slots=True)
class Images:
    """Raw images of one size with ext4: what devices run, and two forms of the release that follows."""

    old: Path
    in_place: Path
    rebuilt: Path


def images() -> Images:
    """Return the images; made at the first time, in some minutes, with the rights of root."""
    key = digest_of(Path(__file__))
    before = (f"deb {_MIRROR} {SUITE} main",)
    after = (*before, f"deb {_MIRROR} {SUITE}-updates main", f"deb {_SECURITY} {SUITE}-security main")
    old_tree = cached("bench-old.tar", key, lambda target: _system(before, target))
    new_tree = cached("bench-new.tar", key, lambda target: _system(after, target))
    old = cached("bench-old.img", key, lambda target: _image(old_tree, target))
    rebuilt = cached("bench-rebuilt.img", key, lambda target: _image(new_tree, target))
    in_place = cached("bench-in-place.img", key, lambda target: _updated(old, new_tree, target))
    return Images(old, in_place, rebuilt)


def run(*command: str | Path, **environment: str) -> None:
    """Run a program, and raise with its own words if it fails."""
    done = subprocess.run(  # noqa: S603 - a benchmark is not the product
        [str(each) for each in command], check=False, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


@contextmanager
def mounted(image: Path, *options: str) -> Iterator[Path]:
    """Mount an image file, and yield where."""
    folder = image.with_name(f"{image.name}.mount")
    folder.mkdir(exist_ok=True)
    run("mount", "-o", ",".join(("loop", *options)), image, folder)
    try:
        yield folder
    finally:
        run("umount", folder)
        folder.rmdir()


def _system(sources: tuple[str, ...], target: Path) -> None:
    leave = 'rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*'
    options = ("--quiet", "--variant=important", "--format=tar", f"--include={_PACKAGES}", f"--customize-hook={leave}")
    run("mmdebstrap", *options, SUITE, target, *sources, SOURCE_DATE_EPOCH=_EPOCH)


def _image(tree: Path, target: Path) -> None:
    with _unpacked(tree, target) as folder:
        options = ("-q", "-t", "ext4", "-U", _UUID, "-E", f"hash_seed={_UUID}", "-d", folder)
        run("mke2fs", *options, target, _SIZE, SOURCE_DATE_EPOCH=_EPOCH)


def _updated(old: Path, tree: Path, target: Path) -> None:
    run("cp", "--sparse=never", old, target)
    with _unpacked(tree, target) as folder, mounted(target) as system:
        run("rsync", "-aHX", "--delete", "--exclude=/lost+found", f"{folder}/", f"{system}/")


@contextmanager
def _unpacked(tree: Path, near: Path) -> Iterator[Path]:
    folder = near.with_name(f"{near.name}.tree")
    folder.mkdir()
    try:
        run("tar", "-C", folder, "-xf", tree, "--exclude=./dev/*")
        yield folder
    finally:
        run("rm", "-rf", folder)
