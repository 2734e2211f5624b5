"""The two boot scripts in the real GRUB, held against what the rest of the tests believes that they do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.matrix import By, On, attack
from tests.power import grub_scripts
from tests.power.grub_machine import EMPTY, MISSING, MODULES, GrubMachine, Started
from tests.power.grub_scripts import Disk, Start
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import grubenv
from usbupdate.device.bootloaders.grubtries import GrubTriesLoader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    bool(MISSING) or not MODULES.is_dir(), reason=f"GRUB's emulator is not here: {', '.join(MISSING) or MODULES}"
)

STATES = [
    *(("good", str(left)) for left in range(9)),
    *(("trial", str(left)) for left in range(4)),
    ("bad", "0"),
    ("bad", "3"),
    (None, None),
]
FEW = [("good", "8"), ("good", "0"), ("good", None), ("trial", "3"), ("trial", "0"), ("bad", "0"), ("", ""), ("Good", "9")]
ORDERS = ["A B", "B A"]
ODD_ORDERS = [None, "", "C", "B", "A A B B", "* ( A", "B;reboot"]
KERNELS = [frozenset({"A", "B"}), frozenset({"A"}), frozenset({"B"}), frozenset[str]()]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> GrubMachine:
    return GrubMachine(tmp_path_factory.mktemp("usbupdate"), "usbupdate.cfg")


@pytest.fixture(scope="module")
def raucs(tmp_path_factory: pytest.TempPathFactory) -> GrubMachine:
    return GrubMachine(tmp_path_factory.mktemp("rauc"), "rauc.cfg")


@pytest.fixture
def fresh(tmp_path: Path) -> GrubMachine:
    return GrubMachine(tmp_path / "machine", "usbupdate.cfg")


def block(variables: Mapping[str, str]) -> bytes:
    return grubenv.encode(grubenv.Environment(variables))


def environment(a: tuple[str | None, str | None], b: tuple[str | None, str | None], order: str | None) -> dict[str, str]:
    values = {"usbupdate_order": order, "usbupdate_A_state": a[0], "usbupdate_A_left": a[1]}
    values |= {"usbupdate_B_state": b[0], "usbupdate_B_left": b[1]}
    return {name: value for name, value in values.items() if value is not None}


def difference(disk: Disk, expected: Start, started: Started) -> str | None:
    """Say where GRUB did something else, None if it did the same."""
    slot = expected.slot
    words = [f"root=/dev/vda{2 if slot == 'A' else 3}", f"usbupdate.slot={slot}"] if slot and disk.can_save else []
    words += ["usbupdate.trial=1"] if expected.is_trial else []
    line = started.line.split()
    agrees = (
        started.slot == slot
        and grubenv.decode(started.block).variables == expected.variables
        and all(word in line for word in words)
        and ("usbupdate.trial=1" in line) == expected.is_trial
        and (not words or line[0] == f"(hd0,gpt{2 if slot == 'A' else 3})/vmlinuz")
    )
    return None if agrees else f"{disk}: {expected}, but GRUB {started}"


def differences(machine: GrubMachine, script: Callable[[Disk], Start], disks: Iterator[Disk]) -> list[str]:
    found = []
    for disk in disks:
        started = machine.start(block(disk.variables or {}), block(disk.committed or {}), can_write=disk.can_save)
        found.append(difference(disk, script(disk), started))
    assert found
    return [each for each in found if each]


@attack(By.CHANCE, On.SLOT, "every state of the boot environment", "a slot is always chosen")
def test_every_state_and_every_number_of_tries_of_two_slots(ours: GrubMachine) -> None:
    disks = (
        Disk(environment(a, b, order), {"usbupdate_committed": order[0]})
        for a, b, order in itertools.product(STATES, STATES, ORDERS)
    )
    assert differences(ours, grub_scripts.usbupdate, disks) == []


def test_odd_orders_and_odd_values(ours: GrubMachine) -> None:
    disks = (
        Disk(environment(a, b, order), {"usbupdate_committed": committed})
        for a, b, order, committed in itertools.product(FEW[::2], FEW[::2], ODD_ORDERS[::2], ["B", "C"])
    )
    assert differences(ours, grub_scripts.usbupdate, disks) == []
    others = (Disk(environment(a, FEW[0], order)) for a, order in itertools.product(FEW, ODD_ORDERS))
    assert differences(ours, grub_scripts.usbupdate, others) == []


def test_what_cannot_be_saved_is_no_trial(ours: GrubMachine) -> None:
    disks = (
        Disk(environment(a, b, order), {"usbupdate_committed": "A"}, can_save=False)
        for a, b, order in itertools.product(FEW, FEW, ORDERS)
    )
    assert differences(ours, grub_scripts.usbupdate, disks) == []


@pytest.mark.parametrize("script", ["usbupdate.cfg", "rauc.cfg"])
@pytest.mark.parametrize("loads", KERNELS[1:], ids=lambda names: "-".join(sorted(names)) or "none")
@pytest.mark.parametrize("file", ["vmlinuz", "initrd.img"])
def test_a_slot_whose_kernel_is_missing_gives_way(tmp_path: Path, script: str, loads: frozenset[str], file: str) -> None:
    machine = GrubMachine(tmp_path / "machine", script)
    for number, name in ((2, "A"), (3, "B")):
        if name not in loads:
            machine.put(number, file, None)
    if script == "rauc.cfg":
        disks = (Disk(rauc_environment(*each), loads=loads) for each in itertools.product("01", "01", "01", "01", ORDERS))
        assert differences(machine, grub_scripts.rauc, disks) == []
    else:
        disks = (
            Disk(environment(a, b, order), {"usbupdate_committed": "B"}, loads)
            for a, b, order in itertools.product(FEW[::2], FEW, ORDERS)
        )
        assert differences(machine, grub_scripts.usbupdate, disks) == []


GARBAGE = {
    "zeros": b"\0" * 1024,
    "ones": b"\xff" * 1024,
    "random": bytes(range(256)) * 4,
    "another header": b"# grub environment block\nusbupdate_order=A B\nusbupdate_A_state=good\nusbupdate_A_left=8\n".ljust(
        1024, b"#"
    ),
    "only the header": grubenv.HEADER.ljust(1024, b"#"),
    "a first sector of nothing": b"\0" * 512 + EMPTY[512:],
}


@attack(By.CHANCE, On.SLOT, "a boot environment that was torn", "two copies, and the committed order")
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("committed", ["A", "B"])
def test_a_broken_block_starts_the_committed_slot(ours: GrubMachine, garbage: bytes, committed: str) -> None:
    started = ours.start(garbage, block({"usbupdate_committed": committed}))

    assert started.slot == committed
    assert started.block == garbage


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_broken_second_block_changes_nothing_and_two_broken_blocks_start_slot_a(ours: GrubMachine, garbage: bytes) -> None:
    good = block(environment(("good", "8"), ("good", "8"), "B A"))
    assert ours.start(good, garbage).slot == "B"
    assert ours.start(garbage, garbage).slot == "A"


@pytest.mark.parametrize(
    "contents", [None, b"", b"#", b"x" * 512, EMPTY * 2], ids=["missing", "empty", "short", "half", "twice"]
)
def test_a_file_that_is_no_block_starts_the_committed_slot(fresh: GrubMachine, contents: bytes | None) -> None:
    fresh.put(1, "grub/committed", block({"usbupdate_committed": "B"}))
    fresh.put(1, "grub/grubenv", contents)

    assert fresh.start_as_it_is().slot == "B"


def test_where_both_slots_are_bad_the_one_that_is_not_being_written_starts(ours: GrubMachine) -> None:
    # A person installs over the committed slot on a device that is stuck in the other one, and the power goes.
    bad = block(environment(("bad", "0"), ("bad", "0"), "A B"))

    assert ours.start(bad, block({"usbupdate_committed": "B"})).slot == "B"
    assert ours.start(bad, EMPTY).slot is None


def test_a_missing_second_file_is_no_harm(fresh: GrubMachine) -> None:
    fresh.put(1, "grub/committed", None)
    fresh.put(1, "grub/grubenv", block(environment(("good", "8"), ("trial", "3"), "B A")))

    assert fresh.start_as_it_is().line.endswith("usbupdate.trial=1")


def test_a_block_full_of_what_others_keep_is_counted_in_all_the_same(ours: GrubMachine) -> None:
    variables = environment(("good", "8"), ("trial", "3"), "B A")
    room = grubenv.SIZE - len(block(variables).rstrip(b"#")) - len("others=\n")
    started = ours.start(block({**variables, "others": "x" * room}), EMPTY)

    assert started.slot == "B"
    assert grubenv.decode(started.block).variables["usbupdate_B_left"] == "2"
    assert grubenv.decode(started.block).variables["others"] == "x" * room


def test_a_block_too_full_to_be_counted_in_starts_the_good_slot(ours: GrubMachine) -> None:
    variables = environment(("good", "8"), ("trial", "3"), "B A")
    del variables["usbupdate_A_left"]
    room = grubenv.SIZE - len(block(variables).rstrip(b"#")) - len("others=\n")
    variables["others"] = "x" * room

    # Slot b needs no room, so it is tried; nothing can be said of slot a, and it is good.
    assert ours.start(block(variables), EMPTY).slot == "B"
    variables["usbupdate_B_left"] = "0"
    started = ours.start(block(variables), EMPTY)
    assert started.slot == "A"
    assert grubenv.decode(started.block).variables == variables


@attack(
    By.STICK, On.SLOT, "variables in the boot environment that lead elsewhere", "only known names with known values are used"
)
def test_a_block_cannot_make_the_script_look_at_another_disk(ours: GrubMachine) -> None:
    variables = environment(("good", "8"), ("bad", "0"), "A B")
    hostile = {
        "root": "hd1,gpt1",
        "disk": "hd1",
        "partition_A": "gpt3",
        "kernel": "/x",
        "words": "init=/bin/sh",
        "prefix": "(hd1)/",
    }

    started = ours.start(block({**variables, **hostile}), block({"usbupdate_committed": "A", **hostile}))

    assert started.line.split()[0] == "(hd0,gpt2)/vmlinuz"
    assert "init=/bin/sh" not in started.line


def test_the_agent_reads_what_grub_counts_and_grub_what_the_agent_marks(ours: GrubMachine, tmp_path: Path) -> None:
    file = tmp_path / "grubenv"
    file.write_bytes(EMPTY)
    loader = GrubTriesLoader(file, {Slot.A: "A", Slot.B: "B"}, lambda: Slot.A)

    def power_cycle() -> str | None:
        started = ours.start(file.read_bytes(), (tmp_path / "committed").read_bytes())
        file.write_bytes(started.block)
        return started.slot

    loader.mark_bad(Slot.B)
    loader.mark_good(Slot.A)
    assert power_cycle() == "A"
    loader.mark_good(Slot.A)
    loader.mark_active(Slot.B)
    assert loader.was_tried(Slot.B) is Tried.NO
    assert [power_cycle() for _ in range(4)] == ["B", "B", "B", "A"]
    assert loader.was_tried(Slot.B) is Tried.YES
    loader.mark_bad(Slot.B)
    assert loader.was_tried(Slot.B) is Tried.NO
    assert [power_cycle() for _ in range(20)] == ["A"] * 20
    loader.mark_active(Slot.B)
    assert power_cycle() == "B"
    loader.mark_good(Slot.B)
    assert [power_cycle() for _ in range(9)] == ["B"] * 8 + ["A"]
    file.write_bytes(b"\0" * 1024)
    assert power_cycle() == "B"


def rauc_environment(a_ok: str, a_try: str, b_ok: str, b_try: str, order: str) -> dict[str, str]:
    return {"ORDER": order, "A_OK": a_ok, "A_TRY": a_try, "B_OK": b_ok, "B_TRY": b_try}


def test_raucs_names_are_counted_as_rauc_counts_them(raucs: GrubMachine) -> None:
    each = itertools.product("01", "01", "01", "01", [*ORDERS, "A", "C B", ""])
    assert differences(raucs, grub_scripts.rauc, (Disk(rauc_environment(*values)) for values in each)) == []


def test_raucs_names_half_missing_or_odd(raucs: GrubMachine) -> None:
    partial = [{}, {"ORDER": "B A"}, {"B_OK": "1"}, {"A_OK": "x", "B_OK": "1", "B_TRY": "y"}, {"A_OK": "1", "other": "z"}]
    assert differences(raucs, grub_scripts.rauc, (Disk(variables) for variables in partial)) == []


def test_raucs_counting_where_nothing_can_be_saved(raucs: GrubMachine) -> None:
    each = itertools.product("01", "01", "01", "01", ORDERS)
    disks = (Disk(rauc_environment(*values), can_save=False) for values in each)
    assert differences(raucs, grub_scripts.rauc, disks) == []


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_broken_block_under_raucs_counting_starts_something(raucs: GrubMachine, garbage: bytes) -> None:
    assert raucs.start(garbage, EMPTY).slot == "A"
