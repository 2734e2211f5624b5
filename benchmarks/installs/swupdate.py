"""SWUpdate as a contender: one compressed raw image with its sha256, written to the slot as it is read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from installs.contender import LEVEL, Contender, Proof, Run, Stick, Task, shell
from installs.programs import run

_SLOT: Final = "/mnt/slot"
"""The name that is in the signed description; the slot is shown there to the one installation."""

_DESCRIPTION: Final = """\
software = {{
    version = "2";
    hardware-compatibility: [ "1" ];
    images: ({{
        filename = "image.zst";
        device = "{slot}";
        type = "raw";
        compressed = "zstd";
        installed-directly = true;
        sha256 = "{sha256}";
    }});
}};
"""


def _stick(folder: Path, task: Task) -> None:
    content = folder.with_name("content")
    content.mkdir()
    image, description, signature = (content / name for name in ("image.zst", "sw-description", "sw-description.sig"))
    run("zstd", "-q", f"-{LEVEL}", "-T0", task.new, "-o", image)
    with image.open("rb") as file:
        description.write_text(_DESCRIPTION.format(slot=_SLOT, sha256=hashlib.file_digest(file, "sha256").hexdigest()))
    key, certificate = content / "key.pem", folder / "cert.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench"),
        *("-addext", "extendedKeyUsage=emailProtection", "-keyout", key, "-out", certificate),
    )
    run(
        *("openssl", "cms", "-sign", "-binary", "-nosmimecap", "-outform", "DER", "-signer", certificate, "-inkey", key),
        *("-in", description, "-out", signature),
    )
    # The description comes first, then its signature: it is read as a stream.
    names = "\n".join(each.name for each in (description, signature, image))
    run(*shell('cd "$1"; echo "$2" | cpio -o -H crc --quiet >"$3"', content, names, folder / "update.swu"))
    run("rm", "-rf", content)


def _command(at: Run) -> list[str]:
    script = """\
mount -t tmpfs slot "${1%/*}"
touch "$1"
mount --bind "$2" "$1"
exec swupdate -H bench:1 -k "$3" -i "$4"
"""
    return shell(script, _SLOT, at.slot, at.stick / "cert.pem", at.stick / "update.swu")


CONTENDERS: Final = (Contender("SWUpdate", Stick("swupdate", _stick, (Path(__file__),)), _command, Proof.AFTER),)
