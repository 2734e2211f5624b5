"""What the system around the agent must have and should have, looked at in its files; part of `device check`.

Source: design, sections 5, 6 and 9.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usbupdate.device import process
from usbupdate.device.blockdevices import BlockDevices
from usbupdate.device.configuration import RebootPolicy
from usbupdate.device.deadman import NO_TRIAL
from usbupdate.device.exposure import changeable_program
from usbupdate.device.findings import Look, Weight, Wrong
from usbupdate.device.signals import LEDS
from usbupdate.device.statestore import PROVISIONED_FILE, TRIAL_FILE
from usbupdate.device.unitfiles import is_in_force, read_small, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbupdate.device.configuration import Configuration

RULE: Final = "90-usbupdate.rules"
UNITS: Final = (
    "usbupdate@.service",
    "usbupdate-boot.service",
    "usbupdate-deadman.service",
    "usbupdate-deadman-blind.service",
    "usbupdate-deadman.timer",
)
ENABLED: Final = ("multi-user.target.wants/usbupdate-boot.service", "sysinit.target.wants/usbupdate-deadman.timer")
GATED: Final = "timers.target.wants/usbupdate-reboot.timer"
EMERGENCY: Final = "emergency.target.d/usbupdate.conf"
LIBRARIES: Final = ("cryptography", "securesystemslib", "tuf", "typer", "zstandard")
KERNEL_MIN: Final = (5, 10)

_PROGRAMS: Final = ("blkid", "mount", "umount")
_STARTS: Final = b"usbupdate@"
_COMMAND_S: Final = 60.0
_OFF: Final = frozenset({"", "0", "off", "infinity"})
_VETO: Final = f"!{NO_TRIAL}"
_MODULE: Final = re.compile(r"^(\S*/([^/\s:]+?)\.ko(?:\.(?:gz|xz|zst))?):?", re.MULTILINE)


def _folders(*names: str) -> tuple[Path, ...]:
    return tuple(Path(name) for name in names)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the system keeps what is looked at; other places only in tests."""

    command_line: Path = Path("/proc/cmdline")
    rule_folders: tuple[Path, ...] = _folders("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
    unit_folders: tuple[Path, ...] = _folders("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    block_devices: BlockDevices = BlockDevices()  # noqa: RUF009  # frozen, and only says where the kernel is asked
    systemd: tuple[Path, ...] = _folders("/run/systemd/system", "/usr/lib/systemd/systemd", "/lib/systemd/systemd")
    manager_folders: tuple[Path, ...] = _folders("/usr/lib/systemd", "/etc/systemd", "/run/systemd")
    command: Path = Path("/usr/bin/usbupdate")
    kernel: str = field(default_factory=lambda: os.uname().release)
    kernel_filesystems: Path = Path("/proc/filesystems")
    modules: Path = Path("/lib/modules")
    watchdogs: tuple[Path, ...] = _folders("/dev/watchdog", "/dev/watchdog0")
    dracut: tuple[Path, ...] = _folders("/usr/lib/dracut", "/etc/dracut.conf")
    udev: Path = Path("/run/udev/control")

    @property
    def has_systemd(self) -> bool:
        """Whether systemd is what starts the services of this system."""
        return any(path.exists() for path in self.systemd)


def looks_at_signals(configuration: Configuration, leds: Path = LEDS) -> Iterator[Look]:
    """Yield what tells whether the owner's own signals can be given."""
    signals = configuration.signals
    yield Look("signal command", lambda: _signal_command(signals.command), Weight.SHOULD)
    yield Look("signal light", lambda: _signal_light(signals.led, leds), Weight.SHOULD)


def looks_at_system(configuration: Configuration, surroundings: Surroundings) -> Iterator[Look]:
    """Yield what tells whether the system starts the agent and gives it what it needs."""
    yield Look("kernel", lambda: _kernel(surroundings.kernel))
    yield Look("kernel command line", lambda: _root_word(surroundings.command_line))
    yield Look("kernel panic", lambda: _panic_word(surroundings.command_line), Weight.SHOULD)
    yield Look("initramfs", lambda: _initramfs(surroundings), Weight.SHOULD)
    yield Look("file systems", lambda: _filesystems(configuration.filesystems, surroundings))
    yield Look("libraries", _libraries)
    if surroundings.has_systemd:
        units = surroundings.unit_folders
        yield Look("udev rule", lambda: _rule(surroundings.rule_folders))
        yield Look("units", partial(_installed, units, UNITS))
        yield Look("units enabled", partial(_installed, units, ENABLED))
        yield Look("dead man", partial(_dead_man, units, configuration.state_dir))
        yield Look("emergency", partial(_installed, units, (EMERGENCY,)), Weight.SHOULD)
        if configuration.reboot is RebootPolicy.GATED:
            yield Look("gates asked again", partial(_installed, units, (GATED,)), Weight.SHOULD)
        yield Look("command", lambda: _command(surroundings.command))
    else:
        yield Look("monitor", lambda: _monitor(surroundings.udev))
    programs = (*_PROGRAMS, "systemctl") if surroundings.has_systemd else _PROGRAMS
    yield Look("programs", lambda: _programs(programs))
    yield Look("watchdog", lambda: _watchdog(surroundings), Weight.SHOULD)
    yield Look("byte code", lambda: _byte_code(Path(__file__)), Weight.SHOULD)


def _kernel(release: str) -> str | Wrong:
    match = re.match(r"([0-9]+)\.([0-9]+)", release)
    if match and (int(match[1]), int(match[2])) < KERNEL_MIN:
        return Wrong(f"Linux {release} is older than 5.10.", "Use a kernel from 5.10 on.")
    return release


def _words(path: Path) -> list[str]:
    return read_small(path).partition(" -- ")[0].split()


def _root_word(path: Path) -> str | Wrong:
    for word in _words(path):
        if word.startswith(("root=LABEL=", "root=UUID=")):
            return Wrong(
                f"{word} may name both slots, for they can hold the same image.",
                "Use root=/dev/…, or root=PARTUUID= where no stick can be in at the start.",
            )
    return "root is right"


def _panic_word(path: Path) -> str | Wrong:
    if not any(word.startswith("panic=") and word != "panic=0" for word in _words(path)):
        return Wrong("A kernel that panics on trial would stand still.", "Add panic=10 to the kernel command line.")
    return "it restarts"


def _initramfs(surroundings: Surroundings) -> str | Wrong:
    """Debian's initramfs restarts where the kernel would, by `panic=`; dracut has a word of its own."""
    if any(path.exists() for path in surroundings.dracut) and "rd.emergency=reboot" not in _words(surroundings.command_line):
        return Wrong(
            "An initramfs of dracut that finds no root would open a shell.",
            "Add rd.shell=0 rd.emergency=reboot to the kernel command line.",
        )
    return "none is known that would stand still by itself"


def _filesystems(wanted: tuple[str, ...], surroundings: Surroundings) -> str | Wrong:
    """Ask the kernel and its modules; nothing is loaded for that."""
    known = {line.split()[-1] for line in read_small(surroundings.kernel_filesystems).splitlines() if line.strip()}
    folder = surroundings.modules / surroundings.kernel
    built_in = {name for _, name in _MODULE.findall(read_small(folder / "modules.builtin"))}
    loadable = {name for file, name in _MODULE.findall(read_small(folder / "modules.dep")) if (folder / file).exists()}
    missing = [name for name in wanted if name not in known | built_in | loadable]
    if missing:
        return Wrong(
            f"The kernel cannot read {', '.join(missing)}.",
            "Build it into the kernel, put its module into the image, or leave it out of media.filesystems.",
        )
    return ", ".join(wanted)


def _libraries() -> str:
    for name in LIBRARIES:
        importlib.import_module(name)
    return ", ".join(LIBRARIES)


def _rule(folders: tuple[Path, ...]) -> str | Wrong:
    found = next((folder / RULE for folder in folders if os.path.lexists(folder / RULE)), None)
    if found is None:
        return Wrong(f"Not installed: {RULE}.", "See udev-rules/README.md of usbupdate.")
    try:
        starts = _STARTS in found.read_bytes()
    except OSError:
        starts = False
    if not starts:
        return Wrong(f"{found} starts nothing.", "See udev-rules/README.md of usbupdate.")
    return str(found)


def _installed(folders: tuple[Path, ...], names: tuple[str, ...]) -> str | Wrong:
    missing = [name for name in names if not is_in_force(folders, name)]
    if missing:
        return Wrong(f"Not installed: {', '.join(missing)}.", "See systemd/README.md of usbupdate.")
    return ", ".join(names)


def _dead_man(folders: tuple[Path, ...], state_dir: Path) -> str | Wrong:
    """Both look into the state folder: one that looks elsewhere never ends a trial, or ends every boot."""
    wanted = {
        "usbupdate-deadman.service": f"{state_dir / TRIAL_FILE}",
        "usbupdate-deadman-blind.service": f"!{state_dir / PROVISIONED_FILE}",
    }
    for unit, condition in wanted.items():
        found = settings_in_force(folders, unit, "ConditionPathExists")
        if found != [condition, _VETO]:
            return Wrong(
                f"{unit} does not look into the state folder: ConditionPathExists={' '.join(found)}.",
                f"Let its ConditionPathExists= be {condition} and {_VETO}; see systemd/README.md of usbupdate.",
            )
    return str(state_dir)


def _command(command: Path) -> str | Wrong:
    """Start what udev's rule starts in the end: a release whose command does not start would answer no stick."""
    try:
        finished = process.run([command, "--version"], timeout_s=_COMMAND_S)
    except OSError as error:
        return Wrong(f"{command}: {error.strerror}.", "Put the command where the units start it, or change the units.")
    if not finished.succeeded:
        return Wrong(f"{command} does not start: {finished.last_line}", "Put what it lacks into the image.")
    return str(command)


def _monitor(udev: Path) -> str | Wrong:
    if importlib.util.find_spec("pyudev") is None:
        return Wrong("There is neither systemd nor pyudev.", "Put pyudev into the image and start 'usbupdate device monitor'.")
    if not udev.exists():
        return Wrong("There is neither systemd nor a running udev.", "Start udevd, then 'usbupdate device monitor'.")
    return "no systemd here: 'usbupdate device monitor' must be started at every start"


def _programs(programs: tuple[str, ...]) -> str | Wrong:
    path = process.BARE_ENVIRONMENT["PATH"]
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        return Wrong(f"Missing: {', '.join(missing)}.", "Add util-linux and systemd to the image.")
    return ", ".join(programs)


def _watchdog(surroundings: Surroundings) -> str | Wrong:
    if not any(path.exists() for path in surroundings.watchdogs):
        return Wrong(
            "There is no hardware watchdog, so a release that hangs on trial stands still.",
            "Use the watchdog of the board, or load softdog, which helps against less.",
        )
    if surroundings.has_systemd and _manager_setting(surroundings, "RuntimeWatchdogSec").lower() in _OFF:
        return Wrong("Nobody feeds the watchdog.", "Install system.conf.d/usbupdate.conf; see systemd/README.md.")
    return "it is there, and it is fed"


def _manager_setting(surroundings: Surroundings, key: str) -> str:
    """Return what systemd's own configuration says last; a drop-in stands above the file, a later name above an earlier."""
    files = [folder / "system.conf" for folder in surroundings.manager_folders]
    drop_ins = {
        path.name: path for folder in surroundings.manager_folders for path in (folder / "system.conf.d").glob("*.conf")
    }
    value = ""
    for path in [*files, *(drop_ins[name] for name in sorted(drop_ins))]:
        for found in re.findall(rf"^\s*{key}\s*=(.*)$", read_small(path), re.MULTILINE):
            value = found.strip()
    return value


def _byte_code(module: Path) -> str | Wrong:
    cached = Path(importlib.util.cache_from_source(str(module)))
    if cached.exists():
        return "compiled"
    folder = cached.parent if cached.parent.exists() else module.parent
    if not os.access(folder, os.W_OK):
        return Wrong(
            "Python's byte code is not there and cannot be kept, so every start compiles everything anew.",
            "Run 'python3 -m compileall' over the libraries when the image is built.",
        )
    return "compiled at the first start"


def _signal_command(command: tuple[str, ...]) -> str | Wrong:
    if not command:
        return "none configured"
    if not os.access(command[0], os.X_OK) or not Path(command[0]).is_file():
        return Wrong(f"{command[0]} is no executable.", "Put it there, or leave signals.command out.")
    if found := changeable_program(command):
        return Wrong(f"{command[0]} is not run: {found.text}", found.advice)
    return command[0]


def _signal_light(led: str | None, leds: Path) -> str | Wrong:
    if led is None:
        return "none configured"
    if not (leds / led / "brightness").exists():
        there = ", ".join(sorted(path.name for path in leds.iterdir())) if leds.is_dir() else ""
        return Wrong(f"There is no LED {led}.", f"There are: {there or 'none'}.")
    if "timer" not in read_small(leds / led / "trigger").replace("[", " ").replace("]", " ").split():
        return Wrong(
            f"The LED {led} cannot blink by itself.", "Build the kernel with the LED trigger 'timer', or load ledtrig-timer."
        )
    return led
