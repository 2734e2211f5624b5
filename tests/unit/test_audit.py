from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.receipts import chain, device, draft, write_log
from usbupdate import medium
from usbupdate.audit.copies import find_copies
from usbupdate.audit.depth import Checked
from usbupdate.audit.devices import Devices, Enrolment, Trust
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import Standing, Verdict, require_good, verify
from usbupdate.audit.wording import timeline_table, timelines
from usbupdate.cli.audit import app
from usbupdate.core.identity import encode
from usbupdate.core.judgement import Judgement, check_of
from usbupdate.core.receipt import NO_PREVIOUS, ClockQuality, Receipt
from usbupdate.core.words import DeviceId
from usbupdate.errors import (
    DeviceNotThereError,
    EnrolledKeyDiffersError,
    EnrolmentUnreadableError,
    EvidenceBrokenError,
    FingerprintDiffersError,
    MediumUnreadableError,
    NoEvidenceError,
    NotEnrolledError,
    UnusableFileError,
    UnusableValueError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from usbupdate.core.layout import MediumPath
    from usbupdate.medium import HeldFolder

IDENTITY = device("gw-0001")[0]
OTHER = device("gw-0002")[0]


@pytest.fixture
def stick(mount: Path) -> Path:
    write_log(logs(mount) / "gw-0001", 4)
    write_log(logs(mount) / "gw-0002", 2, "gw-0002")
    return mount


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return Devices(tmp_path / "devices")


def logs(mount: Path) -> Path:
    return mount / "usbupdate" / "logs"


def verdicts_on(devices: Devices, *places: Path) -> list[Verdict]:
    return list(verify(find_copies(places), devices))


def test_untouched_evidence_of_enrolled_devices_is_good(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    verdicts = verdicts_on(devices, stick)
    require_good(verdicts)
    assert [(verdict.device, verdict.standing, len(verdict.receipts)) for verdict in verdicts] == [
        ("gw-0001", Standing.OK, 4),
        ("gw-0002", Standing.OK, 2),
    ]


def test_untouched_evidence_of_unknown_devices_is_never_good(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device="gw-0002", fingerprint=None)
    verdicts = verdicts_on(devices, stick)
    assert [verdict.standing for verdict in verdicts] == [Standing.NOT_ENROLLED, Standing.OK]
    with pytest.raises(NotEnrolledError, match="gw-0001"):
        require_good(verdicts)


@pytest.mark.parametrize("place", ["", "usbupdate", "usbupdate/logs", "usbupdate/logs/gw-0001"])
def test_a_stick_or_any_folder_of_it_will_do(tmp_path: Path, stick: Path, devices: Devices, place: str) -> None:
    copied = tmp_path / "case 17 (copy)"
    shutil.copytree(stick / place, copied)
    enrol(stick, devices, device=None, fingerprint=None)
    verdicts = verdicts_on(devices, copied)
    require_good(verdicts)
    assert verdicts[0].device == "gw-0001"


def test_a_reader_takes_the_part_file_when_there_is_no_other(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    for name in ("receipts.jsonl", "checkpoint", "identity.json"):
        (logs(stick) / "gw-0001" / name).rename(logs(stick) / "gw-0001" / f"{name}.part")
    (logs(stick) / "gw-0002" / "receipts.jsonl.part").write_bytes(b"torn")
    require_good(verdicts_on(devices, stick))


def test_a_reader_takes_the_other_file_where_a_cut_tore_the_one_in_its_place(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    for name in ("receipts.jsonl", "checkpoint", "identity.json"):
        place = logs(stick) / "gw-0001" / name
        whole = place.read_bytes()
        place.with_name(f"{name}.part").write_bytes(whole)
        place.write_bytes(whole[:-70] + bytes(70))
    require_good(verdicts_on(devices, stick))


def test_a_reader_takes_the_other_file_where_the_one_in_its_place_cannot_be_read(
    stick: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    whole = logs(stick) / "gw-0001" / "receipts.jsonl"
    real = medium._read_whole

    def read(folder: int | Path, path: tuple[str, ...], limit: int) -> bytes:
        # Its clusters are free already, as FAT may leave a file that was being written.
        if path[-2:] == ("gw-0001", unreadable):
            raise MediumUnreadableError(name=path[-1], problem="Input/output error")
        return real(folder, path, limit)

    monkeypatch.setattr(medium, "_read_whole", read)
    unreadable = "receipts.jsonl"
    assert verdicts_on(devices, stick)[0].standing is Standing.BROKEN
    whole.with_name("receipts.jsonl.part").write_bytes(whole.read_bytes())
    require_good(verdicts_on(devices, stick))
    unreadable = "receipts.jsonl.part"
    require_good(verdicts_on(devices, stick))
    for name in ("receipts.jsonl", "checkpoint"):
        (logs(stick) / "gw-0001" / name).unlink()
    assert verdicts_on(devices, stick)[0].standing is Standing.INCOMPLETE


def test_a_file_that_takes_its_place_while_its_folder_is_read_is_not_missed(
    stick: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    file = stick / "usbupdate" / "logs" / "gw-0001" / "receipts.jsonl"
    part = file.rename(file.with_name("receipts.jsonl.part"))
    held = medium.DirectoryMedium.held

    @contextmanager
    def held_while_it_changes(stick: medium.DirectoryMedium, path: MediumPath) -> Iterator[HeldFolder]:
        with held(stick, path) as folder:
            if part.exists() and path[-1] == "gw-0001":
                part.rename(file)
            yield folder

    monkeypatch.setattr(medium.DirectoryMedium, "held", held_while_it_changes)
    assert {verdict.standing for verdict in verdicts_on(devices, stick)} == {Standing.OK}


def test_no_file_is_opened_that_is_not_there(stick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read_whole = medium._read_whole

    def noted(folder: int | Path, path: MediumPath, limit: int) -> bytes:
        asked.append(path[-1])
        return read_whole(folder, path, limit)

    monkeypatch.setattr(medium, "_read_whole", noted)
    (place,) = (each for each in find_copies([stick]) if each.folder == "gw-0001")
    found = place.read()
    assert sorted(found.files) == sorted(asked) == ["checkpoint", "identity.json", "receipts.jsonl"]


def test_enrolled_devices_are_told_in_the_order_of_their_ids(tmp_path: Path) -> None:
    folder = tmp_path / "known"
    folder.mkdir()
    for name in ("b.json", "a-b.json", "a.json", "a0.json", "A.json", "a.leaves", "notes.txt"):
        (folder / name).touch()
    assert list(Devices(folder).names()) == ["a", "a-b", "a0", "b"]


def test_a_link_is_told_also_where_the_other_file_is_whole(tmp_path: Path, stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    receipts = logs(stick) / "gw-0001" / "receipts.jsonl"
    receipts.rename(receipts.with_name("receipts.jsonl.part"))
    receipts.symlink_to(tmp_path / "elsewhere")
    assert verdicts_on(devices, stick)[0].standing is Standing.BROKEN


@pytest.mark.parametrize("name", ["receipts.jsonl", "receipts.jsonl.part"])
@pytest.mark.parametrize("lies_there", [bytes(512), b"\n" * 512, chain(1, "gw-0002")[0][:511] + b"\n", chain(4)[3][-512:]])
@pytest.mark.parametrize(("begin", "end"), [(0, 1), (0, 6), (2, 3), (5, 9), (12, 16), (0, 16)])
def test_a_first_copy_with_holes_is_incomplete_and_accuses_nobody(
    mount: Path, devices: Devices, name: str, lies_there: bytes, begin: int, end: int
) -> None:
    devices.save(Enrolment(IDENTITY, Trust.FINGERPRINT))
    whole = b"".join(line + b"\n" for line in chain(4))
    torn = whole[: 512 * begin] + lies_there * (end - begin) + whole[512 * end :]
    log = logs(mount) / "gw-0001"
    log.mkdir(parents=True)
    (log / name).write_bytes(torn[: len(whole)])
    (verdict,) = verdicts_on(devices, mount)
    assert verdict.standing is Standing.INCOMPLETE
    assert {finding.flaw for finding in verdict.findings} == {Flaw.TORN, Flaw.CHECKPOINT_MISSING, Flaw.IDENTITY_MISSING}


@pytest.mark.parametrize("contradicts", [[chain(4)[1], chain(4)[3]], [*chain(4), chain(5, text="another history")[4]]])
def test_what_a_device_signed_contradicts_also_in_a_copy_without_a_checkpoint(
    mount: Path, devices: Devices, contradicts: list[bytes]
) -> None:
    devices.save(Enrolment(IDENTITY, Trust.FINGERPRINT))
    log = logs(mount) / "gw-0001"
    log.mkdir(parents=True)
    (log / "receipts.jsonl.part").write_bytes(b"".join(line + b"\n" for line in contradicts))
    assert verdicts_on(devices, mount)[0].standing is Standing.BROKEN


def test_a_torn_line_that_a_checkpoint_covers_is_no_cut(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    receipts = logs(stick) / "gw-0001" / "receipts.jsonl"
    receipts.write_bytes(receipts.read_bytes()[:-512] + bytes(512))
    assert verdicts_on(devices, stick)[0].standing is Standing.BROKEN


def test_folders_that_are_no_devices_are_ignored(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    (logs(stick) / "System Volume Information").mkdir()
    (stick / "holiday").mkdir()
    require_good(verdicts_on(devices, stick))


def test_a_file_among_the_devices_folders_is_ignored(tmp_path: Path, stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    (logs(stick) / "x").write_bytes(b"holiday")
    require_good(verdicts_on(devices, stick))
    shutil.rmtree(logs(stick) / "gw-0002")
    (logs(stick) / "gw-0002").write_bytes(b"")
    assert run(tmp_path, "verify", stick)[0].splitlines()[-2] == "No log here of: gw-0002"


def test_a_link_in_the_place_of_a_devices_folder_is_not_passed_over(tmp_path: Path, stick: Path, devices: Devices) -> None:
    shutil.move(logs(stick) / "gw-0002", tmp_path / "elsewhere")
    (logs(stick) / "gw-0002").symlink_to(tmp_path / "elsewhere")
    assert verdicts_on(devices, stick)[1].standing is Standing.BROKEN


def test_several_copies_of_different_age_are_one_device(tmp_path: Path, stick: Path, devices: Devices) -> None:
    older = write_log(tmp_path / "older" / "usbupdate" / "logs" / "gw-0001", 2).parents[2]
    enrol(stick, devices, device=None, fingerprint=None)
    verdicts = verdicts_on(devices, older, stick)
    require_good(verdicts)
    assert [len(verdict.receipts) for verdict in verdicts] == [4, 2]
    assert len(verdicts[0].sources) == 2


def test_what_was_seen_grows_and_an_older_stick_takes_nothing_from_it(tmp_path: Path, stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device="gw-0001", fingerprint=None)
    log = logs(stick) / "gw-0001"
    for count, seen in ((2, 2), (4, 4), (3, 4), (6, 6)):
        write_log(log, count)
        require_good(verdicts_on(devices, log))
        known = devices.get(IDENTITY.device)
        assert known is not None
        assert len(known.leaves) == seen


@pytest.mark.parametrize("place", ["empty", "foreign", "usbupdate only", "empty logs"])
def test_a_place_without_logs_is_said_to_be_one(mount: Path, place: str) -> None:
    match place:
        case "foreign":
            (mount / "holiday").mkdir()
        case "usbupdate only":
            (mount / "usbupdate").mkdir()
        case "empty logs":
            logs(mount).mkdir(parents=True)
        case _:
            pass
    with pytest.raises(NoEvidenceError):
        find_copies([mount])


def test_a_place_that_is_not_there_is_said_to_be_unusable(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError):
        find_copies([tmp_path / "nowhere"])


def test_enrolling_by_fingerprint_takes_it_as_people_write_it(stick: Path, devices: Devices) -> None:
    digits = IDENTITY.fingerprint.upper()
    written = " ".join(digits[at : at + 2] + ":" for at in range(0, 64, 2))
    assert [each.identity for each in enrol(stick, devices, device=None, fingerprint=written)] == [IDENTITY]
    known = devices.get(IDENTITY.device)
    assert known is not None
    assert known.trust is Trust.FINGERPRINT
    assert list(devices.names()) == ["gw-0001"]


def test_enrolling_again_keeps_what_was_seen_and_how_far_it_is_trusted(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device="gw-0001", fingerprint=None)
    verdicts_on(devices, stick)
    for fingerprint in (IDENTITY.fingerprint, None):
        enrol(stick, devices, device="gw-0001", fingerprint=fingerprint)
        known = devices.get(IDENTITY.device)
        assert known is not None
        assert (known.trust, len(known.leaves)) == (Trust.FINGERPRINT, 4)


@pytest.mark.parametrize("given", ["", "ab", "xyz" * 22, IDENTITY.fingerprint[:16]])
def test_a_fingerprint_that_is_none_is_refused(stick: Path, devices: Devices, given: str) -> None:
    with pytest.raises(UnusableValueError):
        enrol(stick, devices, device=None, fingerprint=given)


def test_a_key_without_the_given_fingerprint_is_not_enrolled(stick: Path, devices: Devices) -> None:
    with pytest.raises(FingerprintDiffersError):
        enrol(stick, devices, device="gw-0002", fingerprint=IDENTITY.fingerprint)
    assert list(devices.names()) == []


def test_an_enrolled_device_is_not_enrolled_with_another_key(stick: Path, devices: Devices) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    write_log(logs(stick) / "gw-0001", 1, key="thief")
    with pytest.raises(EnrolledKeyDiffersError):
        enrol(stick, devices, device=None, fingerprint=None)


def test_a_folder_under_another_devices_name_enrols_nobody(stick: Path, devices: Devices) -> None:
    shutil.rmtree(logs(stick) / "gw-0001")
    (logs(stick) / "gw-0002").rename(logs(stick) / "gw-0001")
    with pytest.raises(NoEvidenceError):
        enrol(stick, devices, device=None, fingerprint=None)


def test_a_device_that_is_not_there_is_said_to_be_missing(stick: Path, devices: Devices) -> None:
    with pytest.raises(DeviceNotThereError):
        enrol(stick, devices, device="gw-0009", fingerprint=None)


def test_a_file_that_is_no_identity_is_said_to_be_none(tmp_path: Path, devices: Devices) -> None:
    (tmp_path / "identity.json").write_bytes(b"{}")
    with pytest.raises(UnusableFileError):
        enrol(tmp_path / "identity.json", devices, device=None, fingerprint=None)


@pytest.mark.parametrize("damage", ["record", "leaves", "no leaves", "another device", "folder"])
def test_a_damaged_memory_is_an_answer_and_not_forgotten(stick: Path, tmp_path: Path, devices: Devices, damage: str) -> None:
    enrol(stick, devices, device=None, fingerprint=None)
    verdicts_on(devices, stick)
    record, leaves = tmp_path / "devices" / "gw-0001.json", tmp_path / "devices" / "gw-0001.leaves"
    match damage:
        case "record":
            record.write_bytes(record.read_bytes()[:-9])
        case "leaves":
            leaves.write_bytes(leaves.read_bytes()[:-32])
        case "no leaves":
            leaves.unlink()
        case "another device":
            shutil.copy(tmp_path / "devices" / "gw-0002.json", record)
        case _:
            record.unlink()
            record.mkdir()
    with pytest.raises(EnrolmentUnreadableError):
        verdicts_on(devices, stick)


def run(tmp_path: Path, *arguments: object) -> tuple[str, BaseException | None]:
    """Return what a command printed and what it raised for the outermost layer to tell."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--devices", str(tmp_path / "devices")])
    return result.output, result.exception


def test_the_commands_print_one_line_a_device_and_one_a_finding(tmp_path: Path, stick: Path) -> None:
    run(tmp_path, "enroll", stick)
    good, raised = run(tmp_path, "verify", stick)
    assert raised is None
    assert [line.split(":")[0] for line in good.splitlines()] == ["gw-0001", "gw-0002", "Checked (contents)"]
    (logs(stick) / "gw-0002" / "checkpoint").unlink()
    broken, raised = run(tmp_path, "verify", stick)
    assert isinstance(raised, EvidenceBrokenError)
    assert broken.splitlines()[1].startswith("gw-0002: INCOMPLETE")
    assert broken.splitlines()[2].startswith("  gw-0002: the checkpoint is missing")


def test_json_is_one_document_with_every_finding(tmp_path: Path, stick: Path) -> None:
    enrolled = json.loads(run(tmp_path, "enroll", stick, "--fingerprint", OTHER.fingerprint, "--json")[0])
    assert enrolled == {"enrolled": [{"device": "gw-0002", "fingerprint": OTHER.fingerprint, "trust": "fingerprint"}]}
    (logs(stick) / "gw-0002" / "checkpoint").unlink()
    document = json.loads(run(tmp_path, "verify", stick, "--json")[0])
    assert document["good"] is False
    assert [(each["device"], each["standing"]) for each in document["devices"]] == [
        ("gw-0001", "not-enrolled"),
        ("gw-0002", "incomplete"),
    ]
    assert document["devices"][1]["findings"][0]["flaw"] == "checkpoint-missing"


def test_an_enrolled_device_without_a_log_is_named(tmp_path: Path, stick: Path) -> None:
    # Whoever takes a device's whole folder off the stick leaves nothing to find fault with.
    run(tmp_path, "enroll", stick)
    shutil.rmtree(logs(stick) / "gw-0002")
    assert run(tmp_path, "verify", stick)[0].splitlines()[-2] == "No log here of: gw-0002"
    assert json.loads(run(tmp_path, "verify", stick, "--json")[0])["absent"] == ["gw-0002"]


def test_show_tells_what_each_device_did(tmp_path: Path, stick: Path) -> None:
    run(tmp_path, "enroll", stick)
    text, _ = run(tmp_path, "show", stick)
    assert text.count("1.0 -> 1.1") == 6
    events = json.loads(run(tmp_path, "show", stick, "--json")[0])["devices"][0]["events"]
    assert [event["receipt"] for event in events] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("system", "clock", "why"),
    [
        ("2026-03-01T10:00:00Z", ClockQuality.SYSTEM, "the device's clock, not before the floor 2026-01-01T00:00:00Z"),
        ("1970-01-01T00:00:09Z", ClockQuality.FLOOR, "clock said 1970-01-01T00:00:09Z, which lies before the floor"),
        ("2099-01-01T00:00:00Z", ClockQuality.FLOOR, "said 2099-01-01T00:00:00Z, more than ten years after the floor"),
        ("2026-03-01T10:00:00Z", ClockQuality.FLOOR, "which its configuration does not trust"),
    ],
)
def test_show_tells_by_what_time_metadata_were_judged_and_why(system: str, clock: ClockQuality, why: str) -> None:
    now = system if clock is ClockQuality.SYSTEM else "2026-01-01T00:00:00Z"
    for expires, end in (("2027-01-01T00:00:00Z", "good until 2027-01-01T00:00:00Z"), ("", "not accepted")):
        check = check_of(Judgement(now, clock, system, "2026-01-01T00:00:00Z", expires))
        receipt = Receipt(DeviceId("gw-0001"), 1, NO_PREVIOUS, replace(draft(1), checks=(check, *draft(1).checks)))
        verdict = Verdict(DeviceId("gw-0001"), Standing.OK, None, None, (receipt,), 0, (), (), 1, None, Checked())
        line = list(timelines([verdict]))[-1].strip()
        assert line.startswith(f"metadata judged as of {now} (")
        assert why in line
        assert line.endswith(f"): {end}")
        (event,) = json.loads(json.dumps(timeline_table(verdict)))["events"]
        assert event["judged"]["system_clock"] == system


def test_a_device_may_be_enrolled_from_its_own_identity_file(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    path.write_bytes(encode(IDENTITY))
    text, _ = run(tmp_path, "enroll", path, "--fingerprint", IDENTITY.fingerprint)
    assert text == f"gw-0001: enrolled with the key {IDENTITY.fingerprint} (fingerprint compared)\n"


def test_show_tells_what_is_wrong_beside_what_was_done(tmp_path: Path, stick: Path) -> None:
    run(tmp_path, "enroll", stick)
    (logs(stick) / "gw-0002" / "checkpoint").unlink()
    text, raised = run(tmp_path, "show", stick)
    assert isinstance(raised, EvidenceBrokenError)
    found = [line for line in run(tmp_path, "verify", stick)[0].splitlines() if "checkpoint is missing" in line]
    assert found[0] in text.splitlines()
    assert json.loads(run(tmp_path, "show", stick, "--json")[0])["devices"][1]["findings"][0]["flaw"] == "checkpoint-missing"


@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_folder_of_devices_that_was_named_and_is_not_there_is_said(tmp_path: Path, stick: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, str(stick), "--devices", str(tmp_path / "devises"), "--json"])
    assert isinstance(result.exception, NotEnrolledError)
    assert "There is no folder" in result.stderr
    assert json.loads(result.stdout)["devices"][0]["standing"] == "not-enrolled"
    assert not (tmp_path / "devises").exists()
