"""The story that the demonstration tells, step by step."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from usbupdate import durable
from usbupdate.cli.demo.releases import IMAGE_SIZE, make_image
from usbupdate.core.envelope import peek_unproven
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from usbupdate.cli.demo.stage import Stage
    from usbupdate.core.receipt import Draft
    from usbupdate.core.strictjson import Json

RELEASES: Final = {"1.0": 1, "1.1": 2, "1.2": 3, "1.3": 4, "1.4": 5}


def tell(stage: Stage) -> None:
    """Tell the whole story.

    Raises:
        DemoClaimError: something that was to be shown is not true.
    """
    started = time.monotonic()
    stage.say(
        "This is the whole job of usbupdate, done by its real commands on this computer. The device is a folder: two slots, a"
        " boot loader with tries, and the same agent as on a board. Of what a command prints, the last lines are shown."
        f" Everything lies in {stage.folder}."
    )
    _found_the_office(stage)
    _make_the_device(stage)
    _update(stage)
    _roll_back(stage)
    _cut_the_power(stage)
    _flip_a_bit(stage)
    _insert_an_old_stick(stage)
    _audit(stage)
    stage.title("That was all of it")
    stage.say(f"{stage.claims} claims, each checked from the bytes, in {time.monotonic() - started:.0f} seconds.")


def _found_the_office(stage: Stage) -> None:
    stage.title("1. The release office: two of three people must agree on whom devices trust")
    durable.make_directory(stage.folder / "keys")
    durable.make_directory(stage.folder / "images")
    for person in ("alice", "bob", "carol"):
        stage.run(f"key create keys/{person}.pem", shows=0)
    stage.say("Carol is away; of her key, only the public half is here.")
    durable.make_directory(stage.folder / "carols-safe")
    durable.rename(stage.folder / "keys/carol.pem", stage.folder / "carols-safe/carol.pem")
    keys = " ".join(f"--key root=keys/{name}" for name in ("alice.pem", "bob.pem", "carol.pem.pub"))
    stage.run(f"repo init office {keys} --threshold root=2")
    root = json.loads((stage.folder / "office/metadata/1.root.json").read_bytes())
    stage.claim("the root of trust needs 2 of 3 keys", found=root["signed"]["roles"]["root"]["threshold"], expected=2)
    stage.claim("and 2 people signed it", found=sum(bool(each["sig"]) for each in root["signatures"]), expected=2)
    make_image(stage.folder / "images/1.0.img", "1.0", RELEASES["1.0"])
    _make_release(stage, "1.1")
    durable.make_directory(stage.folder / "stick")
    stage.run("stick write office stick")
    durable.make_directory(stage.folder / "stick-of-last-spring")
    stage.run("stick write office stick-of-last-spring", shows=0)


def _make_release(stage: Stage, version: str) -> None:
    image = f"images/{version}.img"
    make_image(stage.folder / image, version, RELEASES[version])
    stage.run(
        f"bundle create {image} --repo office --name gateway --version {version} --sequence {RELEASES[version]}"
        " --compatible acme,gw-100",
        shows=1,
    )


def _make_the_device(stage: Stage) -> None:
    stage.title("2. The device: runs release 1.0 in slot a, slot b is empty")
    printed = stage.run(
        "simulate new gw-0001 --image images/1.0.img --compatible acme,gw-100 --root office/metadata/1.root.json"
        " --id gw-0001 --version 1.0 --sequence 1"
    )
    durable.save(stage.folder / "fingerprint.txt", printed.split()[-1].encode() + b"\n")
    _claim_slot(stage, "a", "1.0")
    stage.claim("slot b cannot be booted", found=_slot(stage.status("gw-0001"), "b")["good"], expected=False)


def _update(stage: Stage) -> None:
    stage.title("3. A technician inserts the stick: verified, installed beside the running release, booted on trial, committed")
    stage.run("simulate insert gw-0001 stick")
    status = stage.status("gw-0001")
    stage.claim("slot b holds release 1.1, byte for byte", found=_measured(stage, "b"), expected=stage.digest("images/1.1.img"))
    stage.claim("release 1.0 still runs, and a restart is due", found=_runs(status), expected=("a", True))
    stage.run("simulate boot gw-0001")
    status = stage.status("gw-0001")
    stage.claim(
        "release 1.1 runs and is committed", found=(status["booted"], status["last_event"]), expected=("b", "committed")
    )
    _claim_slot(stage, "a", "1.0")


def _roll_back(stage: Stage) -> None:
    stage.title("4. Release 1.2 does not come up: the device goes back by itself")
    _make_release(stage, "1.2")
    stage.run("stick write office stick", shows=1)
    stage.run("simulate insert gw-0001 stick", shows=1)
    stage.run("simulate boot gw-0001 --panic", code=ExitCode.ROLLED_BACK, shows=9)
    status = stage.status("gw-0001")
    stage.claim("release 1.1 runs again", found=(status["booted"], status["last_event"]), expected=("b", "rolled-back"))
    _claim_slot(stage, "b", "1.1")
    stage.claim("the slot with release 1.2 cannot be booted any more", found=_slot(status, "a")["good"], expected=False)
    stage.run("simulate remove gw-0001", shows=0)


def _cut_the_power(stage: Stage) -> None:
    stage.title("5. The power is cut in the middle of an install: the next insertion finishes it")
    _make_release(stage, "1.3")
    stage.run("stick write office stick", shows=1)
    stage.say("The command is killed in the middle, as a power cut would end it.")
    stage.cut("simulate insert gw-0001 stick", at="installing: 10 %")
    stage.run("simulate remove gw-0001", shows=0)
    stage.run("simulate boot gw-0001")
    status = stage.status("gw-0001")
    stage.claim("release 1.1 runs; the attempt is recorded as interrupted", found=(status["booted"], status["last_event"]),
                expected=("b", "interrupted"))  # fmt: skip
    stage.claim("the half-written slot cannot be booted", found=_slot(status, "a")["good"], expected=False)
    lacking = stage.lacking("gw-0001/slots/a.img", "images/1.3.img")
    stage.claim("some of release 1.3 is there and some is not", found=0 < lacking < IMAGE_SIZE, expected=True)
    stage.run("simulate insert gw-0001 stick", shows=1)
    stage.run("simulate boot gw-0001", shows=1)
    stage.claim("release 1.3 runs", found=_measured(stage, "a"), expected=stage.digest("images/1.3.img"))
    receipt = _last_receipt(stage.folder / "stick")
    written = None if receipt.traffic is None else receipt.traffic.written
    stage.claim(f"its receipt says resumed, and {lacking >> 10} of {IMAGE_SIZE >> 10} KiB written: only what was missing",
                found=(receipt.resumed, written), expected=(True, lacking))  # fmt: skip


def _flip_a_bit(stage: Stage) -> None:
    stage.title("6. A stick with one flipped bit: verification says no, nothing is written")
    stage.run("simulate remove gw-0001", shows=0)
    _make_release(stage, "1.4")
    stage.run("stick write office stick", shows=1)
    pack = max((each for each in (stage.folder / "stick/usbupdate/payload").rglob("*") if each.is_file()), key=_size)
    with pack.open("rb") as file:
        first = file.read(1)[0]
    durable.overwrite(pack, bytes([first ^ 1]))
    stage.say(f"One bit of {pack.relative_to(stage.folder)} is flipped.")
    before = _contents(stage)
    stage.run("simulate insert gw-0001 stick", code=ExitCode.REJECTED)
    stage.claim("not one byte of the slots or of the boot loader's memory changed", found=_contents(stage), expected=before)
    stage.claim("the device recorded it", found=stage.status("gw-0001")["last_event"], expected="rejected")
    stage.run("simulate remove gw-0001", shows=0)


def _insert_an_old_stick(stage: Stage) -> None:
    stage.title("7. A genuine but older stick: policy says no, it is refused")
    before = _contents(stage)
    stage.run("simulate insert gw-0001 stick-of-last-spring", code=ExitCode.REFUSED)
    stage.claim("nothing changed", found=_contents(stage), expected=before)
    stage.claim("the device recorded it", found=stage.status("gw-0001")["last_event"], expected="refused")
    stage.run("simulate remove gw-0001", shows=0)


def _audit(stage: Stage) -> None:
    stage.title("8. The auditor reads the stick that came back, and proves what the device did")
    fingerprint = (stage.folder / "fingerprint.txt").read_text("ascii").strip()
    stage.run(f"audit enroll stick-of-last-spring --fingerprint {fingerprint} --devices auditor", shows=1)
    stage.run("audit show stick-of-last-spring --devices auditor", shows=24)
    stage.run("audit verify stick-of-last-spring --devices auditor", shows=5)
    log = stage.folder / "stick-of-last-spring/usbupdate/logs/gw-0001"
    lines = (log / "receipts.jsonl").read_bytes().splitlines()
    count = stage.status("gw-0001")["receipts"]
    stage.claim(f"all {count} receipts are there and proven", found=len(lines), expected=count)
    stage.say("Somebody changes one line of a copy of the log.")
    forged = stage.folder / "forged/gw-0001"
    durable.make_directory(forged)
    changed = len(lines) // 2
    lines[changed] = lines[changed].replace(b"A", b"B", 1)
    for name in ("identity.json", "checkpoint"):
        durable.save(forged / name, (log / name).read_bytes())
    durable.save(forged / "receipts.jsonl", b"".join(line + b"\n" for line in lines))
    told = stage.run("audit verify forged --devices auditor", code=ExitCode.EVIDENCE_BROKEN, shows=8)
    stage.claim(f"the auditor is told which: receipt {changed + 1}", found=f"receipt {changed + 1}" in told, expected=True)


def _claim_slot(stage: Stage, slot: str, version: str) -> None:
    text = f"slot {slot} holds release {version}, byte for byte"
    stage.claim(text, found=_measured(stage, slot), expected=stage.digest(f"images/{version}.img"))


def _measured(stage: Stage, slot: str) -> str:
    return stage.digest(f"gw-0001/slots/{slot}.img")


def _contents(stage: Stage) -> tuple[str, ...]:
    return tuple(stage.digest(f"gw-0001/{name}") for name in ("slots/a.img", "slots/b.img", "bootloader.json"))


def _runs(status: dict[str, Json]) -> tuple[Json, Json]:
    return status["booted"], status["reboot_pending"]


def _slot(status: dict[str, Json], name: str) -> dict[str, Json]:
    slots = status["slots"]
    slot = slots[name] if isinstance(slots, dict) else None
    return slot if isinstance(slot, dict) else {}


def _last_receipt(stick: Path) -> Draft:
    lines = (stick / "usbupdate/logs/gw-0001/receipts.jsonl").read_bytes().splitlines()
    return peek_unproven(lines[-1]).draft


def _size(file: Path) -> int:
    return file.stat().st_size
