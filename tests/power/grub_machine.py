"""A disk as the reference device has it, started by the real GRUB: Debian's `grub-emu` runs GRUB's own code in a process.

Partition 1 is FAT with the boot script and its environment, partitions 2 and 3 hold the slots' kernels. What a process cannot
do, `linux` and `initrd`, are functions here that look for the file and write down the kernel's line by `save_env`.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from usbupdate.device.bootloaders import grubenv

MODULES = Path("/usr/lib/grub/x86_64-emu")
SCRIPTS = Path(__file__).parents[2] / "images" / "grub"
TOOLS = ("grub-emu", "sfdisk", "mkfs.fat", "mcopy", "mdel", "mmd")
MISSING = [tool for tool in TOOLS if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]

SECTOR = 512
STARTS = {1: 2048, 2: 4096, 3: 6144}
SECTORS = 2048
FILES = {"grubenv": b"\1", "committed": b"\2", "result": b"\3"}
PRELUDE = """
function linux {
    set line="$*"
    [ -f "$1" ]
}
function initrd {
    if [ -f "$1" ]; then
        set result="$line"
        save_env --file "($root)/grub/result" result
        exit
    else
        false
    fi
}
function serial { true; }
set root=hd0,gpt1
configfile ($root)/grub/grub.cfg
"""
_ENVIRONMENT = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "TERM": "dumb", "MTOOLS_SKIP_CHECK": "1"}


@dataclass(frozen=True)
class Started:
    """What GRUB did: the slot whose kernel it loaded last, None for a restart; the kernel's line; what it said; the block."""

    slot: str | None
    line: str
    said: str
    block: bytes


class GrubMachine:
    """A disk with one of our boot scripts, made in `folder`."""

    def __init__(self, folder: Path, script: str) -> None:
        self.disk = folder / "disk.img"
        self._prefix = folder / "prefix"
        self._prefix.mkdir(parents=True)
        for module in [*MODULES.glob("*.mod"), *MODULES.glob("*.lst")]:
            (self._prefix / module.name).symlink_to(module)
        (self._prefix / "grub.cfg").write_text(PRELUDE)
        (folder / "device.map").write_text(f"(hd0) {self.disk}\n")
        self._arguments = ["grub-emu", "-d", str(self._prefix), "-m", str(folder / "device.map"), "-r", "host"]
        self._make_disk(folder, script)

    def start(self, block: bytes, committed: bytes, *, can_write: bool = True) -> Started:
        """Turn it on with these two blocks of 1,024 bytes in its two files."""
        assert len(block) == len(committed) == grubenv.SIZE
        self._write("grubenv", block)
        self._write("committed", committed)
        return self.start_as_it_is(can_write=can_write)

    def start_as_it_is(self, *, can_write: bool = True) -> Started:
        """Turn it on with whatever is in its files."""
        self._write("result", EMPTY)
        said = self._run(can_write=can_write)
        line = grubenv.decode(self._read("result")).variables.get("result", "")
        slot = None if "restarting" in said else re.findall(r"usbupdate: booting slot (\w+)", said)[-1]
        return Started(slot, line, said, self._read("grubenv"))

    def put(self, partition: int, name: str, contents: bytes | None) -> None:
        """Put a file of any size into a partition, or remove it; `start` finds only files that were never put or removed."""
        file = f"{self.disk}@@{STARTS[partition] * SECTOR}"
        if contents is None:
            self._tool("mdel", "-i", file, f"::{name}")
            return
        source = self.disk.with_name("source")
        source.write_bytes(contents)
        self._tool("mcopy", "-o", "-i", file, str(source), f"::{name}")

    def _run(self, *, can_write: bool) -> str:
        def forbid_writing() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        finished = subprocess.run(
            self._arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_ENVIRONMENT,
            timeout=60,
            check=False,
            preexec_fn=None if can_write else forbid_writing,
        )
        return finished.stdout.decode("utf-8", "replace")

    def _write(self, name: str, contents: bytes) -> None:
        with self.disk.open("r+b") as disk:
            disk.seek(self._places[name])
            disk.write(contents)

    def _read(self, name: str) -> bytes:
        with self.disk.open("rb") as disk:
            disk.seek(self._places[name])
            return disk.read(grubenv.SIZE)

    def _make_disk(self, folder: Path, script: str) -> None:
        # Nothing but the pause before a restart is left out of the script: a test does not sleep.
        text = re.sub(r"(?m)^( *)sleep [0-9]+$", r"\1true", (SCRIPTS / script).read_text("utf-8"))
        (folder / "grub.cfg").write_text(text)
        part = folder / "part.img"
        table = "label: gpt\n" + "".join(f"start={start}, size={SECTORS}\n" for start in STARTS.values())
        with self.disk.open("wb") as disk:
            disk.truncate((STARTS[3] + SECTORS + 2048) * SECTOR)
        subprocess.run(["sfdisk", "-q", str(self.disk)], input=table.encode(), check=True, env=_ENVIRONMENT)
        for number, start in STARTS.items():
            part.unlink(missing_ok=True)
            with part.open("wb") as file:
                file.truncate(SECTORS * SECTOR)
            self._tool("mkfs.fat", "-i", f"0000000{number}", str(part))
            if number == 1:
                self._tool("mmd", "-i", str(part), "::grub")
            with self.disk.open("r+b") as disk:
                disk.seek(start * SECTOR)
                disk.write(part.read_bytes())
        self.put(1, "grub/grub.cfg", (folder / "grub.cfg").read_bytes())
        for name, mark in FILES.items():
            self.put(1, f"grub/{name}", mark * grubenv.SIZE)
        for number in (2, 3):
            self.put(number, "vmlinuz", b"kernel")
            self.put(number, "initrd.img", b"initramfs")
        whole = self.disk.read_bytes()
        self._places = {name: whole.index(mark * grubenv.SIZE) for name, mark in FILES.items()}

    @staticmethod
    def _tool(*arguments: str) -> None:
        subprocess.run(arguments, check=True, env=_ENVIRONMENT, stdout=subprocess.DEVNULL)


EMPTY = grubenv.encode(grubenv.Environment({}))
