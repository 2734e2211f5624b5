"""Installations by usbupdate and its peers, side by side in one run; writes docs/performance.md and its picture.

Needs the rights of root (mounts, caches, storage daemon), and installs the peers from Debian's packages if they are missing.
Run: make bench
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "images")]

from installs import page  # noqa: E402 - found by the line above
from installs.contenders import CONTENDERS  # noqa: E402
from installs.images import images, run  # noqa: E402
from installs.measure import Setting, Task, install, stick_image  # noqa: E402
from installs.sizes import Sizes, sizes, zstd_patch  # noqa: E402

from refdevice.cache import cache_folder, cached, digest_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installs.contenders import Contender
    from installs.measure import Measured

PACKAGES: Final = ("bmap-tools", "rauc", "rauc-service", "xdelta3", "zstd", "squashfs-tools", "dbus", "rsync", "fuse3")
PROGRAMS: Final = ("bmaptool", "rauc", "xdelta3", "zstd", "mksquashfs", "dbus-run-session", "rsync", "qemu-storage-daemon")
SETTINGS: Final = (
    Setting("as fast as the disk"),
    Setting("stick 30 MB/s", stick=30_000_000),
    Setting("stick 30 MB/s, slot 80 MB/s", stick=30_000_000, slot=80_000_000),
)


def main() -> None:
    """Prepare, measure in turns, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", nargs="*", type=int, default=range(len(SETTINGS)), help="by their places")
    parser.add_argument("--only", nargs="*", default=[], help="names of contenders")
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("The benchmark mounts images and drops caches: run it as root.")
    if not all(shutil.which(program) for program in PROGRAMS):
        run("apt-get", "install", "-y", "-q", *PACKAGES, "qemu-utils", "qemu-system-common", DEBIAN_FRONTEND="noninteractive")

    made = images()
    tasks = {"rebuilt": Task(made.rebuilt, made.old), "in place": Task(made.in_place, made.old)}
    chosen = [each for each in CONTENDERS if not given.only or each.name in given.only]
    results: dict[tuple[str, str], dict[Contender, list[Measured]]] = {}
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        for setting in (SETTINGS[place] for place in given.settings):
            for _ in range(given.rounds):
                for kind, each in _turns(chosen):
                    one = install(each, _stick(each.stick, kind, tasks[kind]), tasks[kind], setting, Path(folder))
                    print(f"{setting.name}; {kind}; {each.name}: {one}", flush=True)
                    group = results.setdefault((setting.name, kind if each.known_base else page.FULL), {})
                    group.setdefault(each, []).append(one)
    if not given.only:
        told = {kind: _sizes(kind, task) for kind, task in tasks.items()}
        page.write(results, told, datetime.now(UTC).date().isoformat(), given.rounds)


def _turns(contenders: list[Contender]) -> Iterator[tuple[str, Contender]]:
    """Yield who is next, with which form of the release; a whole image is the same work for both."""
    for each in contenders:
        yield "rebuilt", each
        if each.known_base:
            yield "in place", each


def _stick(name: str, kind: str, task: Task) -> Path:
    (contender, *_) = (each for each in CONTENDERS if each.stick == name)
    recipes = (HERE / "installs" / f"{module}.py" for module in ("images", "contenders", "rauc"))
    key = digest_of(*recipes, HERE.parent / "src/usbupdate/packager")
    return cached(f"bench-stick-{name}-{kind.replace(' ', '-')}.img", key, lambda target: stick_image(contender, task, target))


def _sizes(kind: str, task: Task) -> Sizes:
    key = digest_of(HERE / "installs/images.py")
    patch = cached(f"bench-patch-{kind.replace(' ', '-')}.zst", key, lambda target: zstd_patch(task, target))
    return sizes(_stick("delta", kind, task), _stick("xdelta", kind, task), patch)


if __name__ == "__main__":
    main()
