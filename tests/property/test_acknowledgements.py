"""The three forms in which the office's word on receipts travels: in a stick's file, in a device's log, and who may give it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.property import corruption
from tests.receipts import acknowledgement, acknowledger, chain, device
from usbupdate.core import acknowledged, acknowledgements, acknowledgers, checkpoint, cosignature, merkle
from usbupdate.core.acknowledged import ACKNOWLEDGED_SIZE_MAX, Acknowledged
from usbupdate.core.acknowledgements import ACKNOWLEDGEMENTS_SIZE_MAX, LINE_SIZE_MAX
from usbupdate.core.acknowledgers import ACKNOWLEDGERS_MAX, FIELD
from usbupdate.core.cosignature import NOTE_SIZE_MAX, Cosigner
from usbupdate.core.identity import PublicKey
from usbupdate.core.layout import ACKNOWLEDGEMENTS
from usbupdate.core.words import DEVICE_ID, DeviceId
from usbupdate.errors import AcknowledgementError, MalformedError, MediumFileMissingError
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.core.strictjson import Json

LINES = chain(5)
LEAVES = [merkle.leaf_hash(line) for line in LINES]
NOTE = acknowledgement(LINES)
NAMED = [acknowledger()[0]]
NAMES = st.sets(st.from_regex(DEVICE_ID, fullmatch=True), max_size=6)
IDENTITY, SIGNER = device("gw-0001")
FILE = acknowledged.encode(Acknowledged(NOTE, merkle.GrowingTree(LEAVES).subtrees))


def note_of(name: str) -> bytes:
    identity, signer = device(name)
    return cosignature.cosign(checkpoint.sign(identity, 1, bytes(32), signer), NAMED[0], 1, acknowledger()[1])


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    (tmp_path / ACKNOWLEDGEMENTS[0]).mkdir()
    return tmp_path


def put(stick: Path, raw: bytes) -> DirectoryMedium:
    stick.joinpath(*ACKNOWLEDGEMENTS).write_bytes(raw)
    return DirectoryMedium(stick)


@given(NAMES)
def test_the_file_of_a_stick_is_read_back(names: set[str]) -> None:
    notes = {DeviceId(name): note_of(name) for name in names}
    raw = acknowledgements.encode(notes)
    assert acknowledgements.decode(raw) == notes
    assert raw.count(b"\n") == len(notes)
    assert all(len(line) <= LINE_SIZE_MAX for line in raw.splitlines())


@given(names=NAMES, other=st.from_regex(DEVICE_ID, fullmatch=True))
def test_each_device_finds_its_own_line_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], other: str
) -> None:
    stick = tmp_path_factory.mktemp("stick")
    (stick / "usbupdate").mkdir()
    notes = {DeviceId(name): note_of(name) for name in names}
    medium = put(stick, acknowledgements.encode(notes))
    for name in {*names, other}:
        assert acknowledgements.find(medium, DeviceId(name)) == notes.get(DeviceId(name))


@pytest.mark.parametrize("block", [1, 2, 7, 64, 1000])
def test_a_line_is_found_wherever_a_block_ends(stick: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(acknowledgements, "_BLOCK", block)
    notes = {DeviceId(name): note_of(name) for name in ("a", "gw-1", "gw-10", "z")}
    medium = put(stick, acknowledgements.encode(notes))
    for name, note in notes.items():
        assert acknowledgements.find(medium, name) == note
    assert acknowledgements.find(medium, DeviceId("gw-11")) is None


def test_ten_thousand_devices_fit_into_one_file(stick: Path) -> None:
    longest = "x" * 58
    note = note_of(longest + "00000")
    notes = {
        DeviceId(f"{longest}{number:05}"): note.replace(f"{longest}00000".encode(), f"{longest}{number:05}".encode())
        for number in range(10_000)
    }
    raw = acknowledgements.encode(notes)
    assert len(raw) < ACKNOWLEDGEMENTS_SIZE_MAX
    assert acknowledgements.find(put(stick, raw), DeviceId(longest + "09999")) == notes[DeviceId(longest + "09999")]


def test_a_stick_without_the_file_is_told_from_one_with_another_devices_line(stick: Path) -> None:
    with pytest.raises(MediumFileMissingError):
        acknowledgements.find(DirectoryMedium(stick), IDENTITY.device)
    assert acknowledgements.find(put(stick, b""), IDENTITY.device) is None


@pytest.mark.parametrize("place", range(0, len(acknowledgements.encode({IDENTITY.device: NOTE})), 3))
def test_a_change_of_any_byte_of_a_line_is_found(stick: Path, place: int) -> None:
    raw = bytearray(acknowledgements.encode({IDENTITY.device: NOTE}))
    raw[place] ^= 1
    medium = put(stick, bytes(raw))
    try:
        note = acknowledgements.find(medium, IDENTITY.device)
        found = None if note is None else cosignature.open_note(note, NAMED)
    except (MalformedError, AcknowledgementError):
        return
    # A changed id is another device's line, and a changed signature of the device's own is of no account.
    assert found is None or found.checkpoint == cosignature.peek_unproven(NOTE)


def second_line(change: str) -> bytes:
    line = acknowledgements.encode({IDENTITY.device: NOTE})
    foreign = acknowledgements.encode({DeviceId("gw-0002"): note_of("gw-0002")})
    match change:
        case "twice":
            return line + line
        case "out of order":
            return foreign + line
        case "cut short":
            return line[:-1]
        case "no end":
            return line[:-1] + b" " * LINE_SIZE_MAX + b"\n"
        case "blank":
            return b"\n" + line
        case "blanks in it":
            return line.replace(b'","', b'", "')
        case "another device's note":
            return line.replace(b'{"device":"gw-0001"', b'{"device":"gw-0009"')
        case _:
            return line.replace(b'"}', b'","time":1}')


OTHER_FORM = ("whole", "not in its one canonical form")


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ("twice", "whole", "gw-0001 does not come after gw-0001"),
        ("out of order", "whole", "gw-0001 does not come after gw-0002"),
        ("cut short", "whole", "its last line is cut short"),
        ("no end", "whole", f"larger than {LINE_SIZE_MAX} bytes"),
        ("blank", "whole", "not JSON in UTF-8"),
        ("blanks in it", *OTHER_FORM),
        ("another device's note", "note", "about another device"),
        ("more fields", "time", "unknown field"),
    ],
)
def test_a_file_has_one_form(change: str, field: str, problem: str) -> None:
    with pytest.raises(MalformedError) as caught:
        acknowledgements.decode(second_line(change))
    error = caught.value
    assert (error.document, error.field, error.problem) == ("acknowledgements", field, problem)


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ("twice", "whole", "gw-0001 stands twice"),
        ("cut short", "whole", "a line is too long, or cut short"),
        ("no end", "whole", "a line is too long, or cut short"),
        ("blanks in it", *OTHER_FORM),
        ("more fields", "time", "unknown field"),
    ],
)
def test_a_device_does_not_take_its_line_from_a_file_that_breaks_its_form_there(
    stick: Path, change: str, field: str, problem: str
) -> None:
    medium = put(stick, second_line(change))
    with pytest.raises(MalformedError) as caught:
        acknowledgements.find(medium, IDENTITY.device)
    assert (caught.value.field, caught.value.problem) == (field, problem)


def test_a_file_and_a_line_may_have_their_largest_sizes_and_not_more(stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = acknowledgements.encode({DeviceId("gw-0002"): note_of("gw-0002")})
    line = acknowledgements.encode({IDENTITY.device: NOTE})
    raw = line + foreign
    medium = put(stick, raw)
    monkeypatch.setattr(acknowledgements, "LINE_SIZE_MAX", max(len(line), len(foreign)) - 1)
    monkeypatch.setattr(acknowledgements, "ACKNOWLEDGEMENTS_SIZE_MAX", len(raw))
    assert acknowledgements.find(medium, IDENTITY.device) == NOTE
    assert acknowledgements.decode(raw)[IDENTITY.device] == NOTE
    monkeypatch.setattr(acknowledgements, "ACKNOWLEDGEMENTS_SIZE_MAX", len(raw) - 1)
    for read in (lambda: acknowledgements.find(medium, IDENTITY.device), lambda: acknowledgements.decode(raw)):
        with pytest.raises(MalformedError, match=f"larger than {len(raw) - 1} bytes"):
            read()


def test_more_than_a_file_may_hold_is_not_written() -> None:
    with pytest.raises(MalformedError, match="larger than"):
        acknowledgements.decode(bytes(ACKNOWLEDGEMENTS_SIZE_MAX + 1))
    big = NOTE + "— é é\n".encode()
    with pytest.raises(MalformedError):
        acknowledgements.encode({IDENTITY.device: big})


@given(st.integers(0, 70), st.integers(0, 70))
def test_a_log_that_begins_later_gives_the_same_root(before: int, after: int) -> None:
    leaves = [number.to_bytes(32, "big") for number in range(before + after)]
    note = acknowledgement_over(leaves[:before])
    file = Acknowledged(note, merkle.GrowingTree(leaves[:before]).subtrees)
    assert acknowledged.decode(acknowledged.encode(file)) == file
    tree = file.tree()
    for leaf in leaves[before:]:
        tree.add(leaf)
    assert (tree.size, tree.root()) == (len(leaves), merkle.root(leaves))


def acknowledgement_over(leaves: list[bytes]) -> bytes:
    note = checkpoint.sign(IDENTITY, len(leaves), merkle.root(leaves), SIGNER)
    return cosignature.cosign(note, NAMED[0], 1, acknowledger()[1])


@pytest.mark.parametrize("place", range(0, len(FILE), 2))
def test_a_change_of_any_byte_of_the_file_in_a_log_is_found(place: int) -> None:
    raw = bytearray(FILE)
    raw[place] ^= 1
    try:
        read = acknowledged.decode(bytes(raw))
        found = cosignature.open_note(read.note, NAMED)
    except (MalformedError, AcknowledgementError):
        return
    assert (found.checkpoint, read.subtrees) == (cosignature.peek_unproven(NOTE), acknowledged.decode(FILE).subtrees)


TABLE: dict[str, Json] = json.loads(FILE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 0),
        ("note", "x"),
        ("note", "x" * (NOTE_SIZE_MAX + 1)),
        ("subtrees", []),
        ("subtrees", ["00" * 32]),
        ("subtrees", [f"{number:064x}" for number in range(65)]),
        ("subtrees", ["AA" * 32]),
        ("extra", 1),
    ],
)
def test_a_field_of_the_file_in_a_log_that_breaks_its_rule_is_refused(field: str, value: Json) -> None:
    with pytest.raises(MalformedError):
        acknowledged.decode(corruption.raw({**TABLE, field: value}) + b"\n")


@pytest.mark.parametrize(
    ("raw", "field", "problem"),
    [
        (corruption.raw({**TABLE, "subtrees": []}) + b"\n", "subtrees", "not those of the checkpoint"),
        (FILE[:-1], "whole", "not in its one canonical form"),
        (b"[]", "whole", "not a JSON object"),
    ],
)
def test_what_is_wrong_with_the_file_in_a_log_is_told(raw: bytes, field: str, problem: str) -> None:
    with pytest.raises(MalformedError) as caught:
        acknowledged.decode(raw)
    assert (caught.value.document, caught.value.field, caught.value.problem) == ("acknowledged", field, problem)


def test_the_file_in_a_log_has_one_form_and_a_largest_size() -> None:
    with pytest.raises(MalformedError, match="canonical"):
        acknowledged.decode(FILE[:-1])
    with pytest.raises(MalformedError, match="larger"):
        acknowledged.decode(FILE.ljust(ACKNOWLEDGED_SIZE_MAX + 1))
    longest = Acknowledged(NOTE[:-1] + b"\n", tuple(bytes([each]) * 32 for each in range(64)))
    assert len(acknowledged.encode(longest)) + NOTE_SIZE_MAX < ACKNOWLEDGED_SIZE_MAX


def person(number: int) -> dict[str, Json]:
    return {"name": f"office-{number}", "public_key": f"{number:064x}"}


@given(st.sets(st.from_regex(acknowledgers.NAME, fullmatch=True), max_size=ACKNOWLEDGERS_MAX))
def test_whom_the_list_of_bundles_names_is_read_back(names: set[str]) -> None:
    cosigners = [Cosigner(name, PublicKey(number.to_bytes(32, "big"))) for number, name in enumerate(sorted(names))]
    assert acknowledgers.decode({FIELD: acknowledgers.encode(reversed(cosigners))}) == tuple(cosigners)


def test_metadata_that_say_nothing_name_nobody() -> None:
    assert acknowledgers.decode({}) == acknowledgers.decode({"x-other": 1}) == ()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "office",
        [1],
        [{"name": "office"}],
        [{**person(1), "name": "Office"}],
        [{**person(1), "name": ""}],
        [{**person(1), "public_key": "00" * 31}],
        [{**person(1), "public_key": "AA" * 32}],
        [{**person(1), "until": 1}],
        [person(1), {**person(2), "name": "office-1"}],
        [person(1), {**person(1), "name": "office-2"}],
        [person(number) for number in range(ACKNOWLEDGERS_MAX + 1)],
    ],
)
def test_a_field_of_another_form_names_nobody_and_is_told(value: Json) -> None:
    with pytest.raises(MalformedError) as caught:
        acknowledgers.decode({FIELD: value})
    assert caught.value.field.startswith(FIELD)
    assert caught.value.document == "targets metadata"


def test_one_key_does_not_stand_for_two() -> None:
    with pytest.raises(MalformedError) as caught:
        acknowledgers.decode({FIELD: [person(1), {**person(1), "name": "office-2"}]})
    assert (caught.value.field, caught.value.problem) == (FIELD, "a name or a key stands twice")
