"""The reference device as a machine: QEMU by plain emulation, with a disk, a watchdog and USB ports, and no network at all.

A running machine's sockets stand in its folder: `qmp` (control), `shell` (a root shell), `console` and `journal` (what it says,
also kept in `console.log` and `journal.log`).
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from refdevice.channels import listening
from refdevice.layout import MEMORY_MIB
from refdevice.qmp import Qmp, QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usbupdate.core.strictjson import Json

FIRMWARE: Final = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES: Final = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
QMP: Final = "qmp"
SHELL: Final = "shell"
CONSOLE: Final = "console"
JOURNAL: Final = "journal"
_CHANNELS: Final = (QMP, SHELL, CONSOLE, JOURNAL)
_VARIABLES_COPY: Final = "firmware-variables.fd"
_OUTPUT: Final = "qemu.log"
_END_S: Final = 60.0


class Hold(StrEnum):
    """How a machine hangs on the process that switched it on."""

    CHILD = "child"
    TERMINAL = "terminal"
    """Its first serial port is this terminal; Ctrl-A X ends it."""
    DETACHED = "detached"
    """It runs on when the process and its terminal are gone."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The device's own disk: a file, its format, and where every write and flush is recorded, if anywhere."""

    path: Path
    format: str = "raw"
    record: Path | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """How a machine is switched on.

    `clock` is what its battery-backed clock says: `utc`, or a time such as `2001-01-01T00:00:00`. `saved` is a machine's whole
    memory, from `Machine.save`, to go on from instead of booting.
    """

    disk: Disk
    clock: str = "utc"
    saved: Path | None = None
    hold: Hold = Hold.CHILD


@dataclass(frozen=True, slots=True)
class Stick:
    """A stick to plug in: a raw disk image, whether it is write-protected, and the sectors of 512 bytes that cannot be read.

    `record` is a file in which every write and flush is recorded, if any; see `Disk`.
    """

    image: Path
    read_only: bool = False
    broken_sectors: Sequence[int] = field(default=())
    serial: str = "0001"
    record: Path | None = None


class Machine:
    """A machine that was switched on, stopped before its first instruction until `run` is called.

    Args:
        folder: the machine's own; what an earlier run left there of logs and sockets is replaced.
        start: how it is switched on.

    Raises:
        QmpError: QEMU did not start; its own words are in `qemu.log`.
    """

    def __init__(self, folder: Path, start: Start) -> None:
        self.folder = folder
        self._start = start
        if not (folder / _VARIABLES_COPY).exists():
            shutil.copyfile(VARIABLES, folder / _VARIABLES_COPY)
        sockets = {name: listening(folder / name) for name in _CHANNELS}
        with contextlib.ExitStack() as stack:
            for each in sockets.values():
                stack.enter_context(each)
            output = stack.enter_context((folder / _OUTPUT).open("wb"))
            on_terminal = start.hold is Hold.TERMINAL
            streams = None if on_terminal else output
            self._process = subprocess.Popen(  # noqa: S603 - runs for as long as the machine does, which the one door cannot
                _command(start, {name: each.fileno() for name, each in sockets.items()}),
                cwd=folder,
                stdin=None if on_terminal else subprocess.DEVNULL,
                stdout=streams,
                stderr=streams,
                pass_fds=[each.fileno() for each in sockets.values()],
                start_new_session=start.hold is Hold.DETACHED,
            )
        try:
            self.qmp = Qmp(folder / QMP)
        except QmpError as error:
            self._process.wait(_END_S)
            raise QmpError(f"QEMU did not start: {(folder / _OUTPUT).read_text(errors='replace').strip()}") from error

    def __enter__(self) -> Self:
        """Return the machine itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Cut its power, whatever it does."""
        self.cut_power()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def run(self) -> None:
        """Let it run; a saved memory is read first."""
        if self._start.saved is not None:
            self._await_migration("migrate-incoming", f"exec:cat '{self._start.saved.resolve()}'")
        self.qmp.ask("cont")

    def plug(self, stick: Stick, name: str = "stick") -> None:
        """Plug a stick in.

        Raises:
            QmpError: the image cannot be opened, or another stick has this name.
        """
        plug(self.qmp, stick, name)

    def pull(self, name: str = "stick") -> None:
        """Pull a stick out, at once and whatever the device does with it."""
        pull(self.qmp, name)

    def registers(self) -> str:
        """Return what its processor is at, in QEMU's words: for a machine that says nothing any more."""
        return str(self.qmp.ask("human-monitor-command", **{"command-line": "info registers"}))

    def save(self, target: Path) -> None:
        """Write the machine's whole memory into a file, and leave it stopped."""
        self.qmp.ask("stop")
        self._await_migration("migrate", f"exec:cat >'{target.resolve()}'")

    def _await_migration(self, command: str, uri: str) -> None:
        capability: Json = {"capability": "events", "state": True}
        self.qmp.ask("migrate-set-capabilities", capabilities=[capability])
        self.qmp.ask(command, uri=uri)
        while (status := self.qmp.wait_for("MIGRATION").get("status")) != "completed":
            if status == "failed":
                raise QmpError("the machine's memory could not be moved")

    def end(self) -> None:
        """Switch it off so that QEMU finishes its own files; for the device this is a power cut all the same."""
        with contextlib.suppress(QmpError):
            self.qmp.ask("quit")
        self._wait()

    def cut_power(self) -> None:
        """Switch it off in the middle of whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._wait()

    def wait(self) -> int:
        """Wait until QEMU ends by itself and return its exit code."""
        return self._process.wait()

    def _wait(self) -> None:
        self._process.wait(_END_S)
        self.qmp.close()


def plug(qmp: Qmp, stick: Stick, name: str) -> None:
    """Plug a stick into the machine behind a connection; see `Machine.plug`."""
    image: dict[str, Json] = {"driver": "file", "filename": str(stick.image.resolve())}
    if stick.broken_sectors:
        errors: list[Json] = [{"event": "read_aio", "sector": sector, "errno": 5} for sector in stick.broken_sectors]
        image = {"driver": "blkdebug", "image": image, "inject-error": errors}
    medium: dict[str, Json] = {"driver": "raw", "read-only": stick.read_only, "file": image}
    if stick.record is not None:
        # It must be there for a recorder that is added to a running machine.
        stick.record.touch()
        record: dict[str, Json] = {"driver": "file", "filename": str(stick.record.resolve())}
        medium = {"driver": "blklogwrites", "file": medium, "log": record, "log-sector-size": 512}
    qmp.ask("blockdev-add", **medium, **{"node-name": f"{name}-medium"})
    try:
        qmp.ask(
            "device_add",
            driver="usb-storage",
            id=name,
            bus="usb.0",
            drive=f"{name}-medium",
            removable=True,
            serial=stick.serial,
        )
    except QmpError:
        qmp.ask("blockdev-del", **{"node-name": f"{name}-medium"})
        raise


def pull(qmp: Qmp, name: str) -> None:
    """Pull a stick out of the machine behind a connection; see `Machine.pull`."""
    qmp.ask("device_del", id=name)
    qmp.wait_for("DEVICE_DELETED", name)
    qmp.ask("blockdev-del", **{"node-name": f"{name}-medium"})


def _command(start: Start, sockets: Mapping[str, int]) -> list[str]:
    channel = "socket,id={0},fd={1},server=on,wait=off"
    characters = [f"{channel.format(name, number)},logfile={name}.log" for name, number in sockets.items() if name != QMP]
    if start.hold is Hold.TERMINAL:
        characters[characters.index(next(each for each in characters if f"id={CONSOLE}," in each))] = (
            f"stdio,id={CONSOLE},mux=on,signal=off,logfile={CONSOLE}.log"
        )
    options = [
        # One processor: with two, more restarts hung, before Linux was kept out of the firmware's memory; not tried since.
        *("-accel", "tcg,thread=multi", "-machine", "q35", "-smp", "1", "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-no-user-config", "-nic", "none", "-display", "none", "-S"),
        *("-rtc", f"base={start.clock},clock=vm"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}"),
        *("-drive", f"if=pflash,format=raw,file={_VARIABLES_COPY}"),
        *_disk_options(start.disk),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=0", "-device", "virtio-rng-pci"),
        *("-device", "qemu-xhci,id=usb", "-device", "i6300esb", "-action", "watchdog=reset"),
        *(option for each in characters for option in ("-chardev", each)),
        *("-serial", f"chardev:{CONSOLE}", "-serial", f"chardev:{SHELL}", "-serial", f"chardev:{JOURNAL}"),
        *("-chardev", channel.format(QMP, sockets[QMP]), "-mon", f"chardev={QMP},mode=control"),
    ]
    if start.hold is Hold.TERMINAL:
        options += ["-mon", f"chardev={CONSOLE},mode=readline"]
    if start.saved is not None:
        options += ["-incoming", "defer"]
    return ["qemu-system-x86_64", *options]


def _disk_options(disk: Disk) -> list[str]:
    """Return the options for the disk's data path, which ends in the node `disk`."""
    options = ["-blockdev", f"driver=file,filename={disk.path.resolve()},node-name=disk-file,discard=unmap"]
    if disk.record is None:
        return [*options, "-blockdev", f"driver={disk.format},file=disk-file,node-name=disk"]
    return [
        *options,
        *("-blockdev", f"driver={disk.format},file=disk-file,node-name=disk-data"),
        *("-blockdev", f"driver=file,filename={disk.record.resolve()},node-name=record"),
        *("-blockdev", "driver=blklogwrites,file=disk-data,log=record,log-sector-size=512,node-name=disk"),
    ]
