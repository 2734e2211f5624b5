"""Archives that an auditor is sent: read where they are, and judged like the folders that they hold."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.receipts import write_log
from usbupdate.audit import archives
from usbupdate.audit.copies import find_copies
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import Standing, verify
from usbupdate.errors import NoEvidenceError, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from usbupdate.audit.verdict import Verdict

FORMS = {"zip": "zip", "tar": "tar", "tar.gz": "gztar"}
EACH = pytest.mark.parametrize("ending", FORMS)
LOG = "usbupdate/logs/gw-0001"


@pytest.fixture
def stick(mount: Path) -> Path:
    write_log(mount / LOG, 4)
    write_log(mount / "usbupdate/logs/gw-0002", 2, "gw-0002")
    return mount


@pytest.fixture
def devices(tmp_path: Path, stick: Path) -> Devices:
    devices = Devices(tmp_path / "devices")
    enrol(stick, devices, device=None, fingerprint=None)
    return devices


def packed(stick: Path, ending: str, folder: str = "") -> Path:
    """Pack a stick, or a folder of it, as a person would."""
    made = shutil.make_archive(str(stick.with_name("returned")), FORMS[ending], stick / folder)
    archive = stick.with_name(f"returned.{ending}")
    assert str(archive) == made
    return archive


def verdicts_on(devices: Devices, *places: Path) -> list[Verdict]:
    return list(verify(find_copies(places), devices))


def flaws_of(verdict: Verdict) -> set[Flaw]:
    return {finding.flaw for finding in verdict.findings}


def written(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """Write a zip or a tar member by member, whatever their names."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, contents in members:
                archive.writestr(name, contents)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, contents in members:
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return path


def contents_of(stick: Path) -> list[tuple[str, bytes]]:
    return [(str(path.relative_to(stick)), path.read_bytes()) for path in sorted(stick.rglob("*")) if path.is_file()]


@EACH
@pytest.mark.parametrize("folder", ["", "usbupdate", "usbupdate/logs", LOG])
def test_an_archive_is_judged_like_the_folder_that_it_holds(stick: Path, devices: Devices, ending: str, folder: str) -> None:
    verdicts = verdicts_on(devices, packed(stick, ending, folder))
    assert verdicts[0].standing is Standing.OK
    assert (verdicts[0].device, verdicts[0].count) == ("gw-0001", 4)
    assert "returned" in verdicts[0].sources[0]


@EACH
def test_devices_are_enrolled_from_an_archive(tmp_path: Path, stick: Path, ending: str) -> None:
    enrolled = enrol(packed(stick, ending), Devices(tmp_path / "fresh"), device=None, fingerprint=None)
    assert [each.identity.device for each in enrolled] == ["gw-0001", "gw-0002"]


@EACH
def test_a_changed_line_in_an_archive_is_found(stick: Path, devices: Devices, ending: str) -> None:
    receipts = stick / LOG / "receipts.jsonl"
    receipts.write_bytes(receipts.read_bytes().replace(b"A", b"B", 1))
    (broken, sound) = verdicts_on(devices, packed(stick, ending))
    assert (broken.standing, sound.standing) == (Standing.BROKEN, Standing.OK)
    assert broken.findings[0].receipt == 1


@EACH
@pytest.mark.parametrize("name", ["../../{}", "/{}", "usbupdate/../{}", "a\\..\\{}", "c:/{}", "usbupdate//{}", "{}\n"])
def test_a_name_that_leads_elsewhere_is_nobodys(tmp_path: Path, stick: Path, devices: Devices, ending: str, name: str) -> None:
    strangers = [(name.format(f"{LOG}/receipts.jsonl"), b"forged\n"), *contents_of(stick)]
    archive = written(tmp_path / f"odd.{ending}", strangers)
    assert [verdict.standing for verdict in verdicts_on(devices, archive)] == [Standing.OK, Standing.OK]
    assert not (tmp_path / "receipts.jsonl").exists()


@EACH
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_not_read(tmp_path: Path, stick: Path, devices: Devices, ending: str) -> None:
    twice = [*contents_of(stick), (f"{LOG}/receipts.jsonl", b"")]
    assert Flaw.UNREADABLE in flaws_of(verdicts_on(devices, written(tmp_path / f"twice.{ending}", twice))[0])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("place", [f"{LOG}/receipts.jsonl", LOG])
def test_a_link_or_the_like_in_a_tar_is_told_and_not_followed(
    tmp_path: Path, stick: Path, devices: Devices, kind: bytes, place: str
) -> None:
    archive = tmp_path / "linked.tar"
    with tarfile.open(archive, "w") as tar:
        for name, contents in contents_of(stick):
            if not name.startswith(place):
                info = tarfile.TarInfo(name)
                info.size = len(contents)
                tar.addfile(info, io.BytesIO(contents))
        info = tarfile.TarInfo(place)
        info.type, info.linkname = kind, "usbupdate/logs/gw-0002/receipts.jsonl"
        tar.addfile(info)
    assert Flaw.UNREADABLE in flaws_of(verdicts_on(devices, archive)[0])


def test_a_link_in_a_zip_is_told_and_not_followed(tmp_path: Path, stick: Path, devices: Devices) -> None:
    archive = tmp_path / "linked.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for name, contents in contents_of(stick):
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if name == f"{LOG}/checkpoint" else stat.S_IFREG) << 16
            made.writestr(info, contents)
    assert flaws_of(verdicts_on(devices, archive)[0]) == {Flaw.UNREADABLE}


@EACH
def test_a_bomb_is_a_file_that_is_too_large(tmp_path: Path, stick: Path, devices: Devices, ending: str) -> None:
    bomb = [(name, bytes(5 << 20) if name == f"{LOG}/checkpoint" else contents) for name, contents in contents_of(stick)]
    archive = tmp_path / f"bomb.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
            for name, contents in bomb:
                made.writestr(name, contents)
    else:
        written(archive, bomb)
    assert flaws_of(verdicts_on(devices, archive)[0]) == {Flaw.UNREADABLE}


def test_a_compressed_tar_is_kept_in_memory_only_up_to_a_bound(
    tmp_path: Path, stick: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(stick, "tar.gz")
    monkeypatch.setattr(archives, "_KEPT_MAX", 10_000)
    with pytest.raises(UnusableFileError, match="unpack it first"):
        find_copies([archive])
    monkeypatch.setattr(archives, "_KEPT_MAX", 1 << 20)
    monkeypatch.setattr(archives, "_READ_MAX", 4096)
    with pytest.raises(UnusableFileError, match="unpack it first"):
        find_copies([archive])


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_a_header_that_announces_gigabytes_is_not_read(tmp_path: Path, ending: str) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    raw = info.tobuf() + bytes(10_240)
    archive = tmp_path / f"header.{ending}"
    archive.write_bytes(gzip.compress(raw) if ending == "tar.gz" else raw)
    with pytest.raises(UnusableFileError):
        find_copies([archive])


@EACH
def test_more_members_than_a_stick_has_are_refused(
    tmp_path: Path, stick: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MEMBERS_MAX", 5)
    with pytest.raises(UnusableFileError, match="more files than any stick has"):
        find_copies([packed(stick, ending)])


@EACH
@pytest.mark.parametrize("damage", ["empty", "noise", "half"])
def test_a_damaged_archive_is_said_to_be_one_or_judged_by_what_is_left(
    stick: Path, devices: Devices, ending: str, damage: str
) -> None:
    archive = packed(stick, ending)
    raw = archive.read_bytes()
    archive.write_bytes({"empty": b"", "noise": os.urandom(2000), "half": raw[: len(raw) // 2]}[damage])
    try:
        verdicts = verdicts_on(devices, archive)
    except (UnusableFileError, NoEvidenceError):
        return
    assert Standing.OK not in {verdict.standing for verdict in verdicts if verdict.device == "gw-0002"}


def test_an_encrypted_zip_cannot_be_read(tmp_path: Path, stick: Path, devices: Devices) -> None:
    archive = packed(stick, "zip")
    raw = bytearray(archive.read_bytes())
    at = 0
    while (at := raw.find(b"PK\x01\x02", at)) >= 0:
        raw[at + 8] |= 1
        at += 4
    archive.write_bytes(bytes(raw))
    assert Flaw.UNREADABLE in flaws_of(verdicts_on(devices, archive)[0])


def test_a_file_that_is_no_archive_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"hello")
    with pytest.raises(UnusableFileError):
        find_copies([tmp_path / "notes.txt"])
