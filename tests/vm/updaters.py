"""Releases that bring another usbupdate than this checkout's: a later one, and one from the past that is kept as a file."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice import disk, release, rootfs
from refdevice.cache import cached, digest_of
from refdevice.commands import run
from refdevice.disk import BootScript
from refdevice.release import Release
from tests.vm import testbed

if TYPE_CHECKING:
    from refdevice.release import Fault

LATER: Final = "99.0"
"""The version of the later one, which else is today's."""
FROZEN: Final = "0.1.0"
_FILES: Final = Path(__file__).with_name("frozen")
_DEVICE_TOML: Final = "etc/usbupdate/device.toml"
_SCRIPT: Final = 'script = "usbupdate"\n'


def later_system() -> Path:
    """Return the tar file of a system with the later usbupdate."""
    wheel = _later_wheel()
    return rootfs.system_with(wheel, wheel.parent.name)


def later_release_under_rauc() -> Release:
    """Return a release with the later usbupdate for a device whose boot loader counts as RAUC does."""
    return testbed.next_release(system=later_system(), settings=((_DEVICE_TOML, _model('script = "rauc"\n')),))


def frozen_release(version: str, sequence: int, fault: Fault | None = None) -> Release:
    """Return a release with the usbupdate from the past, its units and its rule."""
    (wheel,) = _FILES.glob("*.whl")
    system = rootfs.system_with(wheel, "frozen")
    # It knows no other names than RAUC's, and no key that says so.
    settings = [(_DEVICE_TOML, _model(""))]
    for folder, place in (("systemd", "usr/lib/systemd/system"), ("udev-rules", "usr/lib/udev/rules.d")):
        files = sorted(each for each in (_FILES / folder).rglob("*") if each.is_file())
        settings += [(f"{place}/{each.relative_to(_FILES / folder)}", each.read_text()) for each in files]
    return Release(version, sequence, testbed.first_release().root, fault, system, tuple(settings))


def frozen_device() -> Path:
    """Return the disk of a new device with the usbupdate from the past, never started."""
    first = frozen_release("1.0", 1)

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            image = Path(folder) / "release"
            release.build(first, image)
            disk.build(image, BootScript.RAUC, target)

    return cached("frozen-device.raw", digest_of(release.key_of(first), disk.key_of(BootScript.RAUC)), build)


def _model(script: str) -> str:
    text = (rootfs.IMAGES / "overlay" / _DEVICE_TOML).read_text()
    assert _SCRIPT in text
    return text.replace(_SCRIPT, script)


def _later_wheel() -> Path:
    today = rootfs.wheel_of_checkout()

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            sources = [rootfs.CHECKOUT / name for name in ("src", "pyproject.toml", "README.md", "LICENSE")]
            run("cp", "-R", *sources, folder)
            project = Path(folder) / "pyproject.toml"
            stated = project.read_text()
            project.write_text(stated.replace(f'\nversion = "{today.name.split("-")[1]}"\n', f'\nversion = "{LATER}"\n', 1))
            run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, folder)

    (wheel,) = cached("later-wheel", digest_of(LATER, today.parent.name), build).glob(f"usbupdate-{LATER}-*.whl")
    return wheel
