"""What is fuzzed: each target takes any bytes, and either gets a value that it can write down again, or the error it promises.

Anything else that escapes is a fault: another exception, a value that changes when it is written and read, an endless loop.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fuzz.sticks import require_sentence, stick, stolen_keys
from tests.inmemory import folder_in_memory
from tests.payload import CHUNK, ROOTFS
from tests.receipts import acknowledger, device
from usbupdate.audit.archives import ENDINGS
from usbupdate.audit.chain import examine
from usbupdate.audit.copies import LogCopy, find_copies
from usbupdate.core import (
    acknowledged,
    acknowledgements,
    authorisation as authorisations,
    checkpoint,
    cosignature,
    envelope,
    identity,
    index as indexes,
    manifest as manifests,
    recordform,
)
from usbupdate.core.chunks import restore_chunk
from usbupdate.core.delta import BLOCK, DeltaChunk, DeltaIndex, decode_recipe, encode, encode_recipe, rebuild_chunk
from usbupdate.core.index import Index, IndexedChunk
from usbupdate.core.layout import CHECKPOINT, EVIDENCE_NAMES, IDENTITY, RECEIPTS
from usbupdate.core.manifest import Artifact, Blob, Delta
from usbupdate.core.rootrules import SIZE_MAX, read_document, read_root, root_of
from usbupdate.core.words import DeviceId, Digest
from usbupdate.device.bootloaders import grubenv, simulated
from usbupdate.device.configuration import load_configuration
from usbupdate.errors import (
    BootLoaderError,
    ConfigurationError,
    EvidenceError,
    MalformedError,
    NewerFormatError,
    NoEvidenceError,
    RejectedError,
    UnusableFileError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_ANY: Final = Digest("0" * 64)
_DEVICE, SIGNER = device("gw-0001")
DEVICE: Final = _DEVICE
_CHUNKS: Final = 8
ARTIFACT: Final = Artifact(ROOTFS, Blob(_ANY, _CHUNKS * CHUNK - 1), CHUNK, Blob(_ANY, 76 * _CHUNKS), (Blob(_ANY, 1 << 20),))
DELTA: Final = Delta(_ANY, 64 << 20, Blob(_ANY, 1), (Blob(_ANY, 1 << 20),))


def manifest(data: bytes) -> None:
    """Take a bundle's manifest."""
    try:
        read = manifests.decode(data)
    except (MalformedError, NewerFormatError):
        return
    assert manifests.decode(manifests.encode(read)) == read


def authorisation(data: bytes) -> None:
    """Take an authorisation to go back."""
    try:
        read = authorisations.decode(data)
    except (MalformedError, NewerFormatError):
        return
    assert authorisations.decode(authorisations.encode(read)) == read
    assert authorisations.parse_name(read.name) == (read.device, read.number)


def index(data: bytes) -> None:
    """Take the index of an image."""
    try:
        read = Index(data, ARTIFACT)
    except MalformedError:
        return
    assert indexes.encode(read) == data
    assert sum(chunk.size for chunk in read) == ARTIFACT.image.size


def delta_index(data: bytes) -> None:
    """Take the index of a delta."""
    try:
        read = DeltaIndex(data, ARTIFACT, DELTA)
    except MalformedError:
        return
    assert encode(read) == data


def recipe(data: bytes) -> None:
    """Take the recipe in front of a delta's frame."""
    try:
        ranges, rest = decode_recipe(data, 0, 1000)
    except MalformedError:
        return
    assert encode_recipe(ranges) + rest == data
    assert all(each.first >= 0 and each.count > 0 and each.first + each.count <= 1000 for each in ranges)


class _Packs:
    def __init__(self, stored: bytes) -> None:
        self._stored = stored

    def read(self, _pack: int, _offset: int, size: int) -> bytes:
        return self._stored[:size]


class _Base:
    """A base in which every block is another one."""

    def read_at(self, offset: int, size: int) -> bytes:
        first = offset // BLOCK
        return b"".join(bytes([block & 0xFF]) * BLOCK for block in range(first, first + size // BLOCK))


def _chunk_of(stored: bytes, raw: bytes) -> IndexedChunk:
    return IndexedChunk(0, CHUNK, hashlib.sha256(raw).digest(), hashlib.sha256(stored).digest(), 0, 0, len(stored))


def frame(data: bytes) -> None:
    """Take the stored bytes of a chunk, as if they had been signed."""
    if data:
        try:
            raw = restore_chunk(_chunk_of(data, bytes(CHUNK)), _Packs(data))
        except RejectedError:
            return
        assert raw == bytes(CHUNK)


def delta_frame(data: bytes) -> None:
    """Take the stored bytes of a chunk of a delta, as if they had been signed."""
    if data:
        chunk = _chunk_of(data, bytes(CHUNK))
        record = encode([DeltaChunk(0, chunk.stored_digest, 0, 0, chunk.stored_size)])
        try:
            raw = rebuild_chunk(chunk, DeltaIndex(record, ARTIFACT, DELTA), _Packs(data), _Base())
        except RejectedError:
            return
        assert raw is None or raw == bytes(CHUNK)


def metadata(data: bytes) -> None:
    """Take a document of TUF; the first byte says whose."""
    if data:
        role = sorted(SIZE_MAX)[data[0] % len(SIZE_MAX)]
        try:
            document = read_document(role, data[1:])
        except RejectedError:
            return
        assert document.version > 0


def root(data: bytes) -> None:
    """Take a root of trust."""
    try:
        document = read_root(data)
    except RejectedError:
        return
    assert root_of(document).version == document.version


def receipt(data: bytes) -> None:
    """Take a line of a device's log."""
    try:
        read = envelope.open_line(data, DEVICE)
    except (EvidenceError, MalformedError):
        return
    assert envelope.peek_unproven(data) == read


def note(data: bytes) -> None:
    """Take a signed checkpoint."""
    try:
        read = checkpoint.open_note(data, DEVICE)
    except (EvidenceError, MalformedError):
        return
    assert checkpoint.peek_unproven(data) == read


def cosigned(data: bytes) -> None:
    """Take a checkpoint that an office has cosigned."""
    try:
        read = cosignature.open_note(data, [acknowledger()[0]])
    except (EvidenceError, MalformedError):
        return
    assert cosignature.peek_unproven(data) == read.checkpoint


def acknowledgements_file(data: bytes) -> None:
    """Take what a stick brings as the office's word on the receipts of a fleet."""
    try:
        read = acknowledgements.decode(data)
    except MalformedError:
        return
    assert acknowledgements.encode(read) == data


def acknowledged_file(data: bytes) -> None:
    """Take what stands in a device's log for receipts that are not there any more."""
    try:
        read = acknowledged.decode(data)
    except (MalformedError, NewerFormatError):
        return
    assert acknowledged.encode(read) == data
    assert read.tree().root() == read.checkpoint.root


def who(data: bytes) -> None:
    """Take a device's identity."""
    try:
        read = identity.decode(data)
    except (EvidenceError, MalformedError):
        return
    assert identity.decode(identity.encode(read)) == read


def state(data: bytes) -> None:
    """Take a device's state."""
    try:
        read = recordform.decode(data)
    except (MalformedError, NewerFormatError):
        return
    assert recordform.decode(recordform.encode(read)) == read


def boot_environment(data: bytes) -> None:
    """Take GRUB's environment block; what is shorter is filled up as GRUB does."""
    try:
        read = grubenv.decode(data.ljust(grubenv.SIZE, b"#"))
    except BootLoaderError:
        return
    assert grubenv.decode(grubenv.encode(read)) == read


def simulated_boot_loader(data: bytes) -> None:
    """Take the memory of the simulated boot loader."""
    try:
        read = simulated.decode(data)
    except MalformedError:
        return
    assert simulated.decode(simulated.encode(read)) == read


def configuration(data: bytes) -> None:
    """Take a device's configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "device.toml"
        path.write_bytes(data)
        try:
            load_configuration(path)
        except ConfigurationError as error:
            require_sentence(error)


def log(data: bytes) -> None:
    """Take a device's log as an auditor gets it: three files, separated by a zero byte."""
    files = dict(zip((IDENTITY, RECEIPTS, CHECKPOINT), data.split(b"\0", 2), strict=False))
    examined = examine(LogCopy("stick", DeviceId("gw-0001"), files, {}), None, ())
    for finding in examined.findings:
        assert finding.sentence().isprintable()


def archive(data: bytes) -> None:
    """Take an archive with logs; the first byte says of which kind."""
    if data:
        with folder_in_memory("archive") as folder:
            path = Path(folder) / f"returned{ENDINGS[data[0] % len(ENDINGS)]}"
            path.write_bytes(data[1:])
            try:
                places = find_copies([path])
            except (UnusableFileError, NoEvidenceError) as error:
                require_sentence(error)
                return
            for place in places:
                copy = place.read()
                assert copy.files.keys() | copy.unreadable.keys() <= set(EVIDENCE_NAMES)
                assert copy.files.keys().isdisjoint(copy.unreadable)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        manifest,
        authorisation,
        index,
        delta_index,
        recipe,
        frame,
        delta_frame,
        metadata,
        root,
        receipt,
        note,
        cosigned,
        acknowledgements_file,
        acknowledged_file,
        who,
        state,
        boot_environment,
        simulated_boot_loader,
        configuration,
        log,
        archive,
        stick,
        stolen_keys,
    )
}
