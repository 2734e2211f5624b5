"""Where fuzzing begins: what the product itself writes, for each target.

Run, to write the corpus anew: python -m tests.fuzz.seeds
"""

from __future__ import annotations

import gzip
import hashlib
import random
import tarfile
import tempfile
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Final

from tests.field import build
from tests.fuzz.sticks import OFFICE, ORDER, PAYLOAD
from tests.fuzz.targets import ARTIFACT, DEVICE, SIGNER
from tests.payload import CHUNK, frame
from tests.receipts import acknowledgement, chain
from usbupdate.audit.archives import ENDINGS
from usbupdate.core import (
    acknowledged,
    acknowledgements,
    authorisation as authorisations,
    checkpoint,
    identity,
    index as indexes,
    manifest as manifests,
    merkle,
    recordform,
)
from usbupdate.core.acknowledged import Acknowledged
from usbupdate.core.delta import BlockRange, DeltaChunk, encode, encode_recipe
from usbupdate.core.index import IndexedChunk, zeros
from usbupdate.core.layout import CHECKPOINT, IDENTITY, LOGS, RECEIPTS, metadata_path
from usbupdate.core.rootrules import SIZE_MAX
from usbupdate.device.bootloaders import grubenv

CORPUS: Final = Path(__file__).with_name("corpus")


def seeds() -> dict[str, list[bytes]]:
    """Return for each target what it is for, at least once."""
    line = chain(1)[0]
    note = checkpoint.sign(DEVICE, 1, hashlib.sha256(b"\0" + line).digest(), SIGNER)
    word = acknowledgement([line])
    who = identity.encode(DEVICE)
    stored = frame(bytes(CHUNK))
    of_device = _of_device()
    ranges = [BlockRange(0, 3), BlockRange(10, 1)]
    chance = random.Random(1)  # noqa: S311 - the same bytes each time
    documents = {role: OFFICE.files[metadata_path(role, None if role == "timestamp" else 1)] for role in SIZE_MAX}
    return {
        "manifest": [manifests.encode(PAYLOAD.manifest)],
        "authorisation": [authorisations.encode(ORDER)],
        "index": [indexes.encode(_index())],
        "delta-index": [encode([DeltaChunk(0, bytes(32), 0, 0, 100), DeltaChunk(3, bytes(32), 0, 100, 1)])],
        "recipe": [encode_recipe(ranges) + stored, encode_recipe([]) + stored],
        "frame": [stored],
        "delta-frame": [encode_recipe(ranges) + stored],
        "metadata": [bytes([number]) + documents[role] for number, role in enumerate(sorted(SIZE_MAX))],
        "root": [documents["root"]],
        "receipt": [line],
        "note": [note],
        "cosigned": [word],
        "acknowledgements-file": [acknowledgements.encode({DEVICE.device: word})],
        "acknowledged-file": [acknowledged.encode(Acknowledged(word, (merkle.leaf_hash(line),)))],
        "who": [who],
        "state": of_device["state/state.json"],
        "boot-environment": [grubenv.encode(grubenv.Environment({"ORDER": "A B", "A_OK": "1", "A_TRY": "0"}, ()))],
        "simulated-boot-loader": of_device["bootloader.json"],
        "configuration": of_device["device.toml"],
        "log": [b"\0".join((who, line + b"\n", note))],
        "archive": _archives({IDENTITY: who, RECEIPTS: line + b"\n", CHECKPOINT: note}),
        "stick": [b"", bytes(9) + b"\0\0\5" + b"\0\0\1" + b"x", b"\0\0\1" * 12],
        "stolen-keys": [b"", *(chance.randbytes(90) for _ in range(20))],
    }


def _archives(files: dict[str, bytes]) -> list[bytes]:
    """Return a device's log in an archive of each kind, behind the byte that says of which."""
    named = {"/".join((*LOGS, DEVICE.device, name)): contents for name, contents in files.items()}
    zipped, tape = BytesIO(), BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in named.items():
            archive.writestr(zipfile.ZipInfo(name), contents)
    with tarfile.open(fileobj=tape, mode="w") as archive_of_tape:
        for name, contents in named.items():
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            archive_of_tape.addfile(member, BytesIO(contents))
    of_kind = {".zip": zipped.getvalue(), ".tar": tape.getvalue(), ".tar.gz": gzip.compress(tape.getvalue(), mtime=0)}
    return [bytes([ENDINGS.index(ending)]) + contents for ending, contents in of_kind.items()]


def _of_device() -> dict[str, list[bytes]]:
    """Return what stands in a device's files while it is updated."""
    found: dict[str, list[bytes]] = {name: [] for name in ("state/state.json", "bootloader.json", "device.toml")}
    with tempfile.TemporaryDirectory() as folder:
        field = build(Path(folder) / "field")
        for step in (lambda: None, lambda: field.rig.insert(field.good), field.rig.boot):
            step()
            for name, contents in found.items():
                contents.append((field.rig.folder / name).read_bytes())
        went_back = replace(field.rig.record(), downgrade_number=3)
        found["state/state.json"].append(recordform.encode(went_back))
    return found


def _index() -> list[IndexedChunk]:
    chunks = []
    for number in range(len(range(0, ARTIFACT.image.size, CHUNK))):
        size = min(CHUNK, ARTIFACT.image.size - number * CHUNK)
        is_zero = number % 2 == 0
        digest, place = (zeros(size)[1], (bytes(32), 0, 0, 0)) if is_zero else (bytes(32), (b"\1" * 32, 0, number * 100, 100))
        chunks.append(IndexedChunk(number, size, digest, *place))
    return chunks


def main() -> None:
    """Write the corpus anew."""
    for target, contents in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for raw in contents:
            (folder / hashlib.sha256(raw).hexdigest()[:16]).write_bytes(raw)


if __name__ == "__main__":
    main()
