"""A virtual device that is kept in a folder and used from several terminals: its disk, its power, and the stick that is in it.

The folder holds, beside what `machine` keeps there: `disk.raw`, `qemu.pid`, `stick` (the path of the image that is plugged in),
and `since` (where in the journal the last stick was plugged in, for whoever waits for what comes of it).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal as signals
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from refdevice import disk, machine, release
from refdevice.called import called
from refdevice.channels import connected
from refdevice.machine import JOURNAL, QMP, SHELL, Disk, Hold, Machine, Start, Stick
from refdevice.qmp import Qmp
from refdevice.shell import Shell
from refdevice.transcript import CONTROL, NotHeardError, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refdevice.release import Release

_DISK: Final = "disk.raw"
_PID: Final = "qemu.pid"
_STICK: Final = "stick"
_SINCE: Final = "since"
_QEMU: Final = "qemu-system-x86_64"
_BOOTING: Final = "usbupdate: booting slot"
_READY: Final = "shell-is-ready"
_GLANCE_S: Final = 60.0
_ENDS_MS: Final = 60_000
_GLANCE: Final = (
    "cat /run/usbupdate/status.json 2>/dev/null || echo '{}'; cat /usr/lib/usbupdate/release.json; "
    "sed -n 's/.*usbupdate.slot=\\([^ ]*\\).*/\\1/p' /proc/cmdline"
)


class KeptError(Exception):
    """A person asked for what cannot be done as things are; the text says what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Glance:
    """How a device stands: what it signalled last, its slot by the boot loader's name, its release, and the stick in it."""

    sentence: str
    slot: str
    version: str
    sequence: int
    stick: Path | None


class KeptDevice:
    """A device in a folder.

    Args:
        folder: the device's own; made by `build`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, first: Release) -> None:
        """Make the device's disk as a factory would, with its first release in both slots.

        Raises:
            KeptError: there is a device already.
            BuildError: a program failed or is missing.
        """
        if (self.folder / _DISK).exists():
            raise KeptError(f"There is a device in {self.folder} already. Name another folder, or remove this one.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            image, made = Path(scratch) / "release", Path(scratch) / _DISK
            release.build(first, image)
            disk.build(image, disk.BootScript.USBUPDATE, made)
            made.rename(self.folder / _DISK)

    def require_startable(self) -> None:
        """Return if it can be switched on.

        Raises:
            KeptError: there is no device, it runs already, or QEMU is not installed.
        """
        if not (self.folder / _DISK).exists():
            raise KeptError(
                f"There is no device in {self.folder}. Make one: {self._hint('build --root OFFICE/metadata/1.root.json')}"
            )
        if self.runs():
            raise KeptError(f"The device in {self.folder} is switched on already. Switch it off: {self._hint('power-cut')}")
        if shutil.which(_QEMU) is None or not machine.FIRMWARE.exists():
            raise KeptError("QEMU or its firmware is missing. Run 'make vm-install' first.")

    def start(self, hold: Hold) -> Machine:
        """Switch it on, with the stick that is in.

        Raises:
            KeptError: as `require_startable`.
            QmpError: QEMU did not start.
        """
        self.require_startable()
        started = Machine(self.folder, Start(Disk(self.folder / _DISK), hold=hold))
        (self.folder / _PID).write_text(f"{started.pid}\n")
        (self.folder / _SINCE).write_text("0\n")
        stick = self.stick()
        if stick is not None:
            started.plug(Stick(stick))
        started.run()
        # QEMU takes one connection at a time: from now on the other terminals' commands have it.
        started.qmp.close()
        return started

    def runs(self) -> bool:
        """Tell whether it is switched on."""
        try:
            connected(self.folder / QMP).close()
        except OSError:
            return False
        return True

    def cut_power(self) -> None:
        """Switch it off in the middle of whatever it does.

        Raises:
            KeptError: it is switched off, or does not end.
        """
        self._require_running()
        pid = int((self.folder / _PID).read_text())
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                signals.pidfd_send_signal(handle, signals.SIGKILL)
                # Until it is gone, its disk and its sockets are taken.
                gone = select.poll()
                gone.register(handle, select.POLLIN)
                if not gone.poll(_ENDS_MS):
                    raise KeptError("The machine does not end. Look whether its process hangs on a disk.")
            finally:
                os.close(handle)

    def stick(self) -> Path | None:
        """Return the image that is plugged in, if any."""
        note = self.folder / _STICK
        return Path(note.read_text().rstrip("\n")) if note.exists() else None

    def plug(self, image: Path) -> None:
        """Plug a stick in; where the device is switched off, it is in at the next start.

        Raises:
            KeptError: there is no such image, or a stick is in already.
            QmpError: QEMU refused it.
        """
        if image.is_dir():
            made = image.with_name(f"{image.name}.img")
            raise KeptError(f"{image} is a folder. Make a stick of it first: {called(f'stick {image} {made}')}")
        if not image.is_file():
            raise KeptError(f"There is no stick {image}. Make one: {called(f'stick FOLDER {image}')}")
        if (inside := self.stick()) is not None:
            raise KeptError(f"{inside} is in already. Pull it first: {self._hint('pull')}")
        if self.runs():
            (self.folder / _SINCE).write_text(f"{(self.folder / f'{JOURNAL}.log').stat().st_size}\n")
            with Qmp(self.folder / QMP) as qmp:
                machine.plug(qmp, Stick(image), _STICK)
        (self.folder / _STICK).write_text(f"{image.resolve()}\n")

    def pull(self) -> Path:
        """Pull the stick out, whatever the device does with it, and return its image.

        Raises:
            KeptError: there is none.
            QmpError: QEMU refused it.
        """
        inside = self.stick()
        if inside is None:
            raise KeptError(f"No stick is in. Plug one in first: {self._hint('plug STICK.img')}")
        if self.runs():
            with Qmp(self.folder / QMP) as qmp:
                machine.pull(qmp, _STICK)
        (self.folder / _STICK).unlink()
        return inside

    def run(self, command: str, *, limit_s: float) -> tuple[str, int]:
        """Run a command line in the device and return what it wrote and its exit code.

        Raises:
            KeptError: it is switched off, still starting, or does not answer.
        """
        self._require_running()
        said = (self.folder / f"{SHELL}.log").read_text(errors="replace")
        # The firmware and the boot loader write to this port too.
        if said.rfind(_READY) < max(0, said.rfind(_BOOTING)):
            raise KeptError(f"The device is starting. Wait for it: {self._hint('wait up')}")
        connection = connected(self.folder / SHELL)
        try:
            return Shell(connection, Transcript({SHELL: connection})).attempt(command, limit_s=limit_s)
        except (NotHeardError, OSError) as error:
            wait = self._hint("wait up")
            raise KeptError(f"The device does not answer; it may be starting. Wait for it: {wait}") from error

    def glance(self) -> Glance:
        """Return how it stands.

        Raises:
            KeptError: as `run`.
        """
        output, _ = self.run(_GLANCE, limit_s=_GLANCE_S)
        signal, said, slot = output.splitlines()[:3]
        status, release_json = json.loads(signal), json.loads(said)
        return Glance(status.get("sentence", ""), slot, release_json["version"], release_json["sequence"], self.stick())

    def since(self) -> int:
        """Return where in the journal the last stick was plugged in, or the device was switched on.

        Raises:
            KeptError: it is switched off.
        """
        self._require_running()
        return int((self.folder / _SINCE).read_text())

    def follow(self, position: int, *, limit_s: float | None) -> Iterator[str]:
        """Yield the lines of the journal from a position on as they come, until it is switched off or the time is up.

        Raises:
            KeptError: it is switched off.
        """
        self._require_running()
        pid = (self.folder / _PID).read_text().strip()
        tail = ["tail", "--follow", f"--bytes=+{position + 1}", f"--pid={pid}", str(self.folder / f"{JOURNAL}.log")]
        # Where the next start begins the file anew, a tail of the last start would say so on the person's screen.
        with subprocess.Popen(tail, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as following:  # noqa: S603 - it runs until the caller has enough
            timer = threading.Timer(limit_s, following.kill) if limit_s is not None else None
            if timer is not None:
                timer.start()
            try:
                for line in following.stdout or ():
                    yield CONTROL.sub("", line.decode(errors="replace")).rstrip()
            finally:
                if timer is not None:
                    timer.cancel()
                following.kill()

    def _require_running(self) -> None:
        if not self.runs():
            raise KeptError(f"The device in {self.folder} is switched off. Switch it on: {self._hint('start')}")

    def _hint(self, words: str) -> str:
        return called(words, self.folder)
