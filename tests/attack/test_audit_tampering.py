"""What somebody may do to a log on its way back, one builder a manipulation, and what the auditor is told of it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.receipts import chain, checkpoint_over, device, draft, write_log
from usbupdate.audit import lines as audit_lines
from usbupdate.audit.copies import find_copies
from usbupdate.audit.depth import Depth
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.findings import Flaw
from usbupdate.audit.verdict import Standing, Verdict, require_good, verify
from usbupdate.core import envelope, identity
from usbupdate.core.receipt import Receipt
from usbupdate.errors import EvidenceBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT = 6


@pytest.fixture
def stick(mount: Path) -> Path:
    """Return a stick with the logs of two devices in good order."""
    write_log(logs(mount) / "gw-0001", COUNT)
    write_log(logs(mount) / "gw-0002", 3, "gw-0002")
    return mount


@pytest.fixture
def devices(tmp_path: Path) -> Devices:
    """Return the auditor's memory, with both devices enrolled by their fingerprints."""
    devices = Devices(tmp_path / "devices")
    for name in ("gw-0001", "gw-0002"):
        enrol_by_fingerprint(tmp_path, devices, name)
    return devices


def enrol_by_fingerprint(tmp_path: Path, devices: Devices, name: str) -> None:
    path = tmp_path / f"{name}.json"
    path.write_bytes(identity.encode(device(name)[0]))
    enrol(path, devices, device=None, fingerprint=device(name)[0].fingerprint)


def logs(mount: Path) -> Path:
    return mount / "usbupdate" / "logs"


def verdicts_on(devices: Devices, *mounts: Path) -> dict[str, Verdict]:
    return {verdict.device: verdict for verdict in verify(find_copies(mounts), devices)}


def lines_of(log: Path) -> list[bytes]:
    return (log / "receipts.jsonl").read_bytes().splitlines()


def put_lines(log: Path, lines: list[bytes]) -> None:
    (log / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def with_line(log: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    lines = lines_of(log)
    lines[number - 1] = change(lines[number - 1])
    put_lines(log, lines)


def canonical(table: object) -> bytes:
    return json.dumps(table, sort_keys=True, separators=(",", ":")).encode()


# --- The manipulations: each takes the folder of gw-0001 ---------------------------------------------------------------


def edit_one_field(log: Path) -> None:
    def change(line: bytes) -> bytes:
        table = json.loads(line)
        payload = base64.b64decode(table["payload"]).replace(b'"committed"', b'"withdrawn"')
        return canonical(table | {"payload": base64.b64encode(payload).decode()})

    with_line(log, 3, change)


def edit_the_number(log: Path) -> None:
    def change(line: bytes) -> bytes:
        table = json.loads(line)
        payload = base64.b64decode(table["payload"]).replace(b'"number":3', b'"number":9')
        return canonical(table | {"payload": base64.b64encode(payload).decode()})

    with_line(log, 3, change)


def drop_the_first_line(log: Path) -> None:
    put_lines(log, lines_of(log)[1:])


def drop_a_middle_line(log: Path) -> None:
    put_lines(log, lines_of(log)[:2] + lines_of(log)[3:])


def drop_the_last_line(log: Path) -> None:
    put_lines(log, lines_of(log)[:-1])


def drop_all_lines(log: Path) -> None:
    put_lines(log, [])


def swap_two_lines(log: Path) -> None:
    lines = lines_of(log)
    lines[2], lines[3] = lines[3], lines[2]
    put_lines(log, lines)


def duplicate_a_line(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [*lines[:3], lines[2], *lines[3:]])


def truncate_a_middle_line(log: Path) -> None:
    with_line(log, 3, lambda line: line[:-40])


def truncate_the_file(log: Path) -> None:
    (log / "receipts.jsonl").write_bytes((log / "receipts.jsonl").read_bytes()[:-40])


def add_a_signature(log: Path) -> None:
    def change(line: bytes) -> bytes:
        table = json.loads(line)
        table["signatures"].append({"keyid": "00" * 32, "sig": table["signatures"][0]["sig"]})
        return canonical(table)

    with_line(log, 3, change)


def replace_the_signature(log: Path) -> None:
    _, signer = device("gw-0001", "thief")
    with_line(log, 3, lambda line: envelope.sign(envelope.peek_unproven(line), signer))


def name_the_right_key_over_a_foreign_signature(log: Path) -> None:
    def change(line: bytes) -> bytes:
        table = json.loads(line)
        table["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
        return canonical(table)

    with_line(log, 3, change)


def add_a_field(log: Path) -> None:
    with_line(log, 3, lambda line: canonical(json.loads(line) | {"note": "harmless"}))


def reencode_the_json(log: Path) -> None:
    with_line(log, 3, lambda line: json.dumps(json.loads(line)).encode())


def change_line_endings(log: Path) -> None:
    with_line(log, 3, lambda line: line + b"\r")


def replace_a_line_by_garbage(log: Path) -> None:
    with_line(log, 3, lambda _: b"[" * 100_000)


def insert_an_empty_line(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [*lines[:2], b"", *lines[2:]])


def append_an_empty_line(log: Path) -> None:
    put_lines(log, [*lines_of(log), b""])


def put_another_devices_line(log: Path) -> None:
    with_line(log, 3, lambda _: chain(3, "gw-0002")[2])


def append_another_devices_line(log: Path) -> None:
    put_lines(log, [*lines_of(log), chain(7, "gw-0002")[6]])


def put_another_devices_folder(log: Path) -> None:
    shutil.rmtree(log)
    shutil.copytree(log.with_name("gw-0002"), log)


def put_an_older_checkpoint(log: Path) -> None:
    (log / "checkpoint").write_bytes(checkpoint_over(chain(4), *device("gw-0001")))


def remove_the_checkpoint(log: Path) -> None:
    (log / "checkpoint").unlink()


def alter_the_checkpoint(log: Path) -> None:
    raw = (log / "checkpoint").read_bytes()
    (log / "checkpoint").write_bytes(raw.replace(b"\n6\n", b"\n5\n"))


def put_another_devices_checkpoint(log: Path) -> None:
    shutil.copy(log.with_name("gw-0002") / "checkpoint", log / "checkpoint")


def garble_the_checkpoint(log: Path) -> None:
    (log / "checkpoint").write_bytes(b"\xff" * 50)


def remove_the_receipts(log: Path) -> None:
    (log / "receipts.jsonl").unlink()


def remove_all_files(log: Path) -> None:
    for path in log.iterdir():
        path.unlink()


def replace_the_identity(log: Path) -> None:
    (log / "identity.json").write_bytes(identity.encode(device("gw-0001", "thief")[0]))


def replace_key_and_history(log: Path) -> None:
    write_log(log, COUNT, key="thief")


def remove_the_identity(log: Path) -> None:
    (log / "identity.json").unlink()


def garble_the_identity(log: Path) -> None:
    (log / "identity.json").write_bytes(b"{}")


def plant_a_link(log: Path) -> None:
    (log / "receipts.jsonl").unlink()
    (log / "receipts.jsonl").symlink_to("/etc/passwd")


def plant_a_fifo(log: Path) -> None:
    (log / "checkpoint").unlink()
    os.mkfifo(log / "checkpoint")


def rewrite_with_the_devices_own_key(log: Path) -> None:
    # Whoever stole the key still cannot fit a new receipt between others.
    lines = lines_of(log)
    genuine = envelope.peek_unproven(lines[2])
    lines[2] = envelope.sign(Receipt(genuine.device, 3, genuine.previous, draft(99)), device("gw-0001")[1])
    put_lines(log, lines)


def checkpoint_over_another_history(log: Path) -> None:
    (log / "checkpoint").write_bytes(checkpoint_over(chain(COUNT, text="other"), *device("gw-0001")))


MANIPULATIONS: list[tuple[Callable[[Path], None], Flaw, int | None]] = [
    (edit_one_field, Flaw.SIGNATURE, 3),
    (edit_the_number, Flaw.SIGNATURE, 3),
    (drop_the_first_line, Flaw.MISSING, 1),
    (drop_a_middle_line, Flaw.MISSING, 3),
    (drop_the_last_line, Flaw.MISSING, COUNT),
    (drop_all_lines, Flaw.MISSING, 1),
    (swap_two_lines, Flaw.OUT_OF_ORDER, 3),
    (duplicate_a_line, Flaw.REPEATED, 3),
    (truncate_a_middle_line, Flaw.MALFORMED, 3),
    (truncate_the_file, Flaw.CUT_SHORT, COUNT),
    (add_a_signature, Flaw.MALFORMED, 3),
    (replace_the_signature, Flaw.SIGNATURE, 3),
    (name_the_right_key_over_a_foreign_signature, Flaw.SIGNATURE, 3),
    (add_a_field, Flaw.MALFORMED, 3),
    (reencode_the_json, Flaw.MALFORMED, 3),
    (change_line_endings, Flaw.MALFORMED, 3),
    (replace_a_line_by_garbage, Flaw.MALFORMED, 3),
    (insert_an_empty_line, Flaw.MALFORMED, None),
    (append_an_empty_line, Flaw.MALFORMED, None),
    (put_another_devices_line, Flaw.FOREIGN_DEVICE, 3),
    (append_another_devices_line, Flaw.FOREIGN_DEVICE, COUNT + 1),
    (put_another_devices_folder, Flaw.FOREIGN_DEVICE, 1),
    (put_an_older_checkpoint, Flaw.CHECKPOINT_BEHIND, 5),
    (remove_the_checkpoint, Flaw.CHECKPOINT_MISSING, None),
    (alter_the_checkpoint, Flaw.CHECKPOINT_SIGNATURE, None),
    (put_another_devices_checkpoint, Flaw.CHECKPOINT_SIGNATURE, None),
    (garble_the_checkpoint, Flaw.CHECKPOINT_MALFORMED, None),
    (remove_the_receipts, Flaw.RECEIPTS_MISSING, None),
    (remove_all_files, Flaw.RECEIPTS_MISSING, None),
    (replace_the_identity, Flaw.KEY_CHANGED, None),
    (replace_key_and_history, Flaw.SIGNATURE, 1),
    (remove_the_identity, Flaw.IDENTITY_MISSING, None),
    (garble_the_identity, Flaw.IDENTITY_MALFORMED, None),
    (plant_a_link, Flaw.UNREADABLE, None),
    (plant_a_fifo, Flaw.UNREADABLE, None),
    (rewrite_with_the_devices_own_key, Flaw.CHAIN, 4),
    (checkpoint_over_another_history, Flaw.CHECKPOINT_ROOT, 1),
]
LIKE_A_PULLED_STICK = {Flaw.CHECKPOINT_MISSING, Flaw.CHECKPOINT_BEHIND, Flaw.IDENTITY_MISSING}
EACH = pytest.mark.parametrize(("tamper", "flaw", "receipt"), MANIPULATIONS, ids=[each[0].__name__ for each in MANIPULATIONS])


@attack(
    By.TECHNICIAN,
    On.RECORD,
    "receipts changed, removed, reordered, replaced or invented on the way",
    "signatures, a chain and a signed checkpoint over every line",
)
@EACH
def test_tampering_is_found_and_named(
    stick: Path, devices: Devices, tamper: Callable[[Path], None], flaw: Flaw, receipt: int | None
) -> None:
    tamper(logs(stick) / "gw-0001")
    verdicts = verdicts_on(devices, stick)
    assert verdicts["gw-0001"].standing is (
        Standing.INCOMPLETE if flaw in LIKE_A_PULLED_STICK or tamper is remove_all_files else Standing.BROKEN
    )
    found = [(finding.flaw, finding.receipt) for finding in verdicts["gw-0001"].findings]
    assert (flaw, receipt) in found
    for finding in verdicts["gw-0001"].findings:
        assert finding.sentence().startswith("gw-0001: ")
        if finding.receipt is not None:
            assert re.match(rf"gw-0001: receipts? {finding.receipt}\b", finding.sentence())
        assert finding.sentence().isprintable()
    # The other device on the stick is none the worse for it.
    assert verdicts["gw-0002"].standing is Standing.OK
    with pytest.raises(EvidenceBrokenError, match="gw-0001"):
        require_good(list(verdicts.values()))


# Only a fingerprint tells a device that was replaced as a whole from a genuine one.
@attack(By.TECHNICIAN, On.RECORD, "the same, before the office knows the device's key", "the chain proves itself")
@pytest.mark.parametrize("tamper", [each[0] for each in MANIPULATIONS if each[0] is not replace_key_and_history])
def test_tampering_is_found_without_an_enrolled_key_too(stick: Path, tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    tamper(logs(stick) / "gw-0001")
    assert verdicts_on(Devices(tmp_path / "none"), stick)["gw-0001"].standing is Standing.BROKEN


@EACH
def test_tampering_is_not_remembered_as_seen(
    stick: Path, devices: Devices, tamper: Callable[[Path], None], flaw: Flaw, receipt: int | None
) -> None:
    tamper(logs(stick) / "gw-0001")
    verdicts_on(devices, stick)
    for name, count in (("gw-0001", 0), ("gw-0002", 3)):
        known = devices.get(device(name)[0].device)
        assert known is not None
        assert len(known.leaves) == count


@EACH
def test_no_depth_finds_less(
    stick: Path, devices: Devices, tamper: Callable[[Path], None], flaw: Flaw, receipt: int | None
) -> None:
    tamper(logs(stick) / "gw-0001")
    thorough, *others = (next(iter(verify(find_copies([stick]), devices, depth))) for depth in reversed(Depth))
    assert all((each.standing, each.findings) == (thorough.standing, thorough.findings) for each in others)


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
    enrol_again = Devices(tmp_path / "fresh")
    enrol_by_fingerprint(tmp_path, enrol_again, "gw-0001")
    verdict = verdicts_on(enrol_again, stick, other)["gw-0001"]
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
