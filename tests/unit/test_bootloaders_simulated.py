from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from usbupdate.core.lifecycle import Tried
from usbupdate.core.words import Slot
from usbupdate.device.bootloaders import simulated
from usbupdate.device.bootloaders.simulated import SimulatedLoader, SlotStatus
from usbupdate.errors import BootLoaderError, MalformedError

if TYPE_CHECKING:
    from pathlib import Path

memories = st.builds(
    simulated.Memory,
    st.sampled_from([(Slot.A, Slot.B), (Slot.B, Slot.A)]),
    st.fixed_dictionaries(
        {
            slot: st.one_of(
                st.just(simulated.BAD),
                st.builds(simulated.SlotMemory, st.just(True), st.integers(0, 3), st.just(3)),
                st.builds(simulated.SlotMemory, st.just(True), st.integers(0, 8), st.just(8)),
            )
            for slot in Slot
        }
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "boot.json"
    simulated.lay_down(path, Slot.A)
    return path


def test_a_try_is_used_up_before_the_slot_is_booted(file: Path) -> None:
    SimulatedLoader(file, Slot.A).mark_active(Slot.B)

    left = []
    for _ in range(3):
        assert simulated.choose(file) is Slot.B
        left.append(simulated.status(file)[Slot.B].tries)

    assert left == [2, 1, 0]
    assert simulated.choose(file) is Slot.A


def test_a_committed_slot_that_stops_coming_up_gives_way_after_eight_boots(file: Path) -> None:
    loader = SimulatedLoader(file, Slot.A)
    loader.mark_active(Slot.B)
    loader.mark_good(Slot.B)

    assert [simulated.choose(file) for _ in range(9)] == [Slot.B] * 8 + [Slot.A]


def test_quick_power_cycles_never_leave_a_device_that_boots_nothing(file: Path) -> None:
    assert [simulated.choose(file) for _ in range(100)] == [Slot.A] * 100


def test_a_slot_on_trial_gets_no_tries_back(file: Path) -> None:
    loader = SimulatedLoader(file, Slot.A)
    loader.mark_active(Slot.B)

    assert [simulated.choose(file) for _ in range(30)] == [Slot.B] * 3 + [Slot.A] * 27
    assert loader.was_tried(Slot.B) is Tried.YES


def test_status_shows_tries_only_while_on_trial(file: Path) -> None:
    loader = SimulatedLoader(file, Slot.A)
    assert simulated.status(file) == {Slot.A: SlotStatus(good=True, tries=None), Slot.B: SlotStatus(good=False, tries=0)}

    loader.mark_active(Slot.B)
    assert simulated.status(file)[Slot.B] == SlotStatus(good=True, tries=3)

    loader.mark_good(Slot.B)
    assert simulated.status(file)[Slot.B] == SlotStatus(good=True, tries=None)


def test_an_unreadable_memory_boots_what_is_built_in_and_is_left_for_inspection(file: Path) -> None:
    file.write_bytes(b"garbage")

    assert simulated.choose(file, built_in=Slot.B) is Slot.B
    assert file.read_bytes() == b"garbage"
    with pytest.raises(BootLoaderError):
        simulated.status(file)


def test_nothing_is_booted_when_no_slot_is_good(file: Path) -> None:
    SimulatedLoader(file, Slot.A).mark_bad(Slot.A)

    with pytest.raises(BootLoaderError, match="nothing can be booted"):
        simulated.choose(file)


@given(memories)
def test_what_was_encoded_decodes_to_the_same(memory: simulated.Memory) -> None:
    assert simulated.decode(simulated.encode(memory)) == memory


@given(st.binary(max_size=300))
def test_any_other_bytes_are_rejected(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        simulated.decode(raw)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"order":["a","b"]', b'"order":["a","a"]'),
        (b'"order":["a","b"]', b'"order":["a"]'),
        (b'"order":["a","b"]', b'"order":[]'),
        (b'"order":["a","b"]', b'"order":["a","c"]'),
        (b'"tries":8', b'"tries":9'),
        (b'"tries":8', b'"tries":-1'),
        (b'"given":8', b'"given":4'),
        (b'"given":8', b'"given":8,"more":1'),
        (b'"good":false', b'"good":true'),
        (b'"good":false', b'"good":0'),
        (b'"format":1', b'"format":2'),
    ],
)
def test_a_memory_that_no_loader_writes_is_rejected(file: Path, good: bytes, bad: bytes) -> None:
    raw = file.read_bytes()
    assert good in raw

    with pytest.raises(MalformedError):
        simulated.decode(raw.replace(good, bad))
