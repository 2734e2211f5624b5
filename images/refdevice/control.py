"""The command `usbupdate-vm`: builds the virtual device and its sticks, and does to it what a person's hands would do."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice import release, rootfs
from refdevice.called import DEVICE, called
from refdevice.commands import BuildError
from refdevice.journal import IS_UP, LAST, SAID, signal_in
from refdevice.kept import KeptDevice, KeptError
from refdevice.machine import CONSOLE, Hold
from refdevice.qmp import QmpError
from refdevice.release import Fault, Release
from refdevice.stickimage import MIB, FileSystem, make_stick, read_stick
from refdevice.terminal import keep_on, say
from usbupdate.device.signals import Signal
from usbupdate.errors import ExitCode, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Sequence

_UP: Final = "up"
_WAIT_S: Final = 900.0
_RUN_S: Final = 300.0
_STICK_LEAST: Final = 128 * MIB
_STICK: Final = "STICK.img"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is told in one sentence, and in another what to do."""
    options = _parser().parse_args(arguments)
    # Builds tell what they do: some take a minute.
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    try:
        return int(_COMMANDS[options.command](options))
    except KeyboardInterrupt:
        return ExitCode.STOPPED
    except (KeptError, BuildError, QmpError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is the command line
        return ExitCode.INPUT
    except UsbupdateError as error:
        print(f"{error}\n{error.hint}", file=sys.stderr)  # noqa: T201 - this is the command line
        return error.exit_code
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Mend that and try again.", file=sys.stderr)  # noqa: T201 - as above
        return ExitCode.INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="usbupdate-vm", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, says: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=says, description=says, allow_abbrev=False)

    def on_device(name: str, says: str, **before: tuple[str, str]) -> argparse.ArgumentParser:
        made = command(name, says)
        for argument, (shown, meaning) in before.items():
            made.add_argument(argument, metavar=shown, help=meaning)
        made.add_argument("device", type=Path, nargs="?", default=DEVICE, metavar="DEVICE", help="folder, default: vm-device")
        return made

    build = on_device("build", "make a device that runs release 1.0")
    build.add_argument("--root", type=Path, required=True, help="the office's metadata/1.root.json")
    made = command("release", "make the image of another release, for 'usbupdate bundle create'")
    made.add_argument("--root", type=Path, required=True, help="the office's metadata/1.root.json")
    made.add_argument("--version", required=True, help="as people call it, such as 2.0")
    made.add_argument("--sequence", type=int, required=True, help="a number that rises with every release")
    faults = "; ".join(f"{each}: {each.words}" for each in Fault)
    made.add_argument("--fault", choices=list(map(str, Fault)), metavar="FAULT", help=f"what is wrong with it. {faults}")
    made.add_argument("image", type=Path, metavar="IMAGE", help="the file to make")
    stick = command("stick", "make the image of a USB stick from what 'usbupdate stick write' wrote into a folder")
    stick.add_argument("folder", type=Path, metavar="FOLDER", help="what was written")
    stick.add_argument("stick", type=Path, metavar=_STICK, help="the file to make")
    stick.add_argument("--filesystem", choices=["vfat", "exfat"], default="vfat")
    unstick = command("unstick", "copy what lies on a stick into a folder, for the auditor")
    unstick.add_argument("stick", type=Path, metavar=_STICK, help="a stick that no device has in")
    unstick.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to make")
    start = on_device("start", "switch the device on, on this terminal")
    start.add_argument("--background", action="store_true", help="go on when it is up, and let it run")
    start.add_argument(
        "--example", type=Path, default=Path(_STICK), metavar=_STICK, help="the stick that the instructions on the screen name"
    )
    on_device(
        "plug",
        "plug a stick in; where the device is off, it is in at the next start",
        stick=(_STICK, "the stick's image, made by 'stick'"),
    )
    on_device("pull", "pull the stick out, whatever the device does with it")
    on_device("power-cut", "pull the power cord")
    on_device("status", "show what the device signals, and what it runs")
    on_device("log", "show what stood on the device's screen since it was switched on")
    wait = command("wait", "wait until the device gives a signal since the last stick was plugged in, or until it is up")
    wait.add_argument("signal", choices=[_UP, *map(str, Signal)], metavar=f"{{{','.join([_UP, *Signal])}}}")
    wait.add_argument("device", type=Path, nargs="?", default=DEVICE, metavar="DEVICE", help="folder, default: vm-device")
    wait.add_argument("--limit", type=float, default=_WAIT_S, metavar="SECONDS", help=f"give up after so long; {_WAIT_S:g}")
    on_device("run", "run a command in the device, as root", line=("COMMAND", "for the device's shell, in quotes: 'df -h'"))
    return parser


def _build(options: argparse.Namespace) -> int:
    _prepare(options.root)
    KeptDevice(options.device).build(Release("1.0", 1, options.root))
    say(f"The device is in {options.device}. Switch it on: {called('start', options.device)}")
    return ExitCode.OK


def _release(options: argparse.Namespace) -> int:
    _prepare(options.root)
    fault = None if options.fault is None else Fault(options.fault)
    part = options.image.with_name(f"{options.image.name}.part")
    try:
        release.build(Release(options.version, options.sequence, options.root, fault), part)
        part.rename(options.image)
    finally:
        part.unlink(missing_ok=True)
    say(f"Release {options.version} is in {options.image}.")
    return ExitCode.OK


def _prepare(root: Path) -> None:
    """Build what is the same for all releases, and go on with root's rights, real or faked."""
    if not root.is_file():
        raise KeptError(f"There is no root of trust {root}. Make an office with 'usbupdate repo init'.")
    # Before the rights are faked: the Debian system is made with its own means, which faked rights are in the way of.
    rootfs.base()
    rootfs.require_root()


def _stick(options: argparse.Namespace) -> int:
    content = sum(each.stat().st_size for each in options.folder.rglob("*") if each.is_file())
    # What the file system needs for itself, and as much again for the devices' logs.
    size = max(_STICK_LEAST, (content * 9 // 8 // MIB + 64) * MIB)
    make_stick(options.stick, options.folder, size=size, filesystem=FileSystem(options.filesystem))
    say(f"The stick is in {options.stick}. Plug it in: {called(f'plug {options.stick}')}")
    return ExitCode.OK


def _unstick(options: argparse.Namespace) -> int:
    read_stick(options.stick, options.folder)
    say(f"What lies on the stick is in {options.folder}.")
    return ExitCode.OK


def _start(options: argparse.Namespace) -> int:
    device = KeptDevice(options.device)
    if options.background:
        device.start(Hold.DETACHED)
        _await(device, _UP, _WAIT_S)
    else:
        keep_on(device, options.example)
    return ExitCode.OK


def _plug(options: argparse.Namespace) -> int:
    device = KeptDevice(options.device)
    device.plug(Path(options.stick))
    say(f"{options.stick} is in." if device.runs() else f"{options.stick} will be in when the device is switched on.")
    return ExitCode.OK


def _pull(options: argparse.Namespace) -> int:
    say(f"{KeptDevice(options.device).pull().name} is out.")
    return ExitCode.OK


def _power_cut(options: argparse.Namespace) -> int:
    KeptDevice(options.device).cut_power()
    say(f"The power is cut. Switch it on again: {called('start', options.device)}")
    return ExitCode.OK


def _status(options: argparse.Namespace) -> int:
    shown = KeptDevice(options.device).glance()
    stick = "none" if shown.stick is None else shown.stick.name
    say(f"signal:   {shown.sentence or 'none since it was switched on'}")
    say(f"slot:     {shown.slot}\nrelease:  {shown.version} (sequence {shown.sequence})\nstick:    {stick}")
    return ExitCode.OK


def _log(options: argparse.Namespace) -> int:
    try:
        shown = (options.device / f"{CONSOLE}.log").read_bytes()
    except FileNotFoundError as error:
        raise KeptError(f"No device ever ran in {options.device}. Switch it on: {called('start', options.device)}") from error
    sys.stdout.buffer.write(shown if shown.endswith(b"\n") else shown + b"\n")
    return ExitCode.OK


def _wait(options: argparse.Namespace) -> int:
    _await(KeptDevice(options.device), options.signal, options.limit)
    return ExitCode.OK


def _await(device: KeptDevice, wanted: str, limit_s: float) -> None:
    for line in device.follow(0 if wanted == _UP else device.since(), limit_s=limit_s):
        if wanted == _UP and IS_UP.search(line):
            return
        said = SAID.search(line)
        if said is None:
            continue
        say(said["text"])
        signal = signal_in(said["text"])
        if signal is not None and signal == wanted:
            return
        if signal in LAST and wanted != _UP:
            look = called("status", device.folder)
            raise KeptError(f"The device did not signal '{wanted}' but what stands above. Look closer: {look}")
    if device.runs():
        raise KeptError(
            f"The device did not signal '{wanted}' in {limit_s:g} seconds. Look at it: {called('log', device.folder)}"
        )
    raise KeptError(f"The device was switched off meanwhile. Switch it on: {called('start', device.folder)}")


def _run(options: argparse.Namespace) -> int:
    output, exit_code = KeptDevice(options.device).run(options.line, limit_s=_RUN_S)
    say(output)
    return exit_code


_COMMANDS: Final = {
    "build": _build,
    "release": _release,
    "stick": _stick,
    "unstick": _unstick,
    "start": _start,
    "plug": _plug,
    "pull": _pull,
    "power-cut": _power_cut,
    "status": _status,
    "log": _log,
    "wait": _wait,
    "run": _run,
}
