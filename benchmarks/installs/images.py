"""Realistic images: a Debian system, and next releases of it with the updates of its suite.

One has all of them, a new kernel among them, made anew and updated in place; one keeps its kernel, as most releases do.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from installs.mounts import mounted
from installs.programs import run
from refdevice.cache import cached, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE: Final = "bookworm"
_MIRROR: Final = "http://deb.debian.org/debian"
_SECURITY: Final = "http://deb.debian.org/debian-security"
_UUID: Final = "5b6f4a1e-3c54-4f4c-9f5e-2f4f1f0a5c01"
_EPOCH: Final = "1700000000"
_PREFERENCES: Final = "/etc/apt/preferences.d/kernel"
_OLD_KERNEL: Final = rf"Package: linux-*\nPin: release n={SUITE}\nPin-Priority: 1001\n"
_KEEP_KERNEL: Final = f'--setup-hook=mkdir -p "$1/etc/apt/preferences.d" && printf \'{_OLD_KERNEL}\' >"$1{_PREFERENCES}"'


@dataclass(frozen=True, slots=True)
class System:
    """What is in an image: mmdebstrap's variant, further packages, and the size of it all."""

    name: str
    size: str
    variant: str
    packages: str = ""


USUAL: Final = System(
    "usual", "1G", "important", "linux-image-amd64,systemd-sysv,udev,python3-cryptography,openssh-server,nginx-light"
)
SMALL: Final = System("small", "256M", "minbase")
"""To try the benchmark itself."""


@dataclass(frozen=True, slots=True)
class Images:
    """Raw images of one size with ext4: what devices run, and the release that follows in three forms."""

    old: Path
    rebuilt: Path
    in_place: Path
    same_kernel: Path


def images(system: System = USUAL) -> Images:
    """Return the images; made at the first time, in some minutes, with the rights of root."""
    key = digest_of(Path(__file__))
    before = (f"deb {_MIRROR} {SUITE} main",)
    after = (*before, f"deb {_MIRROR} {SUITE}-updates main", f"deb {_SECURITY} {SUITE}-security main")
    name = f"bench-{system.name}"
    old_tree = cached(f"{name}-old.tar", key, lambda target: _tree(system, before, target))
    new_tree = cached(f"{name}-new.tar", key, lambda target: _tree(system, after, target))
    old = cached(f"{name}-old.img", key, lambda target: _image(system, old_tree, target))
    rebuilt = cached(f"{name}-rebuilt.img", key, lambda target: _image(system, new_tree, target))
    in_place = cached(f"{name}-in-place.img", key, lambda target: _updated(old, new_tree, target))
    kept_tree = cached(f"{name}-kept.tar", key, lambda target: _tree(system, after, target, _KEEP_KERNEL))
    same_kernel = cached(f"{name}-same-kernel.img", key, lambda target: _updated(old, kept_tree, target))
    return Images(old, rebuilt, in_place, same_kernel)


def _tree(system: System, sources: tuple[str, ...], target: Path, *hooks: str) -> None:
    leave = f'rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"{_PREFERENCES}'
    options = ("--quiet", f"--variant={system.variant}", "--format=tar", *hooks, f"--customize-hook={leave}")
    packages = (f"--include={system.packages}",) if system.packages else ()
    # Mounts of its own: what it mounts in there goes with it, even if it is killed.
    run("unshare", "--mount", "mmdebstrap", *options, *packages, SUITE, target, *sources, SOURCE_DATE_EPOCH=_EPOCH)


def _image(system: System, tree: Path, target: Path) -> None:
    with _unpacked(tree, target) as folder:
        options = ("-q", "-t", "ext4", "-U", _UUID, "-E", f"hash_seed={_UUID}", "-d", folder)
        run("mke2fs", *options, target, system.size, SOURCE_DATE_EPOCH=_EPOCH)


def _updated(old: Path, tree: Path, target: Path) -> None:
    run("cp", "--sparse=never", old, target)
    with _unpacked(tree, target) as folder, mounted(target) as system:
        run("rsync", "-aHX", "--delete", "--exclude=/lost+found", f"{folder}/", f"{system}/")


@contextmanager
def _unpacked(tree: Path, near: Path) -> Iterator[Path]:
    folder = near.with_name(f"{near.name}.tree")
    try:
        folder.mkdir()
        run("tar", "-C", folder, "-xf", tree, "--exclude=./dev/*")
        yield folder
    finally:
        run("rm", "-rf", folder)
