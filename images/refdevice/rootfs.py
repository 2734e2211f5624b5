"""The root file system: Debian's packages, the product's wheel with what it needs, its units, and this machine's own files.

Two layers, each kept as a tar file: the packages take minutes and change seldom, the product takes seconds and changes often.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice import layout
from refdevice.cache import cached, digest_of
from refdevice.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator

_log: Final = logging.getLogger(__name__)

IMAGES: Final = Path(__file__).resolve().parent.parent
CHECKOUT: Final = IMAGES.parent
_OVERLAY: Final = IMAGES / "overlay"
_INITRAMFS: Final = IMAGES / "initramfs-tools"
_MODPROBE: Final = IMAGES / "modprobe.d"
_REQUIREMENTS: Final = IMAGES / "device-requirements.txt"
_SITE: Final = "usr/lib/python3/dist-packages"
_PYTHON_VERSION: Final = "3.11"
_ENABLED: Final = {
    "multi-user.target.wants": ("usbupdate-boot.service", "refdevice-factory.service"),
    "sysinit.target.wants": ("usbupdate-deadman.timer", "refdevice-shell.service"),
}
_EXCLUDED: Final = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/share/i18n/*",
    "/boot/System.map-*",
    "/lib/modules/*/kernel/drivers/*",
    "/lib/modules/*/kernel/fs/*",
    "/lib/modules/*/kernel/net/*",
    "/lib/modules/*/kernel/sound/*",
    "/lib/modules/*/kernel/arch/x86/kvm/*",
)
_UNUSED: Final = (
    *("boot/config-*", "var/lib/apt/*", "var/cache/*", "var/log/*", "usr/lib/udev/hwdb*", "usr/lib/x86_64-linux-gnu/gconv"),
    *("usr/lib/x86_64-linux-gnu/perl", "usr/lib/x86_64-linux-gnu/perl5", "usr/share/perl*", "usr/share/bash-completion"),
    *("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "usr/share/python3/debpython/__pycache__"),
)
"""What scripts of the installation needed, or nobody here does; a slot is written over USB, so every megabyte is waited for."""
_FILE_SYSTEMS: Final = ("autofs", "exfat", "ext4", "fat", "jbd2", "mbcache", "nls", "efivarfs", "configfs")


def base() -> Path:
    """Return the tar file of the Debian system, built if the cache lacks it."""
    source = f"{layout.SUITE} {layout.MIRROR} {layout.EPOCH}"
    rules = str((layout.PACKAGES, layout.MODULES, _EXCLUDED, _UNUSED, _FILE_SYSTEMS))
    key = digest_of(source, rules, _INITRAMFS, _MODPROBE, inspect.getsource(_build_base))
    return cached("debian.tar", key, _build_base)


def _build_base(target: Path) -> None:
    _log.info("Putting a Debian system together: about a minute, once.")
    rules = [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
    rules += [f"--dpkgopt=path-include=/lib/modules/*/kernel/fs/{name}*" for name in _FILE_SYSTEMS]
    for name in layout.MODULES:
        rules += [f"--dpkgopt=path-include=/lib/modules/*/kernel/drivers/{name}{end}" for end in (".ko", "/*")]
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=essential",
        "--format=tar",
        f"--include={','.join(layout.PACKAGES)}",
        *rules,
        f"--setup-hook=mkdir -p \"$1/etc\" && cp -R '{_INITRAMFS}' '{_MODPROBE}' \"$1/etc\"",
        f'--customize-hook=cd "$1" && rm -rf {" ".join(_UNUSED)}',
        layout.SUITE,
        target,
        layout.MIRROR,
    )


def system() -> Path:
    """Return the tar file of the whole system of this checkout, without a release's own name, root of trust and faults."""
    return system_with(wheel_of_checkout(), digest_of(CHECKOUT / "src", CHECKOUT / "pyproject.toml"))


def system_with(wheel: Path, key: str) -> Path:
    """Return the tar file of a system that runs another wheel of the product; `key` names its units and rules too."""
    recipe = (Path(__file__), Path(layout.__file__), _OVERLAY, _REQUIREMENTS, CHECKOUT / "systemd", CHECKOUT / "udev-rules")
    whole = digest_of(base().name, key, wheel, *recipe)
    return cached("system.tar", whole, lambda target: _build_system(wheel, target))


def wheel_of_checkout() -> Path:
    """Return the product's wheel, built from the sources of this checkout."""
    key = digest_of(CHECKOUT / "src", CHECKOUT / "pyproject.toml", CHECKOUT / "README.md")
    folder = cached("wheel", key, _build_wheel)
    return next(folder.glob("usbupdate-*.whl"))


def _build_wheel(target: Path) -> None:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, CHECKOUT)


def _build_system(wheel: Path, target: Path) -> None:
    _log.info("Installing usbupdate as it stands in this checkout: about 20 seconds, after each change of it.")
    with unpacked(base()) as root:
        _install_wheels(wheel, root)
        _install_units(root)
        _lay(_OVERLAY, root)
        _prepare_for_read_only(root)
        _compile(root)
        pack(root, target)


def _install_wheels(wheel: Path, root: Path) -> None:
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--only-binary=:all:"),
        *(f"--python-version={_PYTHON_VERSION}", "--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64"),
        *("--platform=any", "--implementation=cp", f"--target={root / _SITE}", f"--requirement={_REQUIREMENTS}", wheel),
    )
    # pip's starter names the Python of this computer; the device's own is in the overlay.
    shutil.rmtree(root / _SITE / "bin", ignore_errors=True)
    # These tell of the folder of the build and of pip's starters; nothing here takes a package off again.
    for trace in [*(root / _SITE).glob("*.dist-info/direct_url.json"), *(root / _SITE).glob("*.dist-info/RECORD")]:
        trace.unlink()


def _install_units(root: Path) -> None:
    systemd = root / "usr/lib/systemd"
    _lay(CHECKOUT / "systemd", systemd / "system")
    # Settings of the manager itself have a folder of their own.
    (systemd / "system/system.conf.d").rename(systemd / "system.conf.d")
    _lay(CHECKOUT / "udev-rules", root / "usr/lib/udev/rules.d")
    for folder, units in _ENABLED.items():
        wants = root / "etc/systemd/system" / folder
        wants.mkdir(parents=True, exist_ok=True)
        for unit in units:
            place = "/etc/systemd/system" if unit.startswith("refdevice") else "/usr/lib/systemd/system"
            (wants / unit).symlink_to(f"{place}/{unit}")


def _lay(source: Path, target: Path) -> None:
    """Copy files, but no documents, with the modes that they have in any checkout, whatever umask it was made with."""
    for each in sorted(source.rglob("*")):
        place = target / each.relative_to(source)
        if each.is_dir():
            place.mkdir(exist_ok=True)
        elif each.suffix != ".md":
            shutil.copyfile(each, place)
            place.chmod(0o755 if os.access(each, os.X_OK) else 0o644)


def _prepare_for_read_only(root: Path) -> None:
    for folder in ("boot/efi", "var/lib/usbupdate", "proc", "sys", "dev", "run", "tmp", "var/tmp", "var/log"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/usbupdate").chmod(0o700)
    for left in (root / "dev").iterdir():
        left.unlink() if not left.is_dir() or left.is_symlink() else shutil.rmtree(left)
    # Empty: systemd makes one for each boot. A kept one would be the same on every unit.
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    # No password, and the person in front of the first serial port is logged in: this machine exists to be looked at.
    getty = root / "etc/systemd/system/serial-getty@ttyS0.service.d"
    getty.mkdir(parents=True)
    (getty / "autologin.conf").write_text(
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I dumb\n"
    )


def _compile(root: Path) -> None:
    """Compile all Python by the device's own interpreter: a read-only root can keep nothing that is made later."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    run(
        *(root / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--library-path", libraries),
        *(root / f"usr/bin/python{_PYTHON_VERSION}", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"),
        *("-s", root, root / _SITE, root / f"usr/lib/python{_PYTHON_VERSION}"),
        environment={"PYTHONHOME": str(root / "usr"), "PYTHONHASHSEED": "0"},
    )


@contextmanager
def unpacked(tar: Path) -> Iterator[Path]:
    """Give the tree in a tar file as a folder that may be changed, and remove it in the end.

    Until then new files get the usual modes, whatever umask this person has.
    """
    umask = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="usbupdate-root-") as folder:
            run("tar", "--extract", f"--file={tar}", f"--directory={folder}", "--numeric-owner")
            yield Path(folder)
    finally:
        os.umask(umask)


def pack(root: Path, target: Path) -> None:
    """Write a tree into a tar file; the same tree gives the same bytes."""
    run(
        *("tar", "--create", f"--file={target}", f"--directory={root}", "--numeric-owner", "--sort=name"),
        *(f"--mtime=@{layout.EPOCH}", "--format=posix", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"),
        ".",
    )


def require_root() -> None:
    """Go on only with root's rights, real or faked: the files of an image belong to root."""
    if os.geteuid() != 0 and "FAKEROOTKEY" not in os.environ:
        os.execvp("fakeroot", ["fakeroot", sys.executable, *sys.argv])  # noqa: S606, S607 - this very program again
