"""The packages and programs that a measurement needs, installed where they are missing."""

from __future__ import annotations

import shutil
from typing import Final

from installs.programs import run

_PEERS: Final = ("bmap-tools", "casync", "mender-artifact", "mender-client", "rauc", "swupdate", "xdelta3", "zstd")
_PACKAGES: Final = (
    *_PEERS,
    *("cpio", "dbus", "fuse3", "mmdebstrap", "openssl", "qemu-system-common", "qemu-utils", "rauc-service", "rsync"),
    *("squashfs-tools", "time"),
)
_PROGRAMS: Final = (
    *("bmaptool", "casync", "mender-artifact", "mender", "rauc", "swupdate", "xdelta3", "zstd"),
    *("cpio", "dbus-run-session", "mmdebstrap", "openssl", "qemu-storage-daemon", "rsync", "mksquashfs", "/usr/bin/time"),
)


def require() -> None:
    """Install Debian's packages if a program is missing."""
    if not all(map(shutil.which, _PROGRAMS)):
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *_PACKAGES, DEBIAN_FRONTEND="noninteractive")


def versions() -> list[str]:
    """Return what was measured, each as its package's name and version."""
    return run("dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *_PEERS).splitlines()
