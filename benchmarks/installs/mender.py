"""Mender as a contender: its client without a server, whose boot loader is a file that anything can be written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from installs.contender import Contender, Proof, Run, Seen, Stick, Task, shell
from installs.programs import run

_RUNNING: Final = "/dev/bench-running-a"
"""Told by the stand-in for mount, and by the last letter which the boot loader's environment has for it."""

_MOUNT: Final = f"""\
#!/bin/sh
echo "{_RUNNING} on / type ext4 (rw)"
"""
_PRINTENV: Final = """\
#!/bin/sh
for name; do
    grep "^$name=" "${0%/*}/environment" || true
done
"""
_SETENV: Final = """\
#!/bin/sh
cat >"${0%/*}/written"
"""
_ENVIRONMENT: Final = """\
mender_boot_part=a
mender_saveenv_canary=1
upgrade_available=0
bootcount=0
"""


def _stick(folder: Path, task: Task) -> None:
    key = folder.with_name("key.pem")
    # The form of PKCS#1 is the only one of RSA that mender-artifact reads.
    run("openssl", "genrsa", "-traditional", "-out", key, "2048")
    run("openssl", "rsa", "-in", key, "-pubout", "-out", folder / "key.pem")
    run(
        *("mender-artifact", "write", "rootfs-image", "--no-progress", "--artifact-name", "2", "--device-type", "bench"),
        *("--key", key, "--file", task.new, "--output-path", folder / "update.mender"),
    )
    key.unlink()


def _command(at: Run) -> list[str]:
    programs, etc, data = (at.scratch / name for name in ("programs", "etc", "data"))
    for each in (programs, etc, data):
        each.mkdir()
    for name, text in (("mount", _MOUNT), ("fw_printenv", _PRINTENV), ("fw_setenv", _SETENV)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "environment").write_text(_ENVIRONMENT)
    (data / "device_type").write_text("device_type=bench\n")
    (etc / "artifact_info").write_text("artifact_name=1\n")
    configuration = {
        "RootfsPartA": _RUNNING,
        "RootfsPartB": str(at.slot),
        "ArtifactVerifyKey": str(at.stick / "key.pem"),
        "DeviceTypeFile": str(data / "device_type"),
    }
    (etc / "mender.conf").write_text(json.dumps(configuration))
    script = """\
mount --bind "$1" /etc/mender
export PATH="$2:$PATH"
exec mender --no-syslog --data "$3" --fallback-config "$3/none" install "$4"
"""
    return shell(script, etc, programs, data, at.stick / "update.mender")


CONTENDERS: Final = (
    Contender("Mender", Stick("mender", _stick, (Path(__file__),)), _command, Proof.AFTER, slot=Seen.BLOCK_DEVICE),
)
