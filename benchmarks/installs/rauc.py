"""RAUC as a contender: a service on a bus of its own, a boot loader that takes everything, slots that are files."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Final

from installs.contender import LEVEL, Contender, Proof, Run, Stick, Task, shell
from installs.programs import run

_SYSTEM: Final = """\
[system]
compatible=bench
bootloader=custom
mountprefix={scratch}/mount
data-directory={scratch}/data
bundle-formats=plain
[handlers]
bootloader-custom-backend={scratch}/backend
[keyring]
path={stick}/cert.pem
[slot.rootfs.0]
device={running}
type=raw
bootname=A
[slot.rootfs.1]
device={slot}
type=raw
bootname=B
"""

_BACKEND: Final = """\
#!/bin/sh
case "$1" in
get-primary | get-current) echo A ;;
get-state) echo good ;;
esac
"""

_INSTALL: Final = """\
export DBUS_STARTER_BUS_TYPE=session
rauc -c {scratch}/system.conf --override-boot-slot=A service >{scratch}/service.log 2>&1 &
service=$!
until rauc -c {scratch}/system.conf status >/dev/null 2>&1; do sleep 0.05; done
before=$(date +%s.%N)
if ! rauc -c {scratch}/system.conf install {stick}/bundle.raucb >{scratch}/install.log 2>&1; then
    cat {scratch}/install.log {scratch}/service.log >&2
    exit 1
fi
sync {slot}
after=$(date +%s.%N)
kill $service
wait $service || true
echo "$before $after" | awk '{{ printf "seconds: %.3f\\n", $2 - $1 }}'
"""

_MANIFEST: Final = """\
[update]
compatible=bench
version=2
[bundle]
format=plain
[image.rootfs]
filename=image.img
"""


def write_stick(folder: Path, new: Path, *, level: int, adaptive: bool) -> float:
    """Write a bundle with one raw image, compressed by zstd, and the certificate that proves it.

    Returns:
        The seconds that `rauc bundle` took, with the bundle durable.
    """
    content = folder.with_name("content")
    content.mkdir()
    run("cp", "--sparse=always", new, content / "image.img")
    (content / "manifest.raucm").write_text(_MANIFEST + ("adaptive=block-hash-index\n" if adaptive else ""))
    key = folder.with_name("key.pem")
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench"),
        "-keyout",
        key,
        "-out",
        folder / "cert.pem",
    )
    options = f"--mksquashfs-args=-comp zstd -Xcompression-level {level}"
    run("sync")
    start = time.perf_counter()
    run("rauc", f"--cert={folder / 'cert.pem'}", f"--key={key}", options, "bundle", content, folder / "bundle.raucb")
    run("sync")
    took = time.perf_counter() - start
    run("rm", "-rf", content, key)
    return took


def _stick(folder: Path, task: Task, *, adaptive: bool) -> None:
    write_stick(folder, task.new, level=LEVEL, adaptive=adaptive)


def _command(at: Run) -> list[str]:
    at.scratch.joinpath("mount").mkdir()
    at.scratch.joinpath("data").mkdir()
    at.scratch.joinpath("system.conf").write_text(
        _SYSTEM.format(scratch=at.scratch, stick=at.stick, running=at.running, slot=at.slot)
    )
    backend = at.scratch / "backend"
    backend.write_text(_BACKEND)
    backend.chmod(0o755)
    return ["dbus-run-session", "--", *shell(_INSTALL.format(scratch=at.scratch, stick=at.stick, slot=at.slot))]


PLAIN: Final = Stick("rauc", partial(_stick, adaptive=False), (Path(__file__),))
ADAPTIVE: Final = Stick("rauc-adaptive", partial(_stick, adaptive=True), (Path(__file__),))

CONTENDERS: Final = (
    Contender("RAUC, plain bundle", PLAIN, _command, Proof.BEFORE),
    Contender("RAUC, adaptive", ADAPTIVE, _command, Proof.BEFORE, known_base=True),
)
