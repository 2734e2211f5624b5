"""The command `usbupdate-vm`: builds the virtual device and its sticks, and does to it what a person's hands would do."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import termios
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice import release, rootfs
from refdevice.commands import BuildError
from refdevice.kept import KeptDevice, KeptError
from refdevice.machine import CONSOLE, Hold
from refdevice.qmp import QmpError
from refdevice.release import Fault, Release
from refdevice.stickimage import MIB, FileSystem, make_stick, read_stick
from usbupdate.device.signals import Signal
from usbupdate.errors import ExitCode, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DEVICE: Final = Path("vm-device")
_UP: Final = "up"
_IS_UP: Final = re.compile(r"systemd\[1\]: usbupdate-boot\.service: (Deactivated successfully|Failed with result)")
_SAID: Final = re.compile(r"\busbupdate\[\d+\]: (?P<text>.+)")
_LAST: Final = frozenset({Signal.DONE, Signal.REFUSED, Signal.FAILED, Signal.INSTALLED})
"""After one of these the device does no more until a person does something."""
_WAIT_S: Final = 900.0
_RUN_S: Final = 300.0
_STICK_LEAST: Final = 128 * MIB
_HANDS: Final = """\
This is the device's own screen and keyboard. From a second terminal, in this folder:
  usbupdate-vm plug STICK.img   plug a stick in        usbupdate-vm status      what the device says
  usbupdate-vm pull             pull it out            usbupdate-vm power-cut   pull the power cord
Ctrl-A, then X, switches it off for good.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is told in one sentence, and in another what to do."""
    options = _parser().parse_args(arguments)
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

    def on_device(name: str, says: str, *before: str) -> argparse.ArgumentParser:
        made = command(name, says)
        for argument in before:
            made.add_argument(argument)
        made.add_argument("device", type=Path, nargs="?", default=_DEVICE, metavar="DEVICE", help="folder, default: vm-device")
        return made

    build = on_device("build", "make a device that runs release 1.0")
    build.add_argument("--root", type=Path, required=True, help="the office's metadata/1.root.json")
    made = command("release", "make the image of another release, for 'usbupdate bundle create'")
    made.add_argument("--root", type=Path, required=True, help="the office's metadata/1.root.json")
    made.add_argument("--version", required=True, help="as people call it, such as 2.0")
    made.add_argument("--sequence", type=int, required=True, help="a number that rises with every release")
    made.add_argument("--fault", choices=list(map(str, Fault)), metavar=f"{{{','.join(Fault)}}}", help="what is wrong with it")
    made.add_argument("image", type=Path, metavar="IMAGE", help="the file to make")
    stick = command("stick", "make the image of a USB stick from what 'usbupdate stick write' wrote into a folder")
    stick.add_argument("folder", type=Path, metavar="FOLDER")
    stick.add_argument("stick", type=Path, metavar="STICK.img")
    stick.add_argument("--filesystem", choices=["vfat", "exfat"], default="vfat")
    unstick = command("unstick", "copy what lies on a stick into a folder, for the auditor")
    unstick.add_argument("stick", type=Path, metavar="STICK.img")
    unstick.add_argument("folder", type=Path, metavar="FOLDER")
    start = on_device("start", "switch the device on, on this terminal")
    start.add_argument("--background", action="store_true", help="go on when it is up, and let it run")
    on_device("plug", "plug a stick in", "stick")
    on_device("pull", "pull the stick out, whatever the device does with it")
    on_device("power-cut", "pull the power cord")
    on_device("status", "show what the device signals, and what it runs")
    on_device("log", "show what stood on the device's screen since it was switched on")
    wait = command("wait", "wait until the device gives a signal since the last stick was plugged in, or until it is up")
    wait.add_argument("signal", choices=[_UP, *map(str, Signal)], metavar=f"{{{','.join([_UP, *Signal])}}}")
    wait.add_argument("device", type=Path, nargs="?", default=_DEVICE, metavar="DEVICE", help="folder, default: vm-device")
    wait.add_argument("--limit", type=float, default=_WAIT_S, metavar="SECONDS", help=f"give up after so long; {_WAIT_S:g}")
    on_device("run", "run a command in the device, as root", "line")
    return parser


def _build(options: argparse.Namespace) -> int:
    _prepare(options.root)
    KeptDevice(options.device).build(Release("1.0", 1, options.root))
    _say(f"The device is in {options.device}. Switch it on: usbupdate-vm start")
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
    _say(f"Release {options.version} is in {options.image}.")
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
    _say(f"The stick is in {options.stick}. Plug it in: usbupdate-vm plug {options.stick}")
    return ExitCode.OK


def _unstick(options: argparse.Namespace) -> int:
    read_stick(options.stick, options.folder)
    _say(f"What lies on the stick is in {options.folder}.")
    return ExitCode.OK


def _start(options: argparse.Namespace) -> int:
    device = KeptDevice(options.device)
    if options.background:
        device.start(Hold.DETACHED)
        _await(device, _UP, _WAIT_S)
        return ExitCode.OK
    device.require_startable()
    _say(_HANDS)
    while True:
        with _terminal_kept():
            machine = device.start(Hold.TERMINAL)
            threading.Thread(target=_relay, args=(device,), daemon=True).start()
            code = machine.wait()
        if code == 0:
            _say("\nThe device is switched off. Its disk keeps all that it had: usbupdate-vm start")
            return ExitCode.OK
        _say("\nThe power was cut. Enter switches the device on again, Ctrl-C leaves it off.")
        if not sys.stdin.readline():
            return ExitCode.OK


def _relay(device: KeptDevice) -> None:
    """Show on this terminal what the device tells the person in front of it, as its light or its screen would."""
    with contextlib.suppress(KeptError):
        for line in device.follow(0, limit_s=None):
            if (said := _SAID.search(line)) is not None:
                # QEMU has the terminal, in which a line feed only goes down.
                print(f"\r\n  usbupdate says: {said['text']}\r", flush=True)  # noqa: T201 - this is the command line


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Give the terminal back as it was: a QEMU that lost its power does not."""
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)


def _plug(options: argparse.Namespace) -> int:
    device = KeptDevice(options.device)
    device.plug(Path(options.stick))
    _say(f"{options.stick} is in." if device.runs() else f"{options.stick} will be in when the device is switched on.")
    return ExitCode.OK


def _pull(options: argparse.Namespace) -> int:
    _say(f"{KeptDevice(options.device).pull().name} is out.")
    return ExitCode.OK


def _power_cut(options: argparse.Namespace) -> int:
    KeptDevice(options.device).cut_power()
    _say("The power is cut. Switch it on again: usbupdate-vm start")
    return ExitCode.OK


def _status(options: argparse.Namespace) -> int:
    shown = KeptDevice(options.device).glance()
    stick = "none" if shown.stick is None else shown.stick.name
    _say(f"signal:   {shown.sentence or 'none since it was switched on'}")
    _say(f"slot:     {shown.slot}\nrelease:  {shown.version} (sequence {shown.sequence})\nstick:    {stick}")
    return ExitCode.OK


def _log(options: argparse.Namespace) -> int:
    try:
        shown = (options.device / f"{CONSOLE}.log").read_bytes()
    except FileNotFoundError as error:
        raise KeptError(f"No device ever ran in {options.device}. Switch it on: usbupdate-vm start") from error
    sys.stdout.buffer.write(shown)
    return ExitCode.OK


def _wait(options: argparse.Namespace) -> int:
    _await(KeptDevice(options.device), options.signal, options.limit)
    return ExitCode.OK


def _await(device: KeptDevice, wanted: str, limit_s: float) -> None:
    for line in device.follow(0 if wanted == _UP else device.since(), limit_s=limit_s):
        if wanted == _UP and _IS_UP.search(line):
            return
        said = _SAID.search(line)
        if said is None:
            continue
        _say(said["text"])
        signal = _signal_in(said["text"])
        if signal is not None and signal == wanted:
            return
        if signal in _LAST and wanted != _UP:
            raise KeptError(f"The device did not signal '{wanted}' but what stands above. Look closer: usbupdate-vm status")
    if device.runs():
        raise KeptError(f"The device did not signal '{wanted}' in {limit_s:g} seconds. Look at it: usbupdate-vm log")
    raise KeptError("The device was switched off meanwhile. Switch it on: usbupdate-vm start")


def _signal_in(text: str) -> Signal | None:
    return next((each for each in Signal if text == each.words or text.startswith(f"{each.words}: ")), None)


def _run(options: argparse.Namespace) -> int:
    output, exit_code = KeptDevice(options.device).run(options.line, limit_s=_RUN_S)
    _say(output)
    return exit_code


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is the command line


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
