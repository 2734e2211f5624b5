"""Words on receipts that are forged, foreign, old, endless or a thief's, put into a device with the real agent."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Targets

from tests.field import OFFERED, load
from tests.matrix import By, On, attack
from tests.receipts import device as other_device
from usbupdate.core import (
    acknowledged,
    acknowledgements,
    checkpoint,
    cosignature,
    identity as identity_form,
    merkle,
)
from usbupdate.core.acknowledgements import ACKNOWLEDGEMENTS_SIZE_MAX, Received
from usbupdate.core.acknowledgers import FIELD
from usbupdate.core.cosignature import Cosigner
from usbupdate.core.identity import PublicKey
from usbupdate.core.layout import ACKNOWLEDGEMENTS
from usbupdate.core.receipt import Event
from usbupdate.core.words import DeviceId
from usbupdate.device import ledger as ledgers
from usbupdate.device.ledger import Ledger
from usbupdate.device.obligations import Rest
from usbupdate.packager import acknowledgers as people, acknowledging, keys

if TYPE_CHECKING:
    from pathlib import Path

    from securesystemslib.signer import Signer

    from tests.field import Field, Rig
    from usbupdate.core.identity import Identity

GW = DeviceId("gw-1")


@dataclass(frozen=True, slots=True)
class Case:
    """A field whose office has named a key, and a device that has written some receipts."""

    field: Field
    key: Path

    @property
    def rig(self) -> Rig:
        return self.field.rig

    @property
    def identity(self) -> Identity:
        return identity_form.decode((self.rig.folder / "state/identity/identity.json").read_bytes())

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.rig.folder / "state/ledger", self.identity, _no_signer)

    @property
    def known(self) -> int:
        """Up to where the device knows its receipts to be acknowledged."""
        known = self.ledger.acknowledged()
        return 0 if known is None else known.checkpoint.size

    def leaves(self) -> list[bytes]:
        return list(self.ledger.leaves())

    def signer(self) -> tuple[Cosigner, Signer]:
        key = keys.public_key(str(self.key), keys.no_passphrase)
        signer = keys.open_signer(str(self.key), key, keys.no_passphrase)
        assert signer is not None
        return Cosigner("audit", PublicKey(bytes.fromhex(str(key.keyval["public"])))), signer

    def note(self, leaves: list[bytes], identity: Identity | None = None) -> bytes:
        """Return what whoever has the named key can say of a device's receipts."""
        cosigner, signer = self.signer()
        text = checkpoint.sign(identity or self.identity, len(leaves), merkle.root(leaves), other_device("nobody")[1])
        return cosignature.cosign(text, cosigner, 1_790_000_000, signer)

    def acknowledge(self, count: int) -> None:
        """Let the office acknowledge the first so many receipts."""
        leaves = self.leaves()[:count]
        note = checkpoint.sign(self.identity, count, merkle.root(leaves), device_signer(self.rig))
        done = acknowledging.acknowledge(
            self.field.office, [Received(self.identity, note, leaves)], str(self.key), self.field.now
        )
        assert done.refused == {}

    def stick_with(self, raw: bytes, name: str = "word") -> Path:
        """Return the good stick with other words on receipts."""
        mount = self.field.stick(name)
        mount.joinpath(*ACKNOWLEDGEMENTS).write_bytes(raw)
        return mount

    def said(self) -> str:
        return str(json.loads((self.rig.folder / "run/status.json").read_bytes())["sentence"])


def device_signer(rig: Rig) -> Signer:
    from usbupdate.device.identity import load_signer  # noqa: PLC0415 - of the device's side only

    return load_signer(rig.folder / "state")


def _no_signer() -> Signer:
    raise AssertionError


@pytest.fixture
def case(field: Field) -> Case:
    key = field.repo / "keys/audit.pem"
    keys.create(key)
    assert people.name(field.office, str(key), None, field.now).missing == ()
    case = Case(field, key)
    empty = field.folder / "empty"
    empty.mkdir()
    for _ in range(3):
        case.rig.error_of(empty)
        case.rig.boot()
    assert len(case.leaves()) >= 3
    return case


def require_taken(case: Case, mount: Path) -> None:
    """Show that a stick's release is taken whatever else is on it."""
    case.rig.insert(mount)
    assert case.rig.boot().rest is Rest.IDLE
    case.rig.remove()
    assert case.rig.record().committed.sequence == OFFERED


def test_the_offices_word_is_remembered_and_the_next_stick_gets_what_is_behind_it(case: Case) -> None:
    case.acknowledge(2)
    require_taken(case, case.field.stick("word"))
    assert case.known == 2
    status = case.rig.status()
    assert (status["acknowledged_receipts"], status["trimmed_receipts"]) == (2, 0)
    fresh = case.field.stick("fresh", log_only=True)
    case.rig.insert(fresh)
    log = fresh / "usbupdate/logs/gw-1"
    lines = (log / "receipts.jsonl").read_bytes().splitlines()
    assert lines == list(case.ledger.lines(3))
    beside = acknowledged.decode((log / "acknowledged").read_bytes())
    tree = beside.tree()
    for line in lines:
        tree.add(merkle.leaf_hash(line))
    head = checkpoint.open_note((log / "checkpoint").read_bytes(), case.identity)
    assert (tree.size, tree.root()) == (head.size, head.root)


def test_a_device_that_is_up_to_date_takes_the_word_all_the_same(case: Case) -> None:
    require_taken(case, case.field.good)
    case.acknowledge(3)
    for log_only in (False, True):
        case.rig.insert(case.field.stick(f"word-{log_only}", log_only=log_only))
        case.rig.remove()
    assert case.known == 3


def test_a_later_word_goes_further_and_an_older_one_takes_nothing_back(case: Case) -> None:
    sticks = []
    for count in (1, 3):
        case.acknowledge(count)
        sticks.append(case.field.stick(f"word-{count}", log_only=True))
    for mount, known in zip((*sticks, sticks[0]), (1, 3, 3), strict=True):
        case.rig.insert(mount)
        case.rig.remove()
        assert case.known == known


@attack(By.OLD_STICK, On.RECORD, "an old word on receipts is brought again", "it says less than is known, and changes nothing")
def test_a_replayed_word_changes_nothing(case: Case) -> None:
    case.acknowledge(2)
    old = case.field.stick("old", log_only=True)
    case.rig.insert(old)
    case.rig.remove()
    before, events = (case.rig.folder / "state/ledger/acknowledged").read_bytes(), case.rig.events()
    for _ in range(3):
        case.rig.insert(old)
        case.rig.remove()
    assert (case.rig.folder / "state/ledger/acknowledged").read_bytes() == before
    assert case.rig.events() == events


def _hostile(case: Case, kind: str) -> bytes:
    leaves = case.leaves()
    true = case.note(leaves)
    line = acknowledgements.encode({GW: true})
    foreign, _ = other_device("gw-2")
    match kind:
        case "another device's":
            return line.replace(b'{"device":"gw-1"', b'{"device":"gw-2"')
        case "another device's under this name":
            return acknowledgements.encode({foreign.device: case.note(leaves, foreign)}).replace(
                b'{"device":"gw-2"', b'{"device":"gw-1"'
            )
        case "another key's":
            return acknowledgements.encode({GW: case.note(leaves, other_device("gw-1")[0])})
        case "forged":
            head, tail = true[:-20], true[-20:]
            return acknowledgements.encode({GW: head + bytes(reversed(tail[:8])) + tail[8:]})
        case "nobody's":
            text = checkpoint.sign(case.identity, 1, merkle.root(leaves[:1]), other_device("nobody")[1])
            return acknowledgements.encode({GW: text})
        case "twice":
            return line + line
        case "cut short":
            return line[:-30]
        case "a hundred thousand lines":
            return b"".join(b'{"device":"a%06d","note":""}\n' % number for number in range(100_000)) + line[:-2] + b"\n"
        case "line feeds only":
            return b"\n" * ACKNOWLEDGEMENTS_SIZE_MAX
        case "endless":
            return line * (ACKNOWLEDGEMENTS_SIZE_MAX // len(line) + 1)
        case "one endless line":
            return line[:-1] + b" " * (1 << 20)
        case _:
            return b"\xff\x00" * 1000


KINDS = (
    "another device's",
    "another device's under this name",
    "another key's",
    "forged",
    "nobody's",
    "twice",
    "cut short",
    "a hundred thousand lines",
    "line feeds only",
    "endless",
    "one endless line",
    "noise",
)


@attack(
    By.STICK,
    On.RECORD,
    "a word on receipts that is forged, another device's, malformed or endless",
    "it does not count, is told, makes no receipt, and the release on the stick is taken",
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_word_that_is_not_the_offices_changes_nothing_and_makes_no_receipt(case: Case, kind: str) -> None:
    events = case.rig.events()
    mount = case.stick_with(_hostile(case, kind))
    require_taken(case, mount)
    assert case.known == 0
    assert case.rig.events() == [*events, "committed"]
    for _ in range(3):
        case.rig.insert(mount)
        assert ("does not count" in case.said()) is (kind not in {"another device's", "line feeds only", "noise"})
        case.rig.remove()
    assert case.rig.events() == [*events, "committed"]


@attack(By.STICK, On.TRUST, "a link or a pipe in place of the words on receipts", "never followed, and never waited for")
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_trap_in_place_of_the_words_leads_nowhere(case: Case, tmp_path: Path, kind: str) -> None:
    mount = case.field.stick("word")
    path = mount.joinpath(*ACKNOWLEDGEMENTS)
    match kind:
        case "link":
            (tmp_path / "elsewhere").write_bytes(acknowledgements.encode({GW: case.note(case.leaves())}))
            path.symlink_to(tmp_path / "elsewhere")
        case "fifo":
            os.mkfifo(path)
        case _:
            path.mkdir()
    require_taken(case, mount)
    assert case.known == 0


@attack(
    By.OWNER,
    On.RECORD,
    "a copy of the device, key and all, writes receipts of its own",
    "the office's word on the others is no word on these: `fork-suspected`, once, and nothing is trimmed",
)
@pytest.mark.parametrize("kind", ["larger", "other", "other and smaller"])
def test_a_word_on_receipts_that_the_device_did_not_write_is_told_once(case: Case, kind: str) -> None:
    leaves = case.leaves()
    said = {"larger": [*leaves, *leaves], "other": [b"x" * 32, *leaves[1:]], "other and smaller": [b"x" * 32]}[kind]
    mount = case.stick_with(acknowledgements.encode({GW: case.note(said)}))
    require_taken(case, mount)
    assert case.known == 0
    assert case.rig.events().count("fork-suspected") == 1
    suspicion = next(each.draft for each in case.rig.receipts() if each.event is Event.FORK_SUSPECTED)
    assert suspicion.problem is not None
    assert suspicion.problem.reason == "fork-suspected"
    for _ in range(3):
        case.rig.insert(mount)
        assert "Bring this stick to the auditor" in case.said()
        case.rig.remove()
        case.rig.boot()
    assert case.rig.events().count("fork-suspected") == 1
    # A renewed cosignature says the same of the same receipts.
    cosigner, signer = case.signer()
    again = cosignature.cosign(case.note(said), cosigner, 1_790_000_001, signer)
    case.rig.insert(case.stick_with(acknowledgements.encode({GW: again})))
    assert case.rig.events().count("fork-suspected") == 1


@attack(
    By.STOLEN_KEY,
    On.RECORD,
    "with an acknowledger's key, words on receipts that never existed, a new one at each insertion",
    "each a receipt until the share of what sticks provoke is used up; nothing is trimmed, and releases are taken",
)
def test_a_thief_cannot_fill_the_ledger_with_suspicions(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    require_taken(case, case.field.good)
    bound = ledgers.RESERVE + 40_000
    opened = Ledger.open.__func__  # type: ignore[attr-defined]  # a class method's own function
    monkeypatch.setattr(Ledger, "open", classmethod(lambda cls, *args: opened(cls, *args, size_max=bound)))
    for number in range(60):
        case.rig.insert(case.stick_with(acknowledgements.encode({GW: case.note([number.to_bytes(32, "big")])})))
        case.rig.remove()
    assert 5 < case.rig.events().count("fork-suspected") < 40
    assert len(case.rig.record().pending) <= 16
    assert case.ledger.has_room()
    case.field.release(OFFERED + 5, "gw")
    case.rig.update(case.field.stick("next", "gw"))
    assert case.rig.record().committed.sequence == OFFERED + 5


@attack(
    By.STOLEN_KEY,
    On.RECORD,
    "with an acknowledger's key, the device is told that all its receipts have arrived",
    "it gives up their lines only, and only when room is needed; leaf hashes stay, so nothing passes for them",
)
def test_a_stolen_acknowledgers_key_lets_receipts_be_trimmed_and_nothing_else(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = case.field.folder / "empty"
    for _ in range(20):
        case.rig.error_of(empty)
        case.rig.boot()
    leaves, before = case.leaves(), case.rig.picture()
    thief = case.stick_with(acknowledgements.encode({GW: case.note(leaves)}))
    bound = int((case.rig.folder / "state/ledger/receipts").stat().st_size * 1.5)
    opened = Ledger.open.__func__  # type: ignore[attr-defined]  # a class method's own function
    monkeypatch.setattr(ledgers, "RESERVE", 5000)
    monkeypatch.setattr(Ledger, "open", classmethod(lambda cls, *args: opened(cls, *args, size_max=bound)))
    shutil.rmtree(thief / "usbupdate/targets")
    shutil.rmtree(thief / "usbupdate/payload")
    case.rig.insert(thief)
    case.rig.remove()
    ledger = case.ledger
    assert 1 < ledger.first() <= len(leaves) - ledgers.LINES_KEPT + 1
    assert list(ledger.leaves())[: len(leaves)] == leaves
    assert case.rig.picture() == before
    fresh = case.field.stick("fresh", log_only=True)
    case.rig.insert(fresh)
    head = checkpoint.open_note((fresh / "usbupdate/logs/gw-1/checkpoint").read_bytes(), case.identity)
    assert head.root == merkle.root(case.leaves())


@attack(
    By.STOLEN_KEY,
    On.RECORD,
    "an acknowledger's key that was dropped, with the old stick that still names it",
    "whom to believe is what the newest signed list says that the device has seen",
)
def test_a_dropped_key_does_not_count_though_an_old_stick_names_it(case: Case) -> None:
    old = case.stick_with(acknowledgements.encode({GW: case.note(case.leaves())}), "old")
    assert load(old, Targets).unrecognized_fields[FIELD]
    people.drop(case.field.office, "audit", case.field.now)
    newer = case.field.stick("newer")
    require_taken(case, newer)
    case.rig.insert(old)
    assert "nobody cosigned it" in case.said()
    case.rig.remove()
    assert case.known == 0
    # Nor does its word on a stick of the present state.
    case.rig.insert(case.stick_with(acknowledgements.encode({GW: case.note(case.leaves())}), "newer"))
    assert case.known == 0


@attack(By.STICK, On.TRUST, "a stick that names its own key for words on receipts", "the list of bundles is not signed then")
def test_a_key_that_nobody_signed_for_does_not_count(case: Case) -> None:
    path = case.field.repo / "thief.pem"
    keys.create(path)
    thief = Case(case.field, path)
    mount = case.stick_with(acknowledgements.encode({GW: thief.note(case.leaves())}))
    targets = load(mount, Targets)
    file = mount / f"usbupdate/metadata/{targets.version}.targets.json"
    public = {"name": "thief", "public_key": thief.signer()[0].public_key.hex()}
    table = json.loads(file.read_bytes())
    table["signed"][FIELD] = [public]
    file.write_bytes(json.dumps(table).encode())
    assert case.rig.error_of(mount).reason == "metadata-mixed"
    assert case.known == 0


@attack(
    By.SIGNER,
    On.SERVICE,
    "a list of bundles that names acknowledgers in a form nobody can read",
    "it names nobody, and its bundles are taken",
)
def test_a_list_that_names_people_in_another_form_names_nobody(case: Case) -> None:
    mount = case.stick_with(acknowledgements.encode({GW: case.note(case.leaves())}))

    def garbled(targets: Targets) -> None:
        targets.unrecognized_fields[FIELD] = {"format": 2}

    case.field.press.publish(mount, garbled)
    require_taken(case, mount)
    assert case.known == 0


def test_a_full_ledger_is_cured_by_a_stick_that_brings_word_and_a_release(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = case.field.folder / "empty"
    for _ in range(20):
        case.rig.error_of(empty)
        case.rig.boot()
    case.acknowledge(len(case.leaves()))
    size = (case.rig.folder / "state/ledger/receipts").stat().st_size
    monkeypatch.setattr("usbupdate.device.ledger.RESERVE", size // 3)
    opened = Ledger.open.__func__  # type: ignore[attr-defined]  # a class method's own function
    monkeypatch.setattr(Ledger, "open", classmethod(lambda cls, *args: opened(cls, *args, size_max=int(size * 1.2))))
    assert case.rig.error_of(case.field.good).reason == "ledger-full"
    require_taken(case, case.field.stick("word"))
    assert case.ledger.first() > 1
