"""Somebody who has time: bad sticks again and again, junk where logs lie, a ledger set back, a state partition that is full."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import TargetFile

from tests.attack.test_sticks import require_takes
from tests.field import COMPATIBLE, OFFERED, digest, manifest_file
from tests.matrix import By, On, attack
from usbupdate.core.manifest import NOTES_MAX
from usbupdate.core.policy import Insertion, Recipient, choose, with_authorisations
from usbupdate.core.timefloor import ClockReading
from usbupdate.core.trust import refresh
from usbupdate.core.words import DeviceId, Digest
from usbupdate.device import ledger as ledger_module
from usbupdate.device.obligations import Rest
from usbupdate.device.offers import names_of_offers, read_offers
from usbupdate.device.statestore import StateStore
from usbupdate.errors import DegradedError, OlderSequenceError, StoreFailedError, UsbupdateError
from usbupdate.medium import DirectoryMedium
from usbupdate.trustfiles import TrustFiles

if TYPE_CHECKING:
    from tuf.api.metadata import Targets

    from tests.field import Field, Rig
    from usbupdate.core.record import DeviceRecord

JUNK_SIZE = 64 << 20
MEMORY_MAX = 120 << 20
MANIFESTS_MEMORY_MAX = 8 << 20


def _signal(rig: Rig) -> str:
    return str(json.loads((rig.folder / "run/status.json").read_bytes())["signal"])


def _wear_down(field: Field, rig: Rig, monkeypatch: pytest.MonkeyPatch, *, room: int) -> None:
    """Insert two bad sticks in turn until the refusals' share of a small ledger is used up."""
    monkeypatch.setattr(ledger_module, "SIZE_MAX", ledger_module.RESERVE + room)
    opened = ledger_module.Ledger.open.__func__  # type: ignore[attr-defined]  # a class method's own function
    monkeypatch.setattr(
        ledger_module.Ledger,
        "open",
        classmethod(lambda cls, *args: opened(cls, *args, size_max=ledger_module.RESERVE + room)),
    )
    empty, other = field.folder / "empty", field.folder / "other"
    empty.mkdir()
    shutil.copytree(field.good, other)
    shutil.rmtree(other / "usbupdate/targets")
    for _ in range(room // 1000 + 3):
        for bad in (empty, other):
            rig.error_of(bad)


@attack(By.TECHNICIAN, On.SERVICE, "bad sticks without end", "none changes the state that a good one needs")
def test_bad_sticks_without_end_keep_no_good_one_out(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = field.rig
    _wear_down(field, rig, monkeypatch, room=6000)
    assert rig.record().pending, "some refusals wait, counted"
    assert rig.update(field.good).rest is Rest.IDLE
    assert rig.events()[-1] == "committed"


@attack(By.TECHNICIAN, On.RECORD, "refusals push an outcome out of the log", "outcomes come first")
def test_refusals_that_wait_never_hold_up_an_outcome(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = field.rig
    rig.insert(field.good)
    rig.remove()
    _wear_down(field, rig, monkeypatch, room=6000)
    assert rig.boot().rest is Rest.IDLE
    assert "committed" in rig.events()
    assert not any(draft.event == "committed" for draft in rig.record().pending)


def test_refusals_that_wait_are_bounded(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = field.rig
    _wear_down(field, rig, monkeypatch, room=2000)
    for _ in range(70):
        rig.error_of(field.folder / "empty")
        rig.error_of(field.folder / "other")
    assert len(rig.record().pending) <= 110
    assert sum(draft.count for draft in rig.record().pending) > 110


@pytest.mark.parametrize("row", [b"\n", b"ab\n", b"{}\n"])
def test_junk_where_the_log_lies_costs_neither_memory_nor_time(field: Field, row: bytes) -> None:
    import tracemalloc  # noqa: PLC0415  # slows everything down that imports it early

    rig = field.rig
    log = field.good / "usbupdate/logs/gw-1"
    log.mkdir(parents=True)
    (log / "receipts.jsonl.part").write_bytes(row * (JUNK_SIZE // len(row)))
    tracemalloc.start()
    try:
        rig.update(field.good)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_MAX
    assert rig.events()[-1] == "committed"


@attack(
    By.SIGNER,
    On.SERVICE,
    "a stick with very many bundles, each with the largest manifest that there may be",
    "a manifest is kept only as long as it is the best one to choose",
)
def test_many_large_manifests_are_not_kept_at_once(field: Field) -> None:
    import tracemalloc  # noqa: PLC0415  # slows everything down that imports it early

    good = json.loads(manifest_file(field.good).read_bytes())
    padding = {"devices": [f"gw-{number:060d}" for number in range(10_000)], "notes": "x" * NOTES_MAX}
    targets = field.good / "usbupdate/targets"

    def many(listed: Targets) -> None:
        for sequence in range(100, 200):
            raw = json.dumps({**good, **padding, "sequence": sequence}, separators=(",", ":")).encode()
            name = f"gw-{sequence}.json"
            (targets / f"{digest(raw)}.{name}").write_bytes(raw)
            listed.targets[name] = TargetFile.from_data(name, raw, ["sha256"])

    field.press.publish(field.good, many)
    root = (field.repo / "metadata/1.root.json").read_bytes()
    medium = DirectoryMedium(field.good)
    with TemporaryDirectory() as scratch:
        trusted = refresh(TrustFiles(Path(scratch)), root, medium, ClockReading(field.now, trusted=True))
    who = Recipient(DeviceId("gw-1"), frozenset(), COMPATIBLE, Digest("0" * 64))
    tracemalloc.start()
    try:
        names = names_of_offers(trusted, medium)
        offers = with_authorisations(read_offers(trusted, medium, names), [])
        taken = choose(offers, who, field.rig.record(), Insertion.NEW, trusted.now)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(names) == 101
    assert taken is not None
    assert taken.manifest.sequence == OFFERED
    assert peak < MANIFESTS_MEMORY_MAX
    # And the device takes it.
    require_takes(field.rig, field.good, OFFERED)


@attack(By.OWNER, On.RECORD, "the ledger is set back to an older copy", "numbers are kept in the state too")
def test_a_ledger_that_was_set_back_is_noticed_and_no_number_is_used_twice(field: Field) -> None:
    rig = field.rig
    earlier = (rig.folder / "state/ledger/receipts").read_bytes()
    rig.update(field.good)
    shutil.rmtree(rig.folder / "state/ledger")
    (rig.folder / "state/ledger").mkdir()
    (rig.folder / "state/ledger/receipts").write_bytes(earlier)
    error = rig.error_of(field.cure)
    assert isinstance(error, DegradedError)
    assert "remembers 2" in str(error)
    assert rig.events() == ["provisioned"]
    assert rig.boot().rest is Rest.DEGRADED


@attack(By.CHANCE, On.SERVICE, "a state partition that is full", "nothing is begun that cannot be recorded")
def test_a_full_state_partition_is_answered(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = field.rig
    rig.update(field.good)

    def full(store: StateStore, record: DeviceRecord) -> None:
        raise StoreFailedError(path="state.json", problem="No space left on device")

    monkeypatch.setattr(StateStore, "save", full)
    with pytest.raises(UsbupdateError):
        rig.insert(field.cure)
    assert _signal(rig) in {"refused", "failed"}, "never left at busy"


def test_a_boot_that_commits_says_done_whatever_else_is_on_the_stick(field: Field) -> None:
    rig = field.rig
    field.release(9, from_sequence_min=5)
    both = field.stick("both", "gw-2", "gw-9")
    rig.insert(both)
    assert rig.boot().rest is Rest.IDLE
    assert _signal(rig) == "done"
    assert "needs sequence 5" in " ".join(rig.lines)


def test_a_rejected_stick_is_named_before_what_was_interrupted_earlier(field: Field) -> None:
    rig = field.rig
    rig.update(field.cure)
    error = rig.error_of(field.good)
    assert isinstance(error, OlderSequenceError)
    assert _signal(rig) == "refused"
