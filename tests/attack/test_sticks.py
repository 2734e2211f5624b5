"""Sticks that are damaged, foreign, forged or not for this device, put into a device with the real agent.

Whatever it is: one sentence and what to do, the documented exit code, nothing changed but one receipt, and the next genuine
stick is taken.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from tuf.api.metadata import Snapshot, Targets, Timestamp

from tests.field import (
    APP,
    CHUNK,
    COMPATIBLE,
    NEXT,
    OFFERED,
    RUNNING,
    digest,
    load,
    manifest_file,
    metadata_file,
    payload_files,
)
from tests.matrix import By, On, attack
from usbupdate.core.receipt import Event
from usbupdate.core.words import DeviceId
from usbupdate.device.obligations import Rest
from usbupdate.errors import (
    AliasedTargetError,
    ExitCode,
    FileDigestError,
    FoldingNamesError,
    ForeignStickError,
    ForkedOfficeError,
    ImageDiffersError,
    ImageTooLargeError,
    MalformedError,
    ManifestsLostError,
    MediumError,
    MediumFileKindError,
    MediumFileMissingError,
    MetadataExpiredError,
    MetadataMalformedError,
    MetadataMissingError,
    MetadataMixedError,
    MetadataRollbackError,
    MetadataSignatureError,
    NewerFormatError,
    OlderSequenceError,
    OlderStickError,
    OtherDevicesError,
    RejectedError,
    RepeatedKeyError,
    SlotClassMissingError,
    SlotClassUnknownError,
    SteppingStoneError,
    StoredBytesDifferError,
    WrongCompatibleError,
)
from usbupdate.packager import office
from usbupdate.simulate.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuf.api.metadata import Root

    from tests.field import Field, Rig
    from usbupdate.errors import UsbupdateError

_DEEP: Final = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


# --- What every stick that is not taken must end in ------------------------------------------------------------------


def require_no_harm(rig: Rig, mount: Path, kind: type[UsbupdateError] | tuple[type[UsbupdateError], ...]) -> UsbupdateError:
    """Put a stick in, expect that it is not taken, and return what was said."""
    before, receipts = rig.picture(), rig.receipts()
    error = rig.error_of(mount)
    assert isinstance(error, kind), repr(error)
    # 1. What the person gets.
    assert error.exit_code in {ExitCode.REJECTED, ExitCode.REFUSED}
    assert str(error).isprintable()
    assert error.hint.endswith(".")
    assert rig.lines[-1].startswith("refused, nothing changed: ")
    assert str(error)[:60] in rig.lines[-1]
    # 2. What the device keeps.
    assert rig.picture() == before
    # 3. What the auditor gets.
    new = rig.receipts()[len(receipts) :]
    assert len(new) == 1
    draft = new[0].draft
    assert draft.event is (Event.REJECTED if isinstance(error, RejectedError) else Event.REFUSED)
    assert draft.problem is not None
    assert draft.problem.reason == error.reason
    assert draft.count == 1
    return error


def require_takes(rig: Rig, mount: Path, sequence: int) -> None:
    """Put a genuine stick in, and expect that its release is committed."""
    assert rig.update(mount).rest is Rest.IDLE
    status = rig.status()
    assert (status["state"], status["sequence"], status["last_event"]) == ("idle", sequence, "committed")


# --- What damage does ------------------------------------------------------------------------------------------------

FILES: Final[dict[str, Callable[[Path], Path]]] = {
    "timestamp": lambda mount: metadata_file(mount, load(mount, Timestamp)),
    "snapshot": lambda mount: metadata_file(mount, load(mount, Snapshot)),
    "targets": lambda mount: metadata_file(mount, load(mount, Targets)),
    "root": lambda mount: mount / "usbupdate/metadata/1.root.json",
    "manifest": manifest_file,
    "index": lambda mount: payload_files(mount)[0],
    "pack": lambda mount: payload_files(mount)[1],
}
FOLDERS: Final[dict[str, Callable[[Path], Path]]] = {
    "usbupdate": lambda mount: mount / "usbupdate",
    "metadata": lambda mount: mount / "usbupdate/metadata",
    "targets": lambda mount: mount / "usbupdate/targets",
    "payload": lambda mount: mount / "usbupdate/payload",
    "payload-part": lambda mount: payload_files(mount)[1].parent,
    "logs": lambda mount: mount / "usbupdate/logs",
}


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def _grow_beyond_all_bounds(path: Path) -> None:
    os.truncate(path, 1 << 40)


def _corrupt(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 16] = bytes(16)
    path.write_bytes(bytes(raw))


def _nest(path: Path) -> None:
    path.write_bytes(_DEEP)


def _link(path: Path) -> None:
    """Leave the genuine contents reachable, through a link."""
    elsewhere = path.with_name(path.name + ".elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere.name)


def _fifo(path: Path) -> None:
    _remove(path)
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _file(path: Path) -> None:
    _remove(path)
    path.write_bytes(b"not a folder")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


DAMAGES: Final = {
    "missing": _remove,
    "truncated": _truncate,
    "empty": _empty,
    "grown": _grow,
    "huge": _grow_beyond_all_bounds,
    "corrupt": _corrupt,
    "nested-100000-deep": _nest,
    "a-link": _link,
    "a-fifo": _fifo,
    "a-folder": _folder,
}
FOLDER_DAMAGES: Final = {"a-link": _link, "a-fifo": _fifo, "a-file": _file}


# A device that knows the root does not need it from the stick.
_DAMAGED: Final = [(file, damage) for file in FILES for damage in DAMAGES if (file, damage) != ("root", "missing")]


@attack(
    By.STICK,
    On.SLOT,
    "any file missing, cut, grown, huge, a link, a FIFO or a folder",
    "only ordinary files of the signed size and digest",
)
@pytest.mark.parametrize(("file", "damage"), _DAMAGED)
def test_stick_with_a_damaged_file_is_rejected(field: Field, file: str, damage: str) -> None:
    DAMAGES[damage](FILES[file](field.good))
    require_no_harm(field.rig, field.good, RejectedError)
    require_takes(field.rig, field.cure, NEXT)


@attack(By.STICK, On.SERVICE, "something else in place of a folder", "folders are opened as folders, without following links")
@pytest.mark.parametrize("damage", FOLDER_DAMAGES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_stick_with_something_else_in_place_of_a_folder_is_rejected(field: Field, folder: str, damage: str) -> None:
    place = FOLDERS[folder](field.good)
    place.mkdir(exist_ok=True)
    FOLDER_DAMAGES[damage](place)
    require_no_harm(field.rig, field.good, MediumFileKindError)
    require_takes(field.rig, field.cure, NEXT)


@pytest.mark.parametrize("folder", ["metadata", "targets", "payload", "payload-part"])
def test_stick_without_one_of_its_folders_is_rejected(field: Field, folder: str) -> None:
    _remove(FOLDERS[folder](field.good))
    require_no_harm(field.rig, field.good, (MediumFileMissingError, MetadataMissingError, ManifestsLostError))
    require_takes(field.rig, field.cure, NEXT)


@attack(By.STICK, On.SLOT, "any flipped bit in any file that is needed", "digest or signature over every byte")
def test_no_flipped_bit_in_any_file_that_the_device_needs_passes(field: Field) -> None:
    rig = field.rig
    before = rig.picture()
    count = 0
    for place in FILES.values():
        path = place(field.good)
        raw = path.read_bytes()
        stride = max(1, len(raw) // 24)
        for offset in sorted({*range(0, len(raw), stride), 1, len(raw) - 1}):
            damaged = bytearray(raw)
            damaged[offset] ^= 1 << offset % 8
            path.write_bytes(bytes(damaged))
            error = rig.error_of(field.good)
            assert isinstance(error, RejectedError), (path.name, offset, error)
            count += 1
        path.write_bytes(raw)
        assert rig.picture() == before
    assert count > 150
    require_takes(rig, field.good, OFFERED)


@attack(By.STICK, On.TRUST, "a genuine signature in another encoding", "one form of each signature")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("form", [str.upper, lambda digits: f"{digits[:2]} {digits[2:]}"], ids=["upper", "blank"])
def test_a_signature_in_another_form_is_none(field: Field, role: str, form: Callable[[str], str]) -> None:
    # The library takes both, so two sticks with one version would differ and one of them pass for a fork.
    path = FILES[role](field.good)
    table = json.loads(path.read_bytes())
    for signature in table["signatures"]:
        signature["sig"] = form(signature["sig"])
    path.write_text(json.dumps(table))
    require_no_harm(field.rig, field.good, MetadataMalformedError)
    require_takes(field.rig, field.cure, NEXT)


def test_flipped_bit_is_told_apart_by_where_it_is(field: Field) -> None:
    expected: dict[str, tuple[type[UsbupdateError], ...]] = {
        "manifest": (FileDigestError,),
        "index": (FileDigestError,),
        "pack": (StoredBytesDifferError,),
        "targets": (MetadataMixedError, MetadataMalformedError, MetadataSignatureError),
    }
    for file, kind in expected.items():
        path = FILES[file](field.good)
        raw = path.read_bytes()
        path.write_bytes(raw[:100] + bytes([raw[100] ^ 1]) + raw[101:])
        require_no_harm(field.rig, field.good, kind)
        path.write_bytes(raw)


# --- Sticks that are none of ours ------------------------------------------------------------------------------------


def test_empty_stick_is_refused_and_stays_empty(field: Field, mount: Path) -> None:
    require_no_harm(field.rig, mount, ForeignStickError)
    assert list(mount.iterdir()) == []
    require_takes(field.rig, field.good, OFFERED)


@attack(By.STICK, On.STICK, "a private stick is put in", "nothing is written to a stick that is not ours")
def test_stick_with_foreign_files_only_is_refused_and_stays_as_it_is(field: Field, mount: Path) -> None:
    (mount / "holiday.jpg").write_bytes(b"sea")
    (mount / "System Volume Information").mkdir()
    (mount / "update.sh").write_text("reboot")
    (mount / "..usbupdate").mkdir()
    require_no_harm(field.rig, mount, ForeignStickError)
    assert sorted(path.name for path in mount.rglob("*")) == [
        "..usbupdate",
        "System Volume Information",
        "holiday.jpg",
        "update.sh",
    ]


def test_stick_of_another_office_is_rejected(field: Field, tmp_path: Path) -> None:
    other = replace(field, folder=tmp_path / "other")
    other.folder.mkdir()
    office.create(other.repo, field.now)
    other.release(OFFERED)
    require_no_harm(field.rig, other.stick("theirs"), (MetadataSignatureError, ForkedOfficeError, MetadataMixedError))
    require_takes(field.rig, field.good, OFFERED)


@attack(
    By.STICK, On.TRUST, "our first root in front of another office's metadata", "the chain of roots has no gap and no stranger"
)
def test_stick_of_another_office_with_our_first_root_in_front_is_rejected(field: Field, tmp_path: Path) -> None:
    other = replace(field, folder=tmp_path / "other")
    other.folder.mkdir()
    office.create(other.repo, field.now)
    other.release(OFFERED)
    theirs = other.stick("theirs")
    metadata = theirs / "usbupdate/metadata"
    (metadata / "1.root.json").rename(metadata / "2.root.json")
    shutil.copy(field.good / "usbupdate/metadata/1.root.json", metadata)
    require_no_harm(field.rig, theirs, RejectedError)
    require_takes(field.rig, field.good, OFFERED)


def test_other_files_beside_ours_are_ignored(field: Field) -> None:
    (field.good / "autorun.inf").write_text("[autorun]")
    (field.good / "usbupdate/notes.txt").write_text("mine")
    (field.good / "usbupdate/metadata/notes.txt").write_text("mine")
    (field.good / "usbupdate/targets/other-7.json").write_text("{}")
    os.mkfifo(field.good / "usbupdate/payload/fifo")
    require_takes(field.rig, field.good, OFFERED)


@attack(By.STICK, On.SLOT, "two names that FAT takes for one", "names that fold together are rejected")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("usbupdate", "USBUPDATE"),
        ("usbupdate", "usbupdat\N{FULLWIDTH LATIN SMALL LETTER E}"),
        ("usbupdate/metadata", "usbupdate/Metadata"),
        ("usbupdate/metadata/timestamp.json", "usbupdate/metadata/TIMESTAMP.json"),
    ],
)
def test_two_names_that_are_one_to_fat_are_rejected(field: Field, first: str, second: str) -> None:
    place = field.good / first
    if place.is_dir():
        (field.good / second).mkdir()
    else:
        shutil.copy(place, field.good / second)
    require_no_harm(field.rig, field.good, FoldingNamesError)
    require_takes(field.rig, field.cure, NEXT)


@attack(By.STICK, On.SERVICE, "more names than any stick of ours has", "a limit on names")
def test_stick_with_more_names_than_any_of_ours_is_rejected(field: Field) -> None:
    for number in range(10_001):
        (field.good / "usbupdate/metadata" / f"x{number}").touch()
    require_no_harm(field.rig, field.good, RejectedError)


def test_log_only_stick_takes_the_log_and_changes_nothing(field: Field) -> None:
    before = field.rig.picture()
    mount = field.stick("logs-only", log_only=True)
    ran = field.rig.insert(mount)
    assert ran.rest is Rest.IDLE
    rig = field.rig
    assert rig.picture() == before
    assert rig.events() == ["provisioned"]
    assert len((mount / "usbupdate/logs/gw-1/receipts.jsonl").read_bytes().splitlines()) == 1


# --- Signed, and wrong all the same ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forgery:
    """What the owner of every key signs on a stick, and what devices say to it."""

    do: Callable[[Field, Path], None]
    error: type[UsbupdateError]


def _manifest(edit: Callable[[dict[str, object]], bytes | None]) -> Callable[[Field, Path], None]:
    return lambda field, mount: field.press.manifest(mount, edit)  # type: ignore[arg-type] # a table of JSON


def _set(**fields: object) -> Callable[[Field, Path], None]:
    return _manifest(lambda table: table.update(fields))


def _artifact(**fields: object) -> Callable[[Field, Path], None]:
    return _manifest(lambda table: table["artifacts"][0].update(fields))  # type: ignore[index] # a table of JSON


def _expire(field: Field, mount: Path) -> None:
    def end(timestamp: Timestamp) -> None:
        timestamp.expires = field.now - timedelta(days=1)
        signed = field.now - timedelta(days=2)
        timestamp.unrecognized_fields["x-usbupdate-time"] = signed.strftime("%Y-%m-%dT%H:%M:%SZ")

    field.press.publish(mount, end=end)


def _untimed(field: Field, mount: Path) -> None:
    field.press.publish(mount, end=lambda timestamp: timestamp.unrecognized_fields.clear())


def _by_a_stranger(field: Field, mount: Path) -> None:
    field.press.publish(mount, by=("stranger",))


def _unsigned(field: Field, mount: Path) -> None:
    field.press.publish(mount)
    path = metadata_file(mount, load(mount, Timestamp))
    table = json.loads(path.read_bytes())
    path.write_bytes(json.dumps(table | {"signatures": []}).encode())


def _signature_twice(field: Field, mount: Path) -> None:
    path = metadata_file(mount, load(mount, Timestamp))
    table = json.loads(path.read_bytes())
    path.write_bytes(json.dumps(table | {"signatures": table["signatures"] * 2}).encode())


def _duplicate_json_key(field: Field, mount: Path) -> None:
    path = metadata_file(mount, load(mount, Timestamp))
    path.write_bytes(path.read_bytes().replace(b'"signed":', b'"signed": {}, "signed":', 1))


def _one_key_under_two_ids(field: Field, mount: Path) -> None:
    def edit(root: Root) -> None:
        role = root.roles["targets"]
        key = root.keys[role.keyids[0]]
        twin = type(key).from_dict("ab" * 32, key.to_dict())
        root.keys[twin.keyid] = twin
        role.keyids = [key.keyid, twin.keyid]
        role.threshold = 2

    field.press.root(mount, edit)


def _root_by_a_stranger(field: Field, mount: Path) -> None:
    field.press.root(mount, lambda root: None, "stranger")


def _root_takes_over(field: Field, mount: Path) -> None:
    def edit(root: Root) -> None:
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.roles[role].keyids.clear()
            root.add_key(field.press.signer("stranger").public_key, role)

    field.press.root(mount, edit, "stranger")


def _root_with_a_gap(field: Field, mount: Path) -> None:
    def edit(root: Root) -> None:
        root.version += 1

    field.press.root(mount, edit)


def _other_name(field: Field, mount: Path) -> None:
    def edit(targets: Targets) -> None:
        targets.targets["gw-9.json"] = targets.targets.pop("gw-2.json")

    path = manifest_file(mount)
    path.rename(path.with_name(path.name.replace("gw-2", "gw-9")))
    field.press.publish(mount, edit)


def _digest_of_another(field: Field, mount: Path) -> None:
    def edit(table: dict[str, object]) -> None:
        table["artifacts"][0]["image"]["sha256"] = "0" * 64  # type: ignore[index] # a table of JSON

    field.press.manifest(mount, edit)  # type: ignore[arg-type] # the same


FORGERIES: Final = {
    "unknown-field": Forgery(_set(extra=1), MalformedError),
    "unknown-field-inside": Forgery(_artifact(extra=1), MalformedError),
    "wrong-type": Forgery(_set(sequence="2"), MalformedError),
    "true-for-a-number": Forgery(_set(sequence=True), MalformedError),
    "sequence-zero": Forgery(_set(sequence=0), MalformedError),
    "sequence-too-large": Forgery(_set(sequence=1 << 53), MalformedError),
    "float": Forgery(_set(sequence=2.0), MalformedError),
    "path-for-a-name": Forgery(_set(name="../../etc/passwd"), MalformedError),
    "control-character": Forgery(_set(version="1.2\x1b[2J"), MalformedError),
    "path-for-a-digest": Forgery(_artifact(index={"sha256": "../" * 20 + "etc", "size": 10}), MalformedError),
    "chunks-too-small": Forgery(_artifact(chunk_size=4096), MalformedError),
    "no-artifacts": Forgery(_set(artifacts=[]), MalformedError),
    "no-compatible": Forgery(_set(compatible=[]), MalformedError),
    "nested-100000-deep": Forgery(_manifest(lambda _: _DEEP), MalformedError),
    "duplicate-key": Forgery(_manifest(lambda _: b'{"format": 1, "format": 1}'), MalformedError),
    "no-json": Forgery(_manifest(lambda _: b"\xff\xfe"), MalformedError),
    "no-object": Forgery(_manifest(lambda _: b"[1]"), MalformedError),
    "later-format": Forgery(_set(format=2), NewerFormatError),
    "later-format-unreadable": Forgery(_manifest(lambda _: b'{"format": 99, "images": {"new": []}}'), NewerFormatError),
    "format-zero": Forgery(_set(format=0), MalformedError),
    "under-another-name": Forgery(_other_name, AliasedTargetError),
    "index-of-another-size": Forgery(_artifact(chunk_size=2 * CHUNK), RejectedError),
    "expired": Forgery(_expire, MetadataExpiredError),
    "untimed": Forgery(_untimed, MetadataMalformedError),
    "by-a-stranger": Forgery(_by_a_stranger, MetadataSignatureError),
    "unsigned": Forgery(_unsigned, MetadataSignatureError),
    "signature-twice": Forgery(_signature_twice, MetadataMalformedError),
    "duplicate-key-in-metadata": Forgery(_duplicate_json_key, MetadataMalformedError),
    "one-key-under-two-ids": Forgery(_one_key_under_two_ids, RepeatedKeyError),
    "root-by-a-stranger": Forgery(_root_by_a_stranger, MetadataSignatureError),
    "root-takes-over": Forgery(_root_takes_over, MetadataSignatureError),
    "root-with-a-gap": Forgery(_root_with_a_gap, MetadataMissingError),
    "wrong-compatible": Forgery(_set(compatible=["acme,other"]), WrongCompatibleError),
    "other-devices": Forgery(_set(devices=["gw-2", "gw-11"]), OtherDevicesError),
    "other-groups": Forgery(_set(groups=["lab"]), OtherDevicesError),
    "stepping-stone": Forgery(_set(from_sequence_min=2), SteppingStoneError),
}


@attack(
    By.SIGNER,
    On.SLOT,
    "well-signed and wrong: wrong types, paths for names, numbers out of range, other hardware",
    "strict decoder, grammars and policy behind the signatures",
)
@pytest.mark.parametrize("name", FORGERIES)
def test_signed_and_wrong_all_the_same(field: Field, name: str) -> None:
    forgery = FORGERIES[name]
    forgery.do(field, field.good)
    error = require_no_harm(field.rig, field.good, forgery.error)
    if forgery.error is NewerFormatError:
        assert error.exit_code is ExitCode.REFUSED
    require_takes(field.rig, field.cure, NEXT)


@attack(By.SIGNER, On.SLOT, "one signer of two releases alone", "threshold on the targets")
def test_fewer_signatures_than_the_threshold_are_rejected_and_enough_are_taken(field: Field) -> None:
    def two(root: Root) -> None:
        root.add_key(field.press.signer("second").public_key, "targets")
        root.roles["targets"].threshold = 2

    field.press.root(field.good, two)
    require_no_harm(field.rig, field.good, MetadataSignatureError)
    for by in (("targets",), ("targets", "stranger"), ("second",)):
        field.rig.boot()
        field.press.publish(field.good, by=by)
        require_no_harm(field.rig, field.good, MetadataSignatureError)
    field.press.publish(field.good, by=("targets", "second"))
    require_takes(field.rig, field.good, OFFERED)


@attack(
    By.SIGNER,
    On.SLOT,
    "a packager signs chunks of another image than was approved",
    "the image's digest is proven from what was read back",
)
def test_image_that_is_not_the_signed_one_is_a_failure_and_never_booted(field: Field) -> None:
    _digest_of_another(field, field.good)
    error = field.rig.error_of(field.good)
    assert isinstance(error, ImageDiffersError)
    assert field.rig.events() == ["provisioned", "failed"]
    assert field.rig.status()["slots"]["b"]["good"] is False  # type: ignore[call-overload, index] # a table of JSON
    require_takes(field.rig, field.cure, NEXT)


# --- Genuine, and not for this device or not now ---------------------------------------------------------------------


@attack(By.OLD_STICK, On.SLOT, "downgrade to a genuine older release", "the sequence never falls")
def test_lower_sequence_is_refused(field: Field) -> None:
    rig = field.device("newer", version="9", sequence=9)
    require_no_harm(rig, field.good, OlderSequenceError)


@attack(
    By.TECHNICIAN, On.SLOT, "a release for other devices is put into this one", "devices and groups are signed in the manifest"
)
def test_release_for_named_devices_and_groups_is_taken_by_those(field: Field) -> None:
    _set(devices=["gw-5"], groups=["lab"])(field, field.good)
    require_no_harm(field.rig, field.good, OtherDevicesError)
    require_takes(field.device("lab-1", groups=("lab",)), field.good, OFFERED)
    require_takes(field.device("five", device=DeviceId("gw-5")), field.good, OFFERED)


@attack(By.SIGNER, On.SLOT, "an image that does not fit", "sizes are compared before anything changes")
def test_image_larger_than_the_slot_is_refused(field: Field) -> None:
    rig = field.device("small", images={"rootfs": field.image(RUNNING, chunks=8)})
    require_no_harm(rig, field.good, ImageTooLargeError)


@attack(By.SIGNER, On.SLOT, "a release that would leave half of a slot old", "every slot class or none")
def test_release_without_an_image_for_one_of_the_slot_classes_is_refused(field: Field) -> None:
    rig = field.device("two", images={"rootfs": field.image(RUNNING), APP: field.image(7, chunks=4)})
    require_no_harm(rig, field.good, SlotClassMissingError)


@attack(
    By.SIGNER,
    On.SLOT,
    "extraneous dependencies: an image that the device has no slot for comes along",
    "what a release consists of is signed, and it is all taken or nothing",
)
def test_release_with_an_image_for_an_unknown_slot_class_is_refused(field: Field) -> None:
    field.release(NEXT, images={"rootfs": field.image(NEXT), APP: field.image(7, chunks=4)})
    require_no_harm(field.rig, field.stick("surplus"), SlotClassUnknownError)
    require_takes(field.rig, field.good, OFFERED)


@attack(By.OLD_STICK, On.SLOT, "a stick from before a withdrawal", "newest metadata seen decide, also about older sticks")
def test_older_stick_whose_bundle_is_withdrawn_is_refused_and_says_what_is_newer(field: Field) -> None:
    withdrawn = field.copy(field.folder.with_name("withdrawn"))

    def nothing(targets: Targets) -> None:
        targets.targets.clear()

    withdrawn.press.publish(withdrawn.good, nothing)
    shutil.rmtree(withdrawn.good / "usbupdate/targets")
    shutil.rmtree(withdrawn.good / "usbupdate/payload")
    field.rig.insert(withdrawn.good)
    require_no_harm(field.rig, field.good, OlderStickError)
    require_takes(field.rig, field.cure, NEXT)


def test_older_stick_for_receipts_only_is_no_error(field: Field) -> None:
    rig, older = field.rig, field.stick("older", log_only=True)
    rig.update(field.cure)
    rig.insert(older)
    assert rig.lines[-1] == "done, remove"
    assert rig.events() == ["provisioned", "committed"]
    assert len((older / "usbupdate/logs/gw-1/receipts.jsonl").read_bytes().splitlines()) == 2


def test_older_stick_whose_bundle_is_still_listed_is_taken(field: Field) -> None:
    field.release(NEXT)
    field.rig.insert(field.stick("newer", log_only=True))
    require_takes(field.rig, field.good, OFFERED)


@attack(By.OLD_STICK, On.SLOT, "the last release's stick after the update", "the sequence never falls")
def test_genuine_but_older_stick_is_refused_after_the_update(field: Field) -> None:
    require_takes(field.rig, field.cure, NEXT)
    require_no_harm(field.rig, field.good, (OlderSequenceError, OlderStickError))


def test_stick_of_a_forked_office_is_rejected(field: Field) -> None:
    fork = field.copy(field.folder.with_name("fork"))
    field.release(NEXT)
    fork.release(4)
    field.rig.insert(field.stick("one", log_only=True))
    require_no_harm(field.rig, fork.stick("other"), ForkedOfficeError)


@attack(By.STICK, On.TRUST, "a snapshot from before what was seen", "versions never fall")
def test_snapshot_that_goes_back_behind_what_was_seen_is_rejected(field: Field) -> None:
    field.rig.insert(field.cure)
    field.rig.boot()
    targets, timestamp = load(field.good, Targets), load(field.good, Timestamp)
    assert targets.version < load(field.cure, Targets).version

    def forward(late: Timestamp) -> None:
        late.version = 100

    assert timestamp.version < 100
    field.press.publish(field.good, end=forward)
    require_no_harm(field.rig, field.good, MetadataRollbackError)


# --- The same one again ----------------------------------------------------------------------------------------------


def test_same_refusal_again_in_one_boot_is_counted_and_told_once_more_after_it(field: Field, mount: Path) -> None:
    rig = field.rig
    for _ in range(4):
        rig.error_of(mount)
    assert rig.events() == ["provisioned", "refused"]
    rig.boot()
    assert rig.events() == ["provisioned", "refused", "refused"]
    assert rig.last().count == 3
    rig.boot()
    assert len(rig.events()) == 3


def test_other_refusal_in_between_is_told_in_order(field: Field, mount: Path) -> None:
    rig = field.rig
    rig.error_of(mount)
    rig.error_of(mount)
    _corrupt(payload_files(field.good)[1])
    rig.error_of(field.good)
    rig.error_of(mount)
    assert [(str(each.event), each.draft.count) for each in rig.receipts()[1:]] == [
        ("refused", 1),
        ("refused", 1),
        ("rejected", 1),
        ("refused", 1),
    ]


@attack(By.TECHNICIAN, On.RECORD, "a thousand bad sticks fill the log", "equal refusals are counted, not repeated")
def test_thousand_bad_sticks_do_not_fill_the_device(field: Field, mount: Path) -> None:
    rig = field.rig
    for _ in range(60):
        rig.error_of(mount)
    size = sum(path.stat().st_size for path in (rig.folder / "state").rglob("*") if path.is_file())
    assert len(rig.receipts()) == 2
    assert size < 64 << 10


class _Swap:
    """Puts another stick in the place of one in the middle of an installation. Implements `device.installer.Advance`."""

    def __init__(self, stick: Path, other: Path) -> None:
        self._stick = stick
        self._other = other
        self._installs = False

    def began(self, what: str) -> None:
        self._installs = what == "installing"

    def advanced(self, done_bytes: int, total_bytes: int) -> None:
        if self._installs and done_bytes > total_bytes // 3 and self._other.exists():
            # What is open on a stick that was pulled gives nothing any more.
            for file in (self._stick / "usbupdate/payload").rglob("*"):
                if file.is_file():
                    os.truncate(file, 0)
            self._stick.rename(self._stick.with_name("pulled"))
            self._other.rename(self._stick)


@attack(
    By.TECHNICIAN,
    On.SLOT,
    "the stick is replaced by another genuine one during the installation",
    "no chunk counts but those that this release's index names, and the slot is condemned until it is whole",
)
def test_stick_that_is_replaced_while_it_installs_never_mixes_two_releases(field: Field) -> None:
    rig = field.rig
    with pytest.raises((RejectedError, MediumError)):
        # One after the other: what is read ahead would be the first stick's to the end.
        Bench(rig.folder, _Lines(), _Swap(field.good, field.cure), workers=1).insert(field.good)
    assert rig.status()["slots"]["b"]["good"] is False  # type: ignore[index, call-overload]  # a JSON document
    assert rig.last().event in {Event.INTERRUPTED, Event.FAILED}
    rig.remove()
    require_takes(rig, field.good, NEXT)
    assert rig.slot_image("b") == field.image_sha256(NEXT)


class _Lines:
    """A console that nobody looks at."""

    def __call__(self, line: str) -> None:
        """Show nothing."""


# --- What lies in the folder of logs ---------------------------------------------------------------------------------


@attack(
    By.STICK, On.SERVICE, "traps in the stick's log folder", "logs are written beneath an open folder, without following links"
)
@pytest.mark.parametrize(
    ("place", "kind"),
    [("logs/gw-1", "link"), ("logs/gw-1", "fifo"), ("logs/gw-1/receipts.jsonl", "link")]
    + [(f"logs/gw-1/{name}", kind) for name in ("receipts.jsonl", "summary.txt") for kind in ("fifo", "deep", "folder")],
)
def test_hostile_log_folder_neither_stops_an_update_nor_is_followed(
    field: Field, tmp_path: Path, place: str, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    target = field.good / "usbupdate" / place
    target.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "link":
            target.symlink_to(victim)
        case "fifo":
            os.mkfifo(target)
        case "folder":
            target.mkdir()
        case _:
            target.write_bytes(_DEEP)
    require_takes(field.rig, field.good, OFFERED)
    assert list(victim.iterdir()) == []
    # Nothing is lost: the next stick gets it all.
    field.rig.insert(field.cure)
    field.rig.boot()
    assert len((field.cure / "usbupdate/logs/gw-1/receipts.jsonl").read_bytes().splitlines()) == 3


def test_image_of_the_good_stick_is_what_was_signed(field: Field) -> None:
    require_takes(field.rig, field.good, OFFERED)
    assert field.rig.slot_image("b") == field.image_sha256(OFFERED)
    assert field.rig.slot_image("a") == field.image_sha256(RUNNING)
    assert COMPATIBLE in manifest_file(field.good).read_text()
    assert digest(manifest_file(field.good).read_bytes()) in manifest_file(field.good).name
