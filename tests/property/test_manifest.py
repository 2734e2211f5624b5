from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.property import corruption
from usbupdate.core import manifest as manifests
from usbupdate.core.manifest import (
    CHUNK_SIZE_MAX,
    CHUNK_SIZE_MIN,
    IMAGE_SIZE_MAX,
    INDEX_SIZE_MAX,
    MANIFEST_SIZE_MAX,
    NOTES_MAX,
    PACK_SIZE_MAX,
    Artifact,
    Blob,
    Delta,
    Kind,
    Manifest,
)
from usbupdate.core.words import (
    BUNDLE_NAME,
    COMPATIBLE,
    DEVICE_ID,
    GROUP,
    SEQUENCE_MAX,
    SLOT_CLASS,
    VERSION,
    BundleName,
    Digest,
    SlotClass,
)
from usbupdate.errors import MalformedError, NewerFormatError

if TYPE_CHECKING:
    from tests.property.corruption import Place
    from usbupdate.core.strictjson import Json

BLOB: Json = {"sha256": "a" * 64, "size": 1000}
VALID: Json = {
    "format": 1,
    "name": "gateway",
    "version": "1.2.3",
    "sequence": 7,
    "from_sequence_min": 3,
    "compatible": ["acme,gw-100", "acme,gw-200"],
    "devices": ["gw-0001"],
    "groups": ["plant-7"],
    "kind": "security",
    "notes": "Two lines.\nThe second.",
    "sbom_sha256": "b" * 64,
    "created": "2026-01-31T12:00:00Z",
    "artifacts": [
        {
            "class": "rootfs",
            "image": BLOB,
            "chunk_size": 262_144,
            "index": BLOB,
            "packs": [BLOB],
            "deltas": [{"base": BLOB, "index": BLOB, "packs": [BLOB]}],
        }
    ],
}
ARTIFACT: Place = ("artifacts", 0)
OPTIONAL: set[Place] = {("devices",), ("groups",), ("sbom_sha256",), (*ARTIFACT, "deltas")}

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))


def _names(grammar: str, limit: int = 4) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.from_regex(grammar, fullmatch=True), max_size=limit, unique=True).map(tuple)


def _blobs(size_max: int) -> st.SearchStrategy[Blob]:
    return st.builds(Blob, sha256=DIGESTS, size=st.integers(1, size_max))


PACKS = st.lists(_blobs(PACK_SIZE_MAX), max_size=3).map(tuple)
DELTAS = st.builds(
    Delta, base_sha256=DIGESTS, base_size=st.integers(1, IMAGE_SIZE_MAX), index=_blobs(INDEX_SIZE_MAX), packs=PACKS
)
ARTIFACTS = st.builds(
    Artifact,
    slot_class=st.from_regex(SLOT_CLASS, fullmatch=True).map(SlotClass),
    image=_blobs(IMAGE_SIZE_MAX),
    chunk_size=st.sampled_from([CHUNK_SIZE_MIN << shift for shift in range(7)]),
    index=_blobs(INDEX_SIZE_MAX),
    packs=PACKS,
    deltas=st.lists(DELTAS, max_size=2, unique_by=lambda delta: delta.base_sha256).map(tuple),
)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t"), max_size=50)


@st.composite
def _manifests(draw: st.DrawFn) -> Manifest:
    sequence = draw(st.integers(1, SEQUENCE_MAX))
    return Manifest(
        name=BundleName(draw(st.from_regex(BUNDLE_NAME, fullmatch=True))),
        version=draw(st.from_regex(VERSION, fullmatch=True)),
        sequence=sequence,
        compatible=draw(_names(COMPATIBLE.pattern).filter(bool)),
        kind=draw(st.sampled_from(Kind)),
        created=draw(st.datetimes()).replace(microsecond=0).isoformat() + "Z",
        artifacts=draw(st.lists(ARTIFACTS, min_size=1, max_size=2, unique_by=lambda artifact: artifact.slot_class).map(tuple)),
        from_sequence_min=draw(st.integers(0, sequence)),
        devices=draw(_names(DEVICE_ID.pattern)),
        groups=draw(_names(GROUP.pattern)),
        notes=draw(TEXTS),
        sbom_sha256=draw(st.none() | DIGESTS),
    )


def _rejects(document: Json) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        manifests.decode(corruption.raw(document))
    assert caught.value.document == "manifest"
    return caught.value


@given(_manifests())
def test_round_trip(manifest: Manifest) -> None:
    raw = manifests.encode(manifest)
    assert manifests.decode(raw) == manifest
    assert manifests.encode(manifests.decode(raw)) == raw


def test_the_valid_document_of_these_tests_is_valid() -> None:
    manifests.decode(corruption.raw(VALID))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        manifests.decode(raw)


@given(st.data())
def test_one_flipped_bit_gives_a_manifest_or_malformed(data: st.DataObject) -> None:
    raw = bytearray(corruption.raw(VALID))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MalformedError, NewerFormatError):
        manifests.decode(bytes(raw))


@given(st.integers(0, len(corruption.raw(VALID)) - 1))
def test_a_truncated_manifest_is_malformed(size: int) -> None:
    with pytest.raises(MalformedError):
        manifests.decode(corruption.raw(VALID)[:size])


@pytest.mark.parametrize("place", corruption.fields(VALID), ids=corruption.shown)
def test_a_missing_field_is_malformed(place: Place) -> None:
    document = corruption.without(VALID, place)
    if place in OPTIONAL:
        manifests.decode(corruption.raw(document))
    else:
        assert _rejects(document).problem == "missing"


@pytest.mark.parametrize("place", corruption.objects(VALID), ids=corruption.shown)
def test_an_unknown_field_is_malformed(place: Place) -> None:
    assert _rejects(corruption.replaced(VALID, (*place, "extra"), None)).problem == "unknown field"


@pytest.mark.parametrize("wrong", corruption.WRONG_TYPES)
@pytest.mark.parametrize("place", corruption.fields(VALID), ids=corruption.shown)
def test_a_field_of_a_wrong_type_is_malformed(place: Place, wrong: str) -> None:
    value = corruption.WRONG_TYPES[wrong]
    right = corruption.at(VALID, place)
    document = corruption.replaced(VALID, place, value)
    if type(value) is type(right) and wrong == "number":
        return
    if value is None and place in OPTIONAL:
        manifests.decode(corruption.raw(document))
    else:
        _rejects(document)


TOO_MANY_NAMES: list[Json] = [f"n{number}" for number in range(10_001)]
OUT_OF_RANGE: list[tuple[Place, Json]] = [
    (("format",), 0),
    (("format",), -1),
    (("format",), SEQUENCE_MAX + 1),
    (("sequence",), 0),
    (("sequence",), SEQUENCE_MAX + 1),
    (("from_sequence_min",), -1),
    (("from_sequence_min",), 8),
    (("name",), ""),
    (("name",), "x" * 64),
    (("name",), "../gateway"),
    (("name",), "-rf"),
    (("name",), "Gateway"),
    (("name",), "gateway\n"),
    (("name",), "allow-gw-0001"),
    (("name",), "allow"),
    (("version",), ""),
    (("version",), "1 0"),
    (("version",), "1" * 65),
    (("version",), "1.0\n"),
    (("compatible",), []),
    (("compatible",), ["acme,gw-100", "acme,gw-100"]),
    (("compatible",), [""]),
    (("compatible",), ["x" * 129]),
    (("compatible",), TOO_MANY_NAMES),
    (("devices",), ["GW-0001"]),
    (("devices",), ["gw-0001", "gw-0001"]),
    (("devices",), TOO_MANY_NAMES),
    (("groups",), ["-plant"]),
    (("kind",), "Security"),
    (("kind",), ""),
    (("notes",), "x" * (NOTES_MAX + 1)),
    (("notes",), "\x1b[2J"),
    (("notes",), "a\rb"),
    (("sbom_sha256",), "B" * 64),
    (("sbom_sha256",), "b" * 63),
    (("created",), "2026-02-31T12:00:00Z"),
    (("created",), "2026-01-31"),
    (("created",), "2026-01-31T12:00:00+00:00"),
    (("created",), "2026-01-31T12:00:00.5Z"),
    (("artifacts",), []),
    ((*ARTIFACT, "class"), "Rootfs"),
    ((*ARTIFACT, "class"), "x" * 32),
    ((*ARTIFACT, "class"), "../x"),
    ((*ARTIFACT, "image", "size"), 0),
    ((*ARTIFACT, "image", "size"), IMAGE_SIZE_MAX + 1),
    ((*ARTIFACT, "image", "sha256"), "a" * 65),
    ((*ARTIFACT, "chunk_size"), 0),
    ((*ARTIFACT, "chunk_size"), CHUNK_SIZE_MIN // 2),
    ((*ARTIFACT, "chunk_size"), CHUNK_SIZE_MAX * 2),
    ((*ARTIFACT, "chunk_size"), CHUNK_SIZE_MIN + 1),
    ((*ARTIFACT, "chunk_size"), CHUNK_SIZE_MIN * 3),
    ((*ARTIFACT, "index", "size"), 0),
    ((*ARTIFACT, "index", "size"), INDEX_SIZE_MAX + 1),
    ((*ARTIFACT, "packs", 0, "size"), 0),
    ((*ARTIFACT, "packs", 0, "size"), PACK_SIZE_MAX + 1),
    ((*ARTIFACT, "packs"), [BLOB] * ((1 << 14) + 1)),
    ((*ARTIFACT, "deltas"), [{"base": BLOB, "index": BLOB, "packs": []}] * 2),
    ((*ARTIFACT, "deltas", 0, "base", "size"), IMAGE_SIZE_MAX + 1),
    ((*ARTIFACT, "deltas", 0, "index", "size"), INDEX_SIZE_MAX + 1),
    ((*ARTIFACT, "deltas", 0, "packs", 0, "size"), PACK_SIZE_MAX + 1),
]


@pytest.mark.parametrize(
    ("place", "value"), OUT_OF_RANGE, ids=[f"{corruption.shown(p)}-{n}" for n, (p, _) in enumerate(OUT_OF_RANGE)]
)
def test_a_value_out_of_range_is_malformed(place: Place, value: Json) -> None:
    _rejects(corruption.replaced(VALID, place, value))


DELTA: Json = {"base": BLOB, "index": BLOB, "packs": []}


@pytest.mark.parametrize(
    ("place", "value", "field", "problem"),
    [
        (("compatible",), [], "compatible", "empty"),
        (("from_sequence_min",), 8, "from_sequence_min", "above the bundle's own sequence"),
        (("artifacts",), [], "artifacts", "empty"),
        (("artifacts",), [corruption.at(VALID, ARTIFACT)] * 2, "artifacts", "a slot class stands twice"),
        ((*ARTIFACT, "chunk_size"), CHUNK_SIZE_MIN * 3, "artifacts[0].chunk_size", "not a power of two"),
        ((*ARTIFACT, "deltas"), [DELTA, DELTA], "artifacts[0].deltas", "a base stands twice"),
    ],
)
def test_a_manifest_that_contradicts_itself_says_where(place: Place, value: Json, field: str, problem: str) -> None:
    error = _rejects(corruption.replaced(VALID, place, value))
    assert (error.field, error.problem) == (field, problem)


def test_a_release_may_be_its_own_stepping_stone() -> None:
    assert manifests.decode(corruption.raw(corruption.replaced(VALID, ("from_sequence_min",), 7))).from_sequence_min == 7


def test_two_artifacts_for_one_slot_class_are_malformed() -> None:
    artifact = corruption.at(VALID, ARTIFACT)
    _rejects(corruption.replaced(VALID, ("artifacts",), [artifact, artifact]))


def test_seventeen_artifacts_are_malformed() -> None:
    many: list[Json] = [corruption.replaced(corruption.at(VALID, ARTIFACT), ("class",), f"class-{n}") for n in range(17)]
    manifests.decode(corruption.raw(corruption.replaced(VALID, ("artifacts",), many[:16])))
    _rejects(corruption.replaced(VALID, ("artifacts",), many))


@pytest.mark.parametrize("table", [{"format": 2}, {"format": 2, "name": 5, "new": {"deep": [1]}}, {"format": SEQUENCE_MAX}])
def test_a_later_format_is_refused_before_anything_else_is_judged(table: Json) -> None:
    with pytest.raises(NewerFormatError) as caught:
        manifests.decode(corruption.raw(table))
    assert caught.value.known == manifests.FORMAT


def test_an_oversized_manifest_is_malformed() -> None:
    raw = corruption.raw(VALID)
    manifests.decode(raw.ljust(MANIFEST_SIZE_MAX))
    with pytest.raises(MalformedError):
        manifests.decode(raw.ljust(MANIFEST_SIZE_MAX + 1))
