"""What somebody may do to a log on its way back, each by its name, and what the auditor must be told of it at which depth.

The tests do each of these, and docs/auditor.md lists them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tarfile
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tests.receipts import chain, checkpoint_over, device, draft, write_log
from usbupdate.audit.copies import RECEIPTS_SIZE_MAX
from usbupdate.audit.depth import Depth
from usbupdate.audit.devices import Devices
from usbupdate.audit.enrolment import enrol
from usbupdate.audit.findings import Flaw
from usbupdate.core import envelope, identity
from usbupdate.core.receipt import NO_PREVIOUS, Receipt, Release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.core.receipt import Draft

COUNT: Final = 6
"""So many receipts the device has whose log is tampered with; another one on the stick has three."""
EVERY_DEPTH: Final = frozenset(Depth)
CONTENTS: Final = frozenset({Depth.CONTENTS, Depth.THOROUGH})
SIGNATURES: Final = frozenset({Depth.THOROUGH})


@dataclass(frozen=True, slots=True)
class Tampering:
    """One manipulation.

    Attributes:
        do: does it, given the folder of the device's log; returns where else to look than on that stick.
        flaw: what is found.
        receipt: the number of the first receipt that is named.
        depths: at which depths it must be found.
        is_seen: whether the auditor had seen the log before.
        needs_key: whether only somebody with the device's own key can do it.
    """

    do: Callable[[Path], tuple[Path, ...] | None]
    flaw: Flaw
    receipt: int | None = None
    depths: frozenset[Depth] = EVERY_DEPTH
    is_seen: bool = False
    needs_key: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        return self.do.__name__


def write_stick(mount: Path) -> Path:
    """Return a stick with the logs of two devices in good order."""
    write_log(mount / "usbupdate" / "logs" / "gw-0001", COUNT)
    write_log(mount / "usbupdate" / "logs" / "gw-0002", 3, "gw-0002")
    return mount


def auditor(folder: Path) -> Devices:
    """Return an auditor's memory, with both devices enrolled by their fingerprints."""
    devices = Devices(folder / "devices")
    folder.mkdir(exist_ok=True)
    for name in ("gw-0001", "gw-0002"):
        stated = folder / f"{name}.json"
        stated.write_bytes(identity.encode(device(name)[0]))
        enrol(stated, devices, device=None, fingerprint=device(name)[0].fingerprint)
    return devices


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


# --- Anybody can do these ---


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


def drop_two_lines(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [lines[0], lines[2], *lines[4:]])


def drop_a_run_of_lines(log: Path) -> None:
    put_lines(log, [lines_of(log)[0], *lines_of(log)[4:]])


def reverse_all_lines(log: Path) -> None:
    put_lines(log, lines_of(log)[::-1])


def move_the_last_line_to_the_top(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [lines[-1], *lines[:-1]])


def duplicate_the_last_line(log: Path) -> None:
    put_lines(log, [*lines_of(log), lines_of(log)[-1]])


def replay_an_earlier_line_in_place_of_another(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [*lines[:4], lines[1], *lines[5:]])


def replay_the_whole_log_behind_itself(log: Path) -> None:
    put_lines(log, lines_of(log) * 2)


def put_another_devices_line_between(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [*lines[:2], chain(3, "gw-0002")[2], *lines[2:]])


def change_all_line_endings(log: Path) -> None:
    put_lines(log, [line + b"\r" for line in lines_of(log)])


def put_a_byte_order_mark_before_all(log: Path) -> None:
    with_line(log, 1, lambda line: b"\xef\xbb\xbf" + line)


def put_a_blank_before_a_line(log: Path) -> None:
    with_line(log, 3, lambda line: b" " + line)


def zero_a_line(log: Path) -> None:
    with_line(log, 3, lambda line: bytes(len(line)))


def split_a_line(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [*lines[:2], lines[2][:700], lines[2][700:], *lines[3:]])


def join_two_lines(log: Path) -> None:
    lines = lines_of(log)
    put_lines(log, [*lines[:2], lines[2] + lines[3], *lines[4:]])


def change_the_case_of_a_line(log: Path) -> None:
    with_line(log, 3, bytes.upper)


def respell_the_base64_of_a_signature(log: Path) -> None:
    # The last letter before the padding has four bits that decode to nothing.
    def change(line: bytes) -> bytes:
        letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        at = line.rindex(b'=="') - 1
        return line[:at] + bytes([letters[letters.index(line[at]) | 1]]) + line[at + 1 :]

    with_line(log, 3, change)


def pad_the_payload(log: Path) -> None:
    with_line(log, 3, lambda line: canonical(json.loads(line) | {"payload": json.loads(line)["payload"] + "===="}))


def reorder_the_keys_of_a_line(log: Path) -> None:
    with_line(log, 3, lambda line: json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":")).encode())


def repeat_a_key_in_a_line(log: Path) -> None:
    with_line(log, 3, lambda line: b'{"payload":"AAAA",' + line[1:])


def _with_signature(log: Path, **fields: str) -> None:
    def change(line: bytes) -> bytes:
        table = json.loads(line)
        table["signatures"][0] |= fields
        return canonical(table)

    with_line(log, 3, change)


def write_the_key_id_in_upper_case(log: Path) -> None:
    _with_signature(log, keyid=device("gw-0001")[0].fingerprint.upper())


def name_another_key(log: Path) -> None:
    _with_signature(log, keyid=device("gw-0001", "thief")[0].fingerprint)


def shorten_a_signature(log: Path) -> None:
    _with_signature(log, sig=base64.b64encode(bytes(63)).decode())


def add_a_field_to_a_signature(log: Path) -> None:
    _with_signature(log, note="harmless")


def take_the_signature_of_another_line(log: Path) -> None:
    _with_signature(log, sig=json.loads(lines_of(log)[3])["signatures"][0]["sig"])


def remove_the_signature(log: Path) -> None:
    with_line(log, 3, lambda line: canonical(json.loads(line) | {"signatures": []}))


def change_the_payload_type(log: Path) -> None:
    with_line(log, 3, lambda line: canonical(json.loads(line) | {"payloadType": "application/json"}))


def _payload(log: Path, old: bytes, new: bytes) -> None:
    def change(line: bytes) -> bytes:
        table = json.loads(line)
        payload = base64.b64decode(table["payload"])
        assert old in payload
        return canonical(table | {"payload": base64.b64encode(payload.replace(old, new)).decode()})

    with_line(log, 3, change)


def edit_the_time(log: Path) -> None:
    _payload(log, b"2026-03-01T10:20:30Z", b"2026-03-01T10:20:31Z")


def edit_the_clock_in_a_boot(log: Path) -> None:
    _payload(log, b'"monotonic_ms":3000', b'"monotonic_ms":3001')


def edit_the_boot(log: Path) -> None:
    _payload(log, b'"boot_id":"00000003"', b'"boot_id":"00000004"')


def edit_the_version(log: Path) -> None:
    _payload(log, b'"version":"1.1"', b'"version":"1.2"')


def edit_the_sequence(log: Path) -> None:
    _payload(log, b'"sequence":4', b'"sequence":5')


def edit_the_manifest_digest(log: Path) -> None:
    _payload(log, b"abab", b"abac")


def edit_the_result_of_a_check(log: Path) -> None:
    _payload(log, b'"result":"passed"', b'"result":"failed"')


def edit_the_serial_of_the_stick(log: Path) -> None:
    _payload(log, b'"serial":"4C53"', b'"serial":"4C54"')


def edit_who_did_it(log: Path) -> None:
    _payload(log, b'"operator":"unattended"', b'"operator":"gina"')


def edit_the_previous_digest(log: Path) -> None:
    _payload(log, envelope.line_digest(lines_of(log)[1]).encode(), b"0" * 64)


def edit_the_device(log: Path) -> None:
    _payload(log, b'"device":"gw-0001"', b'"device":"gw-0009"')


def remove_a_field_of_a_receipt(log: Path) -> None:
    _payload(log, b'"count":1,', b"")


def add_a_field_to_a_receipt(log: Path) -> None:
    _payload(log, b'"count":1,', b'"count":1,"cover":2,')


def sign_all_lines_with_another_key(log: Path) -> None:
    put_lines(log, chain(COUNT, key="thief"))


def append_a_line_of_another_key(log: Path) -> None:
    put_lines(log, [*lines_of(log), chain(COUNT + 1, key="thief")[COUNT]])


def put_a_folder_in_place_of_the_receipts(log: Path) -> None:
    (log / "receipts.jsonl").unlink()
    (log / "receipts.jsonl").mkdir()


def make_the_receipts_as_large_as_a_disk(log: Path) -> None:
    with (log / "receipts.jsonl").open("ab") as file:
        file.truncate(RECEIPTS_SIZE_MAX + 1)


def sign_the_checkpoint_with_another_key(log: Path) -> None:
    (log / "checkpoint").write_bytes(checkpoint_over(lines_of(log), *device("gw-0001", "thief")))


def forge_the_root_of_the_checkpoint(log: Path) -> None:
    genuine = (log / "checkpoint").read_bytes().split(b"\n")
    genuine[2] = base64.b64encode(bytes(32))
    (log / "checkpoint").write_bytes(b"\n".join(genuine))


def change_the_origin_of_the_checkpoint(log: Path) -> None:
    (log / "checkpoint").write_bytes((log / "checkpoint").read_bytes().replace(b"gw-0001", b"gw-0003"))


def put_a_checkpoint_of_more_receipts(log: Path) -> None:
    (log / "checkpoint").write_bytes(checkpoint_over(chain(COUNT + 2), *device("gw-0001")))


def sign_the_checkpoint_twice(log: Path) -> None:
    raw = (log / "checkpoint").read_bytes()
    (log / "checkpoint").write_bytes(raw + raw.splitlines(keepends=True)[-1])


def change_the_line_endings_of_the_checkpoint(log: Path) -> None:
    (log / "checkpoint").write_bytes((log / "checkpoint").read_bytes().replace(b"\n", b"\r\n"))


def empty_the_checkpoint(log: Path) -> None:
    (log / "checkpoint").write_bytes(b"")


def write_the_fingerprint_in_upper_case(log: Path) -> None:
    raw = (log / "identity.json").read_bytes()
    fingerprint = device("gw-0001")[0].fingerprint.encode()
    (log / "identity.json").write_bytes(raw.replace(fingerprint, fingerprint.upper()))


def put_another_devices_identity(log: Path) -> None:
    shutil.copy(log.with_name("gw-0002") / "identity.json", log / "identity.json")


def zip_with_a_changed_line(log: Path) -> tuple[Path, ...]:
    edit_the_version(log)
    return (_zipped(log, lambda name: name),)


def zip_with_the_receipts_under_a_name_that_climbs_out(log: Path) -> tuple[Path, ...]:
    return (_zipped(log, lambda name: f"../{name}" if name.endswith("gw-0001/receipts.jsonl") else name),)


def tar_with_a_link_for_the_receipts(log: Path) -> tuple[Path, ...]:
    (log / "receipts.jsonl").unlink()
    (log / "receipts.jsonl").symlink_to("../gw-0002/receipts.jsonl")
    archive = log.parents[2].with_name("returned.tar")
    with tarfile.open(archive, "w") as made:
        made.add(log.parents[1], "usbupdate")
    return (archive,)


def tar_with_a_second_checkpoint(log: Path) -> tuple[Path, ...]:
    archive = log.parents[2].with_name("returned.tar.gz")
    with tarfile.open(archive, "w:gz") as made:
        made.add(log.parents[1], "usbupdate")
        made.add(log / "checkpoint", "usbupdate/logs/gw-0001/checkpoint")
    return (archive,)


def _zipped(log: Path, name: Callable[[str], str]) -> Path:
    archive = log.parents[2].with_name("returned.zip")
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(log.parent.rglob("*")):
            if path.is_file():
                made.write(path, name(str(path.relative_to(log.parents[2]))))
    return archive


# --- The holder of the device's key can do these besides ---


def _seal(log: Path, lines: list[bytes]) -> None:
    """Write lines, and a checkpoint over them that the device's own key signs."""
    put_lines(log, lines)
    (log / "checkpoint").write_bytes(checkpoint_over(lines, *device("gw-0001")))


def _history(log: Path, drafts: list[Draft]) -> None:
    """Write a log of drafts, in perfect order by its signatures."""
    name, signer = device("gw-0001")
    lines: list[bytes] = []
    for number, each in enumerate(drafts, 1):
        previous = envelope.line_digest(lines[-1]) if lines else NO_PREVIOUS
        lines.append(envelope.sign(Receipt(name.device, number, previous, each), signer))
    _seal(log, lines)


def clone_the_device_and_go_on_twice(log: Path) -> tuple[Path, ...]:
    other = log.parents[2].with_name("other") / "usbupdate" / "logs" / "gw-0001"
    write_log(other, 4)
    lines = lines_of(other)
    name, signer = device("gw-0001")
    lines.append(envelope.sign(Receipt(name.device, 5, envelope.line_digest(lines[-1]), draft(77)), signer))
    _seal(other, lines)
    return log.parents[2], other.parents[2]


def begin_a_new_history_with_the_same_key(log: Path) -> None:
    write_log(log, COUNT + 2, text="other")


def go_on_from_an_older_state(log: Path) -> None:
    lines = lines_of(log)[:4]
    name, signer = device("gw-0001")
    for number in range(5, 10):
        lines.append(envelope.sign(Receipt(name.device, number, envelope.line_digest(lines[-1]), draft(number + 50)), signer))
    _seal(log, lines)


def state_another_receipt_with_the_same_number(log: Path) -> None:
    put_lines(log, [*lines_of(log), chain(COUNT, text="other")[2]])


def seal_a_rewritten_line(log: Path) -> None:
    rewrite_with_the_devices_own_key(log)
    _seal(log, lines_of(log))


def seal_a_line_without_a_signature(log: Path) -> None:
    lines = lines_of(log)
    table = json.loads(lines[-1])
    table["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    _seal(log, [*lines[:-1], canonical(table)])


def seal_a_line_of_another_key(log: Path) -> None:
    lines = lines_of(log)
    _seal(log, [*lines[:-1], chain(COUNT, key="thief")[-1]])


def seal_a_line_of_another_device(log: Path) -> None:
    _seal(log, [*lines_of(log)[:-1], chain(COUNT, "gw-0002")[-1]])


def seal_garbage(log: Path) -> None:
    _seal(log, [*lines_of(log)[:-1], b"not a receipt"])


def seal_a_gap(log: Path) -> None:
    lines = lines_of(log)
    _seal(log, lines[:2] + lines[3:])


def seal_a_line_twice(log: Path) -> None:
    lines = lines_of(log)
    _seal(log, [*lines, lines[-1]])


def seal_lines_in_another_order(log: Path) -> None:
    lines = lines_of(log)
    lines[2], lines[3] = lines[3], lines[2]
    _seal(log, lines)


def go_back_without_authorisation(log: Path) -> None:
    _history(log, [draft(1), draft(2), draft(3), replace(draft(4), after=Release("0.9", 1, {}))])


def turn_time_back_within_a_boot(log: Path) -> None:
    first = draft(1)
    earlier = replace(first.moment, monotonic_ms=first.moment.monotonic_ms - 1)
    _history(log, [first, replace(draft(2), moment=replace(earlier))])


TAMPERINGS: Final = (
    Tampering(edit_one_field, Flaw.SIGNATURE, 3),
    Tampering(edit_the_number, Flaw.SIGNATURE, 3),
    Tampering(drop_the_first_line, Flaw.MISSING, 1),
    Tampering(drop_a_middle_line, Flaw.MISSING, 3),
    Tampering(drop_the_last_line, Flaw.MISSING, COUNT),
    Tampering(drop_all_lines, Flaw.MISSING, 1),
    Tampering(swap_two_lines, Flaw.OUT_OF_ORDER, 3),
    Tampering(duplicate_a_line, Flaw.REPEATED, 3),
    Tampering(truncate_a_middle_line, Flaw.MALFORMED, 3),
    Tampering(truncate_the_file, Flaw.CUT_SHORT, COUNT),
    Tampering(add_a_signature, Flaw.MALFORMED, 3),
    Tampering(replace_the_signature, Flaw.SIGNATURE, 3),
    Tampering(name_the_right_key_over_a_foreign_signature, Flaw.SIGNATURE, 3),
    Tampering(add_a_field, Flaw.MALFORMED, 3),
    Tampering(reencode_the_json, Flaw.MALFORMED, 3),
    Tampering(change_line_endings, Flaw.MALFORMED, 3),
    Tampering(replace_a_line_by_garbage, Flaw.MALFORMED, 3),
    Tampering(insert_an_empty_line, Flaw.MALFORMED),
    Tampering(append_an_empty_line, Flaw.MALFORMED),
    Tampering(put_another_devices_line, Flaw.FOREIGN_DEVICE, 3),
    Tampering(append_another_devices_line, Flaw.FOREIGN_DEVICE, COUNT + 1),
    Tampering(put_another_devices_folder, Flaw.FOREIGN_DEVICE, 1),
    Tampering(put_an_older_checkpoint, Flaw.CHECKPOINT_BEHIND, 5),
    Tampering(remove_the_checkpoint, Flaw.CHECKPOINT_MISSING),
    Tampering(alter_the_checkpoint, Flaw.CHECKPOINT_SIGNATURE),
    Tampering(put_another_devices_checkpoint, Flaw.CHECKPOINT_SIGNATURE),
    Tampering(garble_the_checkpoint, Flaw.CHECKPOINT_MALFORMED),
    Tampering(remove_the_receipts, Flaw.RECEIPTS_MISSING),
    Tampering(remove_all_files, Flaw.RECEIPTS_MISSING),
    Tampering(replace_the_identity, Flaw.KEY_CHANGED),
    Tampering(replace_key_and_history, Flaw.SIGNATURE, 1),
    Tampering(remove_the_identity, Flaw.IDENTITY_MISSING),
    Tampering(garble_the_identity, Flaw.IDENTITY_MALFORMED),
    Tampering(plant_a_link, Flaw.UNREADABLE),
    Tampering(plant_a_fifo, Flaw.UNREADABLE),
    Tampering(drop_two_lines, Flaw.MISSING, 2),
    Tampering(drop_a_run_of_lines, Flaw.MISSING, 2),
    Tampering(reverse_all_lines, Flaw.OUT_OF_ORDER, 5),
    Tampering(move_the_last_line_to_the_top, Flaw.OUT_OF_ORDER, 1),
    Tampering(duplicate_the_last_line, Flaw.REPEATED, COUNT),
    Tampering(replay_an_earlier_line_in_place_of_another, Flaw.REPEATED, 2),
    Tampering(replay_the_whole_log_behind_itself, Flaw.REPEATED, 1),
    Tampering(put_another_devices_line_between, Flaw.FOREIGN_DEVICE),
    Tampering(change_all_line_endings, Flaw.MALFORMED, 1),
    Tampering(put_a_byte_order_mark_before_all, Flaw.MALFORMED, 1),
    Tampering(put_a_blank_before_a_line, Flaw.MALFORMED, 3),
    Tampering(zero_a_line, Flaw.MALFORMED, 3),
    Tampering(split_a_line, Flaw.MALFORMED, 3),
    Tampering(join_two_lines, Flaw.MALFORMED, 3),
    Tampering(change_the_case_of_a_line, Flaw.MALFORMED, 3),
    Tampering(respell_the_base64_of_a_signature, Flaw.MALFORMED, 3),
    Tampering(pad_the_payload, Flaw.MALFORMED, 3),
    Tampering(reorder_the_keys_of_a_line, Flaw.MALFORMED, 3),
    Tampering(repeat_a_key_in_a_line, Flaw.MALFORMED, 3),
    Tampering(write_the_key_id_in_upper_case, Flaw.MALFORMED, 3),
    Tampering(name_another_key, Flaw.SIGNATURE, 3),
    Tampering(shorten_a_signature, Flaw.MALFORMED, 3),
    Tampering(add_a_field_to_a_signature, Flaw.MALFORMED, 3),
    Tampering(take_the_signature_of_another_line, Flaw.SIGNATURE, 3),
    Tampering(remove_the_signature, Flaw.MALFORMED, 3),
    Tampering(change_the_payload_type, Flaw.MALFORMED, 3),
    Tampering(edit_the_time, Flaw.SIGNATURE, 3),
    Tampering(edit_the_clock_in_a_boot, Flaw.SIGNATURE, 3),
    Tampering(edit_the_boot, Flaw.SIGNATURE, 3),
    Tampering(edit_the_version, Flaw.SIGNATURE, 3),
    Tampering(edit_the_sequence, Flaw.SIGNATURE, 3),
    Tampering(edit_the_manifest_digest, Flaw.SIGNATURE, 3),
    Tampering(edit_the_result_of_a_check, Flaw.SIGNATURE, 3),
    Tampering(edit_the_serial_of_the_stick, Flaw.SIGNATURE, 3),
    Tampering(edit_who_did_it, Flaw.SIGNATURE, 3),
    Tampering(edit_the_previous_digest, Flaw.SIGNATURE, 3),
    Tampering(edit_the_device, Flaw.FOREIGN_DEVICE, 3),
    Tampering(remove_a_field_of_a_receipt, Flaw.SIGNATURE, 3),
    Tampering(add_a_field_to_a_receipt, Flaw.SIGNATURE, 3),
    Tampering(sign_all_lines_with_another_key, Flaw.SIGNATURE, 1),
    Tampering(append_a_line_of_another_key, Flaw.SIGNATURE, COUNT + 1),
    Tampering(put_a_folder_in_place_of_the_receipts, Flaw.UNREADABLE),
    Tampering(make_the_receipts_as_large_as_a_disk, Flaw.UNREADABLE),
    Tampering(sign_the_checkpoint_with_another_key, Flaw.CHECKPOINT_SIGNATURE),
    Tampering(forge_the_root_of_the_checkpoint, Flaw.CHECKPOINT_SIGNATURE),
    Tampering(change_the_origin_of_the_checkpoint, Flaw.CHECKPOINT_SIGNATURE),
    Tampering(put_a_checkpoint_of_more_receipts, Flaw.MISSING, COUNT + 1),
    Tampering(sign_the_checkpoint_twice, Flaw.CHECKPOINT_MALFORMED),
    Tampering(change_the_line_endings_of_the_checkpoint, Flaw.CHECKPOINT_MALFORMED),
    Tampering(empty_the_checkpoint, Flaw.CHECKPOINT_MALFORMED),
    Tampering(write_the_fingerprint_in_upper_case, Flaw.IDENTITY_MALFORMED),
    Tampering(put_another_devices_identity, Flaw.IDENTITY_FOREIGN),
    Tampering(zip_with_a_changed_line, Flaw.SIGNATURE, 3),
    Tampering(zip_with_the_receipts_under_a_name_that_climbs_out, Flaw.RECEIPTS_MISSING),
    Tampering(tar_with_a_link_for_the_receipts, Flaw.UNREADABLE),
    Tampering(tar_with_a_second_checkpoint, Flaw.UNREADABLE),
    Tampering(rewrite_with_the_devices_own_key, Flaw.CHAIN, 4, needs_key=True),
    Tampering(checkpoint_over_another_history, Flaw.CHECKPOINT_ROOT, 1, needs_key=True),
    Tampering(clone_the_device_and_go_on_twice, Flaw.FORKED, 5, needs_key=True),
    Tampering(begin_a_new_history_with_the_same_key, Flaw.SEEN_OTHERWISE, 1, is_seen=True, needs_key=True),
    Tampering(go_on_from_an_older_state, Flaw.SEEN_OTHERWISE, 5, is_seen=True, needs_key=True),
    Tampering(state_another_receipt_with_the_same_number, Flaw.FORKED, 3, needs_key=True),
    Tampering(seal_a_rewritten_line, Flaw.CHAIN, 4, depths=CONTENTS, needs_key=True),
    Tampering(seal_a_line_without_a_signature, Flaw.SIGNATURE, COUNT, depths=SIGNATURES, needs_key=True),
    Tampering(seal_a_line_of_another_key, Flaw.SIGNATURE, COUNT, depths=CONTENTS, needs_key=True),
    Tampering(seal_a_line_of_another_device, Flaw.FOREIGN_DEVICE, COUNT, depths=CONTENTS, needs_key=True),
    Tampering(seal_garbage, Flaw.MALFORMED, COUNT, depths=CONTENTS, needs_key=True),
    Tampering(seal_a_gap, Flaw.MISSING, 3, depths=CONTENTS, needs_key=True),
    Tampering(seal_a_line_twice, Flaw.REPEATED, COUNT, depths=CONTENTS, needs_key=True),
    Tampering(seal_lines_in_another_order, Flaw.OUT_OF_ORDER, 3, depths=CONTENTS, needs_key=True),
    Tampering(go_back_without_authorisation, Flaw.WENT_BACK, 4, depths=CONTENTS, needs_key=True),
    Tampering(turn_time_back_within_a_boot, Flaw.TIME_BACKWARDS, 2, depths=CONTENTS, needs_key=True),
)
