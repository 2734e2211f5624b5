"""What an auditor asks beyond a log's own consistency: the office's word, the list of devices, silence, replaced keys, time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tests.fleet import write_drafts
from tests.office import open_bench
from tests.receipts import chain, checkpoint_over, device, draft, write_log
from usbupdate.audit.answers import answers
from usbupdate.audit.asked import Asked
from usbupdate.audit.copies import find_copies
from usbupdate.audit.depth import Depth
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import Replacement, enrol
from usbupdate.audit.findings import Flaw, Severity
from usbupdate.audit.office import ever_signed
from usbupdate.audit.roster import read_roster
from usbupdate.audit.verdict import Standing, Verdict, verify
from usbupdate.cli.audit import app
from usbupdate.core.receipt import BundleRef, ClockQuality, Draft, Event
from usbupdate.core.words import BootId, BundleName, Digest
from usbupdate.errors import EnrolledKeyDiffersError, EvidenceBrokenError, OtherOfficeError, UnusableFileError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.office import Bench

WHO = Replacement("gina@desk-7", "2026-05-01T10:00:00Z")
NEW = device("gw-0001", "new")[0]


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return Devices(tmp_path / "devices")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return open_bench(tmp_path / "bench")


def log_of(mount: Path, drafts: list[Draft], name: str = "gw-0001") -> Path:
    write_drafts(mount / "usbupdate" / "logs" / name, drafts, name)
    return mount


def verdict_on(devices: Devices, *places: Path, depth: Depth = Depth.CONTENTS, asked: Asked | None = None) -> Verdict:
    verdict, *_ = verify(find_copies(places), devices, depth, asked or Asked())
    return verdict


def found(verdict: Verdict) -> list[tuple[Flaw, int | None]]:
    return [(finding.flaw, finding.receipt) for finding in verdict.findings]


def at(number: int, monotonic_ms: int, boot: str = "aa", event: Event = Event.FAILED, *, wall: str = "") -> Draft:
    base = draft(number, event)
    moment = replace(base.moment, boot_id=BootId(boot), monotonic_ms=monotonic_ms, wall=wall or base.moment.wall)
    return replace(base, moment=moment)


# --- Time within a boot ---


def test_time_that_runs_backwards_within_a_boot_is_found(mount: Path, devices: Devices) -> None:
    drafts = [at(1, 500), at(2, 900), at(3, 899), at(4, 900), at(5, 10, "bb"), at(6, 9, "bb")]
    verdict = verdict_on(devices, log_of(mount, drafts))
    assert found(verdict) == [(Flaw.TIME_BACKWARDS, 3), (Flaw.TIME_BACKWARDS, 6)]
    assert verdict.findings[0].detail == "1 ms"
    assert verdict.findings[0].severity is Severity.GRAVE


def test_a_refusal_that_is_counted_later_is_no_time_that_runs_backwards(mount: Path, devices: Devices) -> None:
    drafts = [at(1, 500, event=Event.REFUSED), at(2, 900), at(3, 500, event=Event.REFUSED), at(4, 901)]
    assert found(verdict_on(devices, log_of(mount, drafts))) == []


# --- The office's word ---


def committed(number: int, manifest: Digest) -> Draft:
    return replace(draft(number), bundle=BundleRef(BundleName("gateway"), manifest))


def test_a_release_that_the_office_never_signed_is_found(mount: Path, devices: Devices, bench: Bench) -> None:
    digests = [bench.release(number).bundle.sha256 for number in (1, 2)]
    signed = ever_signed(bench.office.path)
    assert signed >= set(digests)
    stranger = Digest("cd" * 32)
    stick = log_of(
        mount, [committed(1, digests[0]), committed(2, digests[1]), committed(3, stranger), committed(4, digests[1])]
    )
    verdict = verdict_on(devices, stick, asked=Asked(signed))
    assert found(verdict) == [(Flaw.NEVER_SIGNED, 3)]
    assert verdict.findings[0].detail == "gateway, cdcdcdcdcdcdcdcd…"


def test_each_release_that_the_office_never_signed_keeps_its_digest(mount: Path, devices: Devices, bench: Bench) -> None:
    strangers = [committed(number, Digest(each * 32)) for number, each in enumerate(("cd", "ef"), 1)]
    verdict = verdict_on(devices, log_of(mount, strangers), asked=Asked(ever_signed(bench.office.path)))
    assert [each.detail for each in verdict.findings] == ["gateway, cdcdcdcdcdcdcdcd…", "gateway, efefefefefefefef…"]


def test_a_list_that_no_root_signed_is_not_the_offices(bench: Bench, tmp_path: Path) -> None:
    bench.release(1)
    other = open_bench(tmp_path / "other")
    stranger = other.release(7).bundle.sha256
    for path in (other.office.path / "metadata").glob("*.targets.json"):
        shutil.copy(path, bench.office.path / "metadata" / f"9{path.name}")
    assert stranger not in ever_signed(bench.office.path)
    # And with the office's own root, another office's repository says nothing at all.
    with pytest.raises(OtherOfficeError):
        ever_signed(other.office.path, bench.office.path / "metadata" / "1.root.json")


def test_what_is_no_repository_is_said_to_be_none(tmp_path: Path, bench: Bench) -> None:
    with pytest.raises(UnusableFileError):
        ever_signed(tmp_path)
    (bench.office.path / "metadata" / "1.root.json").write_bytes(b"{}")
    with pytest.raises(UnusableFileError):
        ever_signed(bench.office.path)
    with pytest.raises(UnusableFileError):
        ever_signed(bench.office.path, tmp_path / "nowhere")


# --- Devices that are silent ---


def test_a_device_that_was_not_heard_of_for_long_is_named(mount: Path, devices: Devices) -> None:
    stick = log_of(mount, [at(1, 1, wall="2026-01-05T00:00:00Z"), at(2, 2, wall="2026-02-05T00:00:00Z")])
    enrol(stick, devices, device=None, fingerprint=None)
    for day, flaws in ((5, []), (6, [(Flaw.SILENT, 2)])):
        verdict = verdict_on(devices, stick, asked=Asked(heard_since=datetime(2026, 2, day, tzinfo=UTC)))
        assert found(verdict) == flaws
        assert verdict.standing is (Standing.INCOMPLETE if flaws else Standing.OK)


def test_a_clock_that_nobody_can_trust_tells_nothing_of_silence(mount: Path, devices: Devices) -> None:
    moment = replace(draft(1).moment, clock=ClockQuality.FLOOR)
    stick = log_of(mount, [replace(draft(1), moment=moment)])
    assert found(verdict_on(devices, stick, asked=Asked(heard_since=datetime(2030, 1, 1, tzinfo=UTC)))) == []


def run(tmp_path: Path, *words: object) -> tuple[str, BaseException | None, int]:
    result = CliRunner().invoke(app, [*map(str, words), "--devices", str(tmp_path / "devices")])
    return result.output, result.exception, result.exit_code


def test_devices_of_the_roster_that_were_never_heard_of_are_named(tmp_path: Path, mount: Path) -> None:
    write_log(mount / "usbupdate/logs/gw-0001", 2)
    run(tmp_path, "enroll", mount)
    roster = tmp_path / "roster.txt"
    roster.write_text("# north\ngw-0001\n\n  gw-0007  # the pump\ngw-0007\n", "utf-8")
    assert read_roster(roster) == ("gw-0001", "gw-0007")
    text, raised, _ = run(tmp_path, "verify", mount, "--roster", roster)
    assert isinstance(raised, EvidenceBrokenError)
    assert "gw-0007: it is on the list, and no log of it is here (incomplete)" in text
    document = json.loads(run(tmp_path, "verify", mount, "--roster", roster, "--json")[0])
    assert [(each["device"], [one["flaw"] for one in each["findings"]]) for each in document["devices"]] == [
        ("gw-0001", []),
        ("gw-0007", ["never-heard"]),
    ]
    # A device of which something was seen before is not one that was never heard of.
    roster.write_text("gw-0001\n", "utf-8")
    other = write_log(tmp_path / "other" / "gw-0002", 1, "gw-0002")
    assert "on the list" not in run(tmp_path, "verify", other, "--roster", roster)[0]


@pytest.mark.parametrize("text", [b"gw-0001\nGW 2\n", b"\xff\n", None])
def test_a_roster_that_is_none_is_said_to_be_none(tmp_path: Path, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / "roster").write_bytes(text)
    with pytest.raises(UnusableFileError):
        read_roster(tmp_path / "roster")


@pytest.mark.parametrize("words", [("--quick", "--repo", "."), ("--quick", "--silent-after", "3"), ("--root", "x")])
def test_what_a_depth_cannot_answer_is_not_asked(tmp_path: Path, mount: Path, words: tuple[str, ...]) -> None:
    write_log(mount / "usbupdate/logs/gw-0001", 2)
    assert run(tmp_path, "verify", mount, *words)[2] == 2


# --- Replaced keys ---


@pytest.fixture
def replaced(tmp_path: Path, devices: Devices) -> tuple[Path, Path]:
    """Return a copy from before a device's key was replaced and one from after; the auditor saw the former and was told."""
    old, new = tmp_path / "old" / "gw-0001", tmp_path / "new" / "gw-0001"
    write_log(old, 4)
    enrol(old, devices, device=None, fingerprint=None)
    verdict_on(devices, old)
    write_log(new, 2, key="new")
    enrol(new, devices, device=None, fingerprint=NEW.fingerprint, replacement=WHO)
    return old, new


@pytest.mark.parametrize("depth", Depth)
def test_a_key_that_somebody_replaced_is_recorded_and_told(devices: Devices, replaced: tuple[Path, Path], depth: Depth) -> None:
    old, new = replaced
    known = devices.get(NEW.device)
    assert known is not None
    (former,) = known.former
    assert (known.identity, former.by, former.at, len(former.leaves)) == (NEW, WHO.by, WHO.at, 4)
    verdict = verdict_on(devices, old, new, depth=depth)
    assert found(verdict) == [(Flaw.KEY_REPLACED, None)]
    assert (verdict.standing, verdict.count, verdict.fingerprint) == (Standing.OK, 2, NEW.fingerprint)
    assert "replaced 2026-05-01T10:00:00Z by gina@desk-7" in verdict.findings[0].sentence()
    # A mere notice takes nothing from a sound device.
    assert "No: receipts 1 to 2 are all here" in answers(verdict)[-1].text or depth is Depth.QUICK


def test_the_old_key_proves_nothing_beyond_what_was_seen_of_it(devices: Devices, replaced: tuple[Path, Path]) -> None:
    old, _ = replaced
    write_log(old, 6)
    assert (Flaw.KEY_CHANGED, 5) in found(verdict_on(devices, old))
    write_log(old, 4, text="other")
    assert (Flaw.SEEN_OTHERWISE, 1) in found(verdict_on(devices, old))


def test_a_third_key_is_nobodys(devices: Devices, replaced: tuple[Path, Path]) -> None:
    _, new = replaced
    write_log(new, 2, key="thief")
    assert (Flaw.KEY_CHANGED, None) in found(verdict_on(devices, new))


def test_a_key_is_replaced_only_by_its_fingerprint(devices: Devices, replaced: tuple[Path, Path], tmp_path: Path) -> None:
    old, _ = replaced
    for replacement, fingerprint in ((None, device("gw-0001")[0].fingerprint), (WHO, None)):
        with pytest.raises(EnrolledKeyDiffersError):
            enrol(old, devices, device=None, fingerprint=fingerprint, replacement=replacement)
    assert run(tmp_path, "enroll", old, "--replace-key")[2] == 2


def test_the_command_records_who_replaced_a_key(tmp_path: Path, devices: Devices, mount: Path) -> None:
    log = write_log(mount / "usbupdate/logs/gw-0001", 2)
    run(tmp_path, "enroll", mount)
    write_log(log, 1, key="new")
    text, raised, _ = run(tmp_path, "enroll", mount, "--replace-key", "--fingerprint", NEW.fingerprint)
    assert raised is None, text
    known = devices.get(NEW.device)
    assert known is not None
    assert "@" in known.former[0].by


# --- Severity ---


def test_each_finding_says_how_grave_it_is(tmp_path: Path, mount: Path) -> None:
    log = write_log(mount / "usbupdate/logs/gw-0001", 3)
    (log / "checkpoint").write_bytes(checkpoint_over(chain(3, text="other"), *device("gw-0001")))
    (tmp_path / "devices").mkdir()
    (finding,) = json.loads(run(tmp_path, "verify", mount, "--json")[0])["devices"][0]["findings"]
    assert (finding["flaw"], finding["severity"]) == ("checkpoint-root", "grave")
    assert "(grave)" in run(tmp_path, "verify", mount)[0]
