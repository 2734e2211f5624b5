"""What somebody may do to a log on its way back, one builder a manipulation, and what the auditor is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.receipts import chain, checkpoint_over, device, draft, write_log
from tests.tampering import COUNT, auditor, edit_one_field, lines_of, put_lines, replace_key_and_history, with_line, write_stick
from usbupdate.audit import lines as audit_lines
from usbupdate.audit.copies import find_copies
from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import Standing, Verdict, verify
from usbupdate.core import envelope
from usbupdate.core.receipt import Receipt

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.audit.devices import Devices


@pytest.fixture
def stick(mount: Path) -> Path:
    return write_stick(mount)


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    return auditor(tmp_path)


def logs(mount: Path) -> Path:
    return mount / "usbupdate" / "logs"


def verdicts_on(devices: Devices, *mounts: Path) -> dict[str, Verdict]:
    return {verdict.device: verdict for verdict in verify(find_copies(mounts), devices)}


def test_one_changed_line_is_told_once(stick: Path, devices: Devices) -> None:
    edit_one_field(logs(stick) / "gw-0001")
    findings = verdicts_on(devices, stick)["gw-0001"].findings
    assert [(finding.flaw, finding.receipt, finding.line) for finding in findings] == [(Flaw.SIGNATURE, 3, 3)]


def test_a_replaced_history_is_told_in_one_line(stick: Path, devices: Devices) -> None:
    replace_key_and_history(logs(stick) / "gw-0001")
    findings = verdicts_on(devices, stick)["gw-0001"].findings
    assert (Flaw.SIGNATURE, 1, COUNT) in [(finding.flaw, finding.receipt, finding.until) for finding in findings]
    assert len(findings) == 3


def test_a_changed_line_after_a_removed_one_is_called_by_its_own_number(stick: Path, devices: Devices) -> None:
    log = logs(stick) / "gw-0001"
    edit_one_field(log)
    put_lines(log, [lines_of(log)[0], *lines_of(log)[2:]])
    found = {(finding.flaw, finding.receipt) for finding in verdicts_on(devices, stick)["gw-0001"].findings}
    assert found == {(Flaw.MISSING, 2), (Flaw.SIGNATURE, 3)}


@attack(By.OWNER, On.RECORD, "a cloned or restored device with two histories", "copies are compared")
def test_two_copies_that_fork_are_found(tmp_path: Path, stick: Path, devices: Devices) -> None:
    # The same key and id at two places: each copy is in order by itself.
    other = write_log(tmp_path / "other" / "usbupdate" / "logs" / "gw-0001", 4, text="other").parents[2]
    assert verdicts_on(devices, other)["gw-0001"].standing is Standing.OK
    verdict = verdicts_on(auditor(tmp_path / "fresh"), stick, other)["gw-0001"]
    assert [(finding.flaw, finding.receipt) for finding in verdict.findings] == [(Flaw.FORKED, 1)]
    assert str(other) in verdict.findings[0].source
    assert str(stick) in verdict.findings[0].detail


def test_two_receipts_with_one_number_in_one_log_are_found(stick: Path, devices: Devices) -> None:
    log = logs(stick) / "gw-0001"
    put_lines(log, [*lines_of(log), chain(COUNT, text="other")[2]])
    assert (Flaw.FORKED, 3) in [(each.flaw, each.receipt) for each in verdicts_on(devices, stick)["gw-0001"].findings]


@attack(By.OWNER, On.RECORD, "a whole new history under the device's own key", "the office remembers the last checkpoint")
def test_a_history_that_differs_from_what_was_seen_before_is_found(stick: Path, devices: Devices) -> None:
    assert verdicts_on(devices, stick)["gw-0001"].standing is Standing.OK
    # Rewritten by the holder of the key from receipt 4 on, longer than before and in perfect order.
    log = logs(stick) / "gw-0001"
    lines = lines_of(log)[:3]
    name, signer = device("gw-0001")
    for number in range(4, 9):
        lines.append(envelope.sign(Receipt(name.device, number, envelope.line_digest(lines[-1]), draft(number + 50)), signer))
    put_lines(log, lines)
    (log / "checkpoint").write_bytes(checkpoint_over(lines, name, signer))
    verdict = verdicts_on(devices, stick)["gw-0001"]
    assert [(finding.flaw, finding.receipt) for finding in verdict.findings] == [(Flaw.SEEN_OTHERWISE, 4)]


def test_an_older_copy_that_differs_from_what_was_seen_before_is_found(stick: Path, devices: Devices) -> None:
    verdicts_on(devices, stick)
    write_log(logs(stick) / "gw-0001", 2, text="other")
    verdict = verdicts_on(devices, stick)["gw-0001"]
    assert [(finding.flaw, finding.receipt) for finding in verdict.findings] == [(Flaw.SEEN_OTHERWISE, 1)]


@attack(By.STICK, On.OFFICE, "a log that would fill the report", "findings are counted together")
def test_a_log_of_nothing_but_line_feeds_is_told_in_few_lines(
    stick: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_lines, "LINES_MAX", 200)
    (logs(stick) / "gw-0001" / "receipts.jsonl").write_bytes(b"\n" * (1 << 20))
    findings = verdicts_on(devices, stick)["gw-0001"].findings
    assert [(each.flaw, each.receipt, each.until) for each in findings][-1:] == [(Flaw.MISSING, 2, COUNT)]
    assert [(each.line, each.detail) for each in findings if each.flaw is Flaw.MALFORMED] == [
        (1, "200 such lines, the last is 200")
    ]
    assert len(findings) <= 3


@pytest.mark.parametrize("stray", [b"", b" \r", b"junk", chain(5, "gw-0002")[4]])
@pytest.mark.parametrize("count", [1, 2])
def test_lines_put_between_receipts_accuse_none_of_them(stick: Path, devices: Devices, stray: bytes, count: int) -> None:
    log = logs(stick) / "gw-0001"
    put_lines(log, [*lines_of(log)[:2], *[stray] * count, *lines_of(log)[2:]])
    findings = verdicts_on(devices, stick)["gw-0001"].findings
    assert [(each.receipt, each.line) for each in findings] == [(None, 3)]


def test_a_receipt_that_was_blanked_is_called_by_its_number(stick: Path, devices: Devices) -> None:
    with_line(logs(stick) / "gw-0001", 3, lambda _: b"")
    findings = verdicts_on(devices, stick)["gw-0001"].findings
    assert [(each.flaw, each.receipt, each.line) for each in findings] == [(Flaw.MALFORMED, 3, 3)]


def test_a_last_receipt_that_was_blanked_is_missing(stick: Path, devices: Devices) -> None:
    with_line(logs(stick) / "gw-0001", COUNT, lambda _: b"")
    findings = verdicts_on(devices, stick)["gw-0001"].findings
    assert {(each.flaw, each.receipt) for each in findings} == {(Flaw.MALFORMED, None), (Flaw.MISSING, COUNT)}


@attack(By.STICK, On.OFFICE, "a log as large as a disk", "limits before reading, in the office too")
def test_a_log_as_large_as_a_disk_is_not_read(mount: Path, devices: Devices) -> None:
    log = write_log(logs(mount) / "gw-0001", 1)
    with (log / "receipts.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    verdict = verdicts_on(devices, mount)["gw-0001"]
    assert Flaw.UNREADABLE in [finding.flaw for finding in verdict.findings]
