"""What every boot loader promises, on GRUB's real environment block and on the simulated loader's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import grubenv, simulated
from usbupdate.device.bootloaders.grub import GrubLoader
from usbupdate.device.bootloaders.simulated import SimulatedLoader
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from usbupdate.device.ports import BootLoader

BOOTNAMES = {Slot.A: "A", Slot.B: "system1"}


@dataclass
class Bench:
    """A boot loader of a new device that runs slot a, and what its firmware does at a power cycle."""

    file: Path
    loader: BootLoader
    power_cycle: Callable[[], Slot]


def grub_boot_script(file: Path) -> Slot:
    """Do what RAUC's contrib/grub.conf does; its rescue entry stands for whatever is the first good one."""
    variables = dict(grubenv.read(file).variables)
    chosen = None
    for name in variables["ORDER"].split():
        tried = variables.get(f"{name}_TRY", "")
        variables[f"{name}_TRY"] = "1"
        if variables.get(f"{name}_OK") == "1" and tried == "0":
            chosen = name
            break
    if chosen is None:
        for name in BOOTNAMES.values():
            if variables.get(f"{name}_OK") == "1":
                variables[f"{name}_TRY"] = "0"
                chosen = chosen or name
    grubenv.write(file, grubenv.Environment(variables))
    return next(slot for slot, name in BOOTNAMES.items() if name == chosen)


def grub_bench(folder: Path) -> Bench:
    file = folder / "grubenv"
    block = grubenv.Environment({"ORDER": "A system1", "A_OK": "1", "A_TRY": "0", "system1_OK": "0", "system1_TRY": "0"})
    file.write_bytes(grubenv.encode(block))
    return Bench(file, GrubLoader(file, BOOTNAMES, lambda: Slot.A), lambda: grub_boot_script(file))


def simulated_bench(folder: Path) -> Bench:
    file = folder / "boot.json"
    simulated.lay_down(file, Slot.A)
    return Bench(file, SimulatedLoader(file, Slot.A), lambda: simulated.choose(file))


@pytest.fixture(params=[grub_bench, simulated_bench], ids=["grub", "simulated"])
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

    assert bench.loader.was_tried(Slot.B) is Tried.NO


def test_a_slot_that_was_booted_on_trial_was_tried(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)
    bench.power_cycle()

    assert bench.loader.was_tried(Slot.B) is Tried.YES


def test_a_counter_left_at_nothing_by_marking_bad_is_not_a_try(bench: Bench) -> None:
    bench.loader.mark_active(Slot.B)
    bench.power_cycle()
    bench.loader.mark_bad(Slot.B)

    assert bench.loader.was_tried(Slot.B) is Tried.NO


@pytest.mark.parametrize("contents", [b"", b"\0" * 1024, b"# GRUB Environment Block\n", b"{}", b"[" * 1024], ids=repr)
def test_an_unreadable_memory_is_an_error_and_stays_as_it_is(bench: Bench, contents: bytes) -> None:
    bench.file.write_bytes(contents)

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
