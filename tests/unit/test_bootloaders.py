"""What every boot loader promises: on GRUB's real environment block, on U-Boot's with its own tools, and on stand-ins."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.power import grub_scripts
from tests.power.grub_scripts import Disk
from tests.uboot import MISSING, UbootBoard
from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import grubenv, simulated
from usbupdate.device.bootloaders.custom import CustomLoader
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.bootloaders.grubtries import GrubTriesLoader
from usbupdate.device.bootloaders.simulated import SimulatedLoader
from usbupdate.device.bootloaders.uboot import UbootLoader
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from usbupdate.device.ports import BootLoader

PROGRAM = """#!{python}
import sys
from pathlib import Path
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import simulated

slots = {slots}
names = {{slot: name for name, slot in slots.items()}}
file = Path({file!r})
loader = simulated.SimulatedLoader(file, Slot.A)
status = simulated.status(file)
primary = simulated.decode(file.read_bytes()).order[0]
match sys.argv[1:]:
    case ["get-primary"]:
        good = [slot for slot in (primary, Slot(primary).other) if status[slot].good]
        print(names[good[0]])
    case ["set-primary", name]:
        loader.mark_active(Slot(slots[name]))
    case ["get-state", name]:
        print("good" if status[Slot(slots[name])].good else "bad")
    case ["set-state", name, "good"]:
        loader.mark_good(Slot(slots[name]))
    case ["set-state", name, "bad"]:
        loader.mark_bad(Slot(slots[name]))
    case ["get-current"]:
        print(names["a"])
    case _:
        sys.exit(2)
"""
"""A custom boot loader: one that counts, with its memory where the simulated one has it."""


def write_program(folder: Path, file: Path, bootnames: Mapping[Slot, str]) -> Path:
    slots = {name: str(slot) for slot, name in bootnames.items()}
    program = folder / "boot-loader"
    program.write_text(PROGRAM.format(python=sys.executable, slots=slots, file=str(file)))
    program.chmod(0o755)
    return program


BOOTNAMES = {Slot.A: "A", Slot.B: "system1"}


NAMES = (BOOTNAMES[Slot.A], BOOTNAMES[Slot.B])


@dataclass
class Bench:
    """A boot loader of a new device that runs slot a, and what its firmware does at a power cycle.

    `copy` is the second copy of a redundant memory; `tells_tries` is whether the loader can tell that a slot was tried.
    """

    file: Path
    loader: BootLoader
    power_cycle: Callable[[], Slot]
    copy: Path | None = None
    tells_tries: bool = True


def slot_of(name: str | None) -> Slot:
    return next(slot for slot, bootname in BOOTNAMES.items() if bootname == name)


def rauc_boot(file: Path) -> Slot:
    """Do what `rauc.cfg` does, until it starts a slot."""
    while True:
        start = grub_scripts.rauc(Disk(grubenv.read(file).variables, loads=frozenset(NAMES)), NAMES)
        grubenv.write(file, grubenv.Environment(start.variables or {}))
        if start.slot is not None:
            return slot_of(start.slot)


def usbupdate_boot(file: Path) -> Slot:
    """Do what `usbupdate.cfg` does."""
    committed = grubenv.read(file.with_name("committed")).variables
    start = grub_scripts.usbupdate(Disk(grubenv.read(file).variables, committed, frozenset(NAMES)), NAMES)
    grubenv.write(file, grubenv.Environment(start.variables or {}))
    return slot_of(start.slot)


def grub_bench(folder: Path) -> Bench:
    file = folder / "grubenv"
    block = grubenv.Environment({"ORDER": "A system1", "A_OK": "1", "A_TRY": "0", "system1_OK": "0", "system1_TRY": "0"})
    file.write_bytes(grubenv.encode(block))
    return Bench(file, GrubLoader(file, BOOTNAMES, lambda: Slot.A), lambda: rauc_boot(file))


def grubtries_bench(folder: Path) -> Bench:
    file = folder / "grubenv"
    file.write_bytes(grubenv.encode(grubenv.Environment({})))
    loader = GrubTriesLoader(file, BOOTNAMES, lambda: Slot.A)
    loader.mark_bad(Slot.B)
    loader.mark_good(Slot.A)
    return Bench(file, loader, lambda: usbupdate_boot(file))


def uboot_bench(folder: Path) -> Bench:
    """Make a redundant environment in two files, for libubootenv's own tools."""
    if MISSING:
        pytest.skip(f"libubootenv-tool is not here: {', '.join(MISSING)}")
    board = UbootBoard(folder)
    board.set(BOOT_ORDER="A system1", BOOT_A_LEFT="3", BOOT_system1_LEFT="0")
    return Bench(
        board.copies[0],
        UbootLoader(board.config, BOOTNAMES, lambda: Slot.A),
        lambda: slot_of(board.power_cycle(NAMES)),
        board.copies[1],
    )


def custom_bench(folder: Path) -> Bench:
    file = folder / "memory.json"
    simulated.lay_down(file, Slot.A)
    program = write_program(folder, file, BOOTNAMES)
    return Bench(
        file,
        CustomLoader(program, BOOTNAMES, lambda: Slot.A),
        lambda: simulated.choose(file),
        tells_tries=False,
    )


def simulated_bench(folder: Path) -> Bench:
    file = folder / "boot.json"
    simulated.lay_down(file, Slot.A)
    return Bench(file, SimulatedLoader(file, Slot.A), lambda: simulated.choose(file))


@pytest.fixture(
    params=[grub_bench, grubtries_bench, uboot_bench, custom_bench, simulated_bench],
    ids=["grub-rauc", "grub-usbupdate", "uboot", "custom", "simulated"],
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    made: Bench = request.param(tmp_path)
    return made


def test_a_new_device_boots_the_slot_that_it_was_given(bench: Bench) -> None:
    assert bench.loader.booted() is Slot.A
    assert bench.power_cycle() is Slot.A


def test_a_slot_marked_active_is_booted_next(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)

    assert bench.power_cycle() is Slot.B


def test_a_slot_marked_bad_is_never_booted(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)
    bench.loader.mark_bad(Slot.B)

    for _ in range(30):
        assert bench.power_cycle() is Slot.A


def test_marking_bad_does_not_touch_the_other_slot(bench: Bench) -> None:
    bench.loader.mark_bad(Slot.B)

    assert bench.power_cycle() is Slot.A


def test_a_slot_on_trial_that_never_comes_up_gives_way_to_the_old_one(bench: Bench) -> None:
    bench.loader.mark_good(Slot.A)
    bench.loader.mark_active(Slot.B)

    boots = [bench.power_cycle() for _ in range(5)]

    tries = boots.index(Slot.A)
    assert tries in {1, simulated.TRIAL_TRIES}
    assert boots[:tries] == [Slot.B] * tries


def test_a_slot_marked_good_at_every_boot_stays(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)
    for _ in range(30):
        assert bench.power_cycle() is Slot.B
        bench.loader.mark_good(Slot.B)


def test_marking_good_leaves_the_order_alone(bench: Bench) -> None:
    bench.loader.mark_good(Slot.B)

    assert bench.power_cycle() is Slot.A


def test_a_slot_just_marked_active_was_not_tried(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)

    assert bench.loader.was_tried(Slot.B) is (Tried.NO if bench.tells_tries else Tried.UNKNOWN)


def test_a_slot_that_was_booted_on_trial_was_tried(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)
    bench.power_cycle()

    assert bench.loader.was_tried(Slot.B) is (Tried.YES if bench.tells_tries else Tried.UNKNOWN)


@pytest.mark.parametrize("decide", ["mark_good", "mark_bad"])
def test_a_slot_is_on_trial_from_its_activation_until_it_is_decided(bench: Bench, decide: str) -> None:
    told = bench.tells_tries
    assert bench.loader.is_on_trial(Slot.A) is (False if told else None)
    bench.loader.mark_active(Slot.B)
    bench.power_cycle()
    bench.loader.mark_good(Slot.A)
    assert bench.loader.is_on_trial(Slot.B) is (True if told else None)
    assert bench.loader.is_on_trial(Slot.A) is (False if told else None)
    getattr(bench.loader, decide)(Slot.B)
    assert bench.loader.is_on_trial(Slot.B) is (False if told else None)


def test_a_counter_left_at_nothing_by_marking_bad_is_not_a_try(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)
    bench.power_cycle()
    bench.loader.mark_bad(Slot.B)

    assert bench.loader.was_tried(Slot.B) is Tried.NO


@pytest.mark.parametrize("contents", [b"", b"\0" * 1024, b"# GRUB Environment Block\n", b"{}", b"[" * 1024], ids=repr)
def test_an_unreadable_memory_is_an_error_and_stays_as_it_is(bench: Bench, contents: bytes) -> None:
    for file in [bench.file, *([bench.copy] if bench.copy else [])]:
        file.write_bytes(contents)

    for act in (bench.loader.mark_good, bench.loader.mark_bad, bench.loader.mark_active, bench.loader.was_tried):
        with pytest.raises(BootLoaderError):
            act(Slot.B)
    assert bench.file.read_bytes() == contents


def test_a_missing_memory_is_an_error_and_is_not_made(bench: Bench) -> None:
    bench.file.unlink()

    with pytest.raises(BootLoaderError):
        bench.loader.mark_bad(Slot.B)
    assert not bench.file.exists()


def test_saying_the_same_again_does_not_wear_the_flash(bench: Bench) -> None:
    bench.loader.mark_good(Slot.A)
    before = bench.file.stat()

    bench.loader.mark_good(Slot.A)

    assert (bench.file.stat().st_mtime_ns, bench.file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
