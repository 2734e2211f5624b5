"""Whatever bytes a stick holds, a device answers with one error of the tree, and believes only what was signed."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hypothesis import given, strategies as st
from tuf.api.metadata import Metadata, Root

from tests.attack.metadata_office import START, Office
from tests.matrix import By, On, attack
from usbupdate.core import trust
from usbupdate.core.layout import metadata_path
from usbupdate.core.rootrules import SIZE_MAX, read_document, read_root
from usbupdate.core.trust import ClockReading
from usbupdate.errors import RejectedError
from usbupdate.medium import DirectoryMedium
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from usbupdate.core.layout import MediumPath

CLOCK = ClockReading(START + timedelta(days=30), trusted=True)
OFFICE = Office()
OFFICE.publish_root()
OFFICE.publish()
NAMES = {
    metadata_path("root", 2): "root",
    metadata_path("timestamp", None): "timestamp",
    metadata_path("snapshot", 2): "snapshot",
    metadata_path("targets", 2): "targets",
}

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8) | st.just("2026-01-01T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@attack(By.STICK, On.SERVICE, "any bytes in place of any metadata", "strict decoders, searched by properties")
@given(st.sampled_from(sorted(SIZE_MAX)), st.binary(max_size=300))
def test_any_bytes_are_read_or_rejected(role: str, raw: bytes) -> None:
    try:
        read_document(role, raw)
    except RejectedError:
        return


@attack(By.STICK, On.TRUST, "any one changed byte of any metadata", "signatures over the bytes that are used")
@given(st.sampled_from(sorted(NAMES)), st.integers(0, 10**6), st.integers(1, 255))
def test_one_changed_byte_is_rejected_or_changes_nothing(name: MediumPath, position: int, change: int) -> None:
    raw = bytearray(OFFICE.files[name])
    raw[position % len(raw)] ^= change
    _insert({**OFFICE.files, name: bytes(raw)})


@given(st.sampled_from(sorted(NAMES)), st.integers(0, 10**6))
def test_cut_off_metadata_are_rejected(name: MediumPath, size: int) -> None:
    raw = OFFICE.files[name]
    assert _insert({**OFFICE.files, name: raw[: size % len(raw)]}) is None


@attack(By.SIGNER, On.TRUST, "well-signed nonsense", "strict decoders behind the signatures too")
@given(st.data())
def test_odd_metadata_under_good_signatures_are_rejected_or_harmless(data: st.DataObject) -> None:
    # The worst case: somebody with the keys signs what no program of ours would write.
    name = data.draw(st.sampled_from(sorted(NAMES)))
    role = NAMES[name]
    table = cast("dict[str, Json]", json.loads(OFFICE.files[name])["signed"])
    _spoil(table, data)

    class Raw(Root):
        def to_dict(self) -> dict[str, Json]:
            return table

    document = Metadata(cast("Root", Raw(consistent_snapshot=True)))
    for signer in OFFICE.signers[role]:
        document.sign(signer)
    _insert({**OFFICE.files, name: json.dumps(document.to_dict()).encode()})


@given(st.data())
def test_odd_roots_are_read_or_rejected(data: st.DataObject) -> None:
    table = cast("dict[str, Json]", json.loads(OFFICE.first_root))
    _spoil(table, data)
    try:
        read_root(json.dumps(table).encode())
    except RejectedError:
        return


def _spoil(table: dict[str, Json], data: st.DataObject) -> None:
    """Put something odd at one place, anywhere in the document."""
    places: list[tuple[dict[str, Json] | list[Json], str | int]] = []
    waiting: list[Json] = [table]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            places += [(each, key) for key in sorted(each)]
            waiting += [each[key] for key in sorted(each)]
        elif isinstance(each, list):
            places += [(each, number) for number in range(len(each))]
            waiting += each
    inside, key = data.draw(st.sampled_from(places))
    value = cast("Json", data.draw(ODD))
    if isinstance(inside, dict) and isinstance(key, str):
        match data.draw(st.sampled_from(["replace", "rename", "drop"])):
            case "replace":
                inside[key] = value
            case "rename":
                inside[data.draw(st.text(max_size=8))] = inside.pop(key)
            case _:
                del inside[key]
    elif isinstance(inside, list) and isinstance(key, int):
        inside[key] = value


def _insert(files: dict[MediumPath, bytes]) -> trust.Trusted | None:
    """Return what a fresh device believes; None if it rejects the stick, with an error of the tree."""
    with tempfile.TemporaryDirectory() as name:
        mount, store = Path(name, "mount"), Path(name, "trust")
        store.mkdir()
        for path, raw in files.items():
            file = mount.joinpath(*path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(raw)
        try:
            trusted = trust.refresh(TrustFiles(store), OFFICE.first_root, DirectoryMedium(mount), CLOCK)
        except RejectedError:
            return None
    assert trusted.targets_version in {1, 2}
    assert {entry.sha256 for entry in trusted.targets.values()} <= {path[-1][:64] for path in OFFICE.files}
    return trusted
