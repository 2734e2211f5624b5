"""The power is cut, and what no flush had made durable is lost: real starts from what is then on the disk.

Each cut is taken from a recorded update, so that it falls where it is meant to. `test_recorded_cuts` tries all the others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from refdevice import layout
from refdevice.guest import BOOT_S
from refdevice.machine import CONSOLE, Disk, Stick
from refdevice.release import Fault
from refdevice.stickimage import open_partition
from refdevice.volume import find
from tests.matrix import By, On, attack
from tests.vm.blockrecord import Cut
from tests.vm.moments import Moment, moments, part_of
from tests.vm.recording import Recording, recorded_update
from tests.vm.steps import answer, audit, events, receipts_on

if TYPE_CHECKING:
    from refdevice.guest import Guest
    from tests.vm.conftest import StartDevice

BOOTS_TO_REST: Final = 6


class PluggedIn(Enum):
    """Which stick is in when the power comes back."""

    SAME = auto()
    """The one of the update, as the cut left it."""
    FRESH = auto()
    """Another one with the same release, which nobody has written to."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """One cut, as the disk and as the stick see it."""

    disk: Cut
    stick: Cut


Choice = Callable[[Recording, list[Moment]], Cuts]


def at_moment(which: int, **what: object) -> Choice:
    """Choose the moment, by its place among those that look so; all that was not durable is lost."""

    def choose(recording: Recording, all_of_them: list[Moment]) -> Cuts:
        alike = [each for each in all_of_them if all(getattr(each, name) == value for name, value in what.items())]
        return both(recording, Cut(alike[which].after))

    return choose


def in_the_middle_of_writing(recording: Recording, _all: list[Moment]) -> Cuts:
    """Choose half of the installation, and let chance decide what is there of the slot, sector by sector."""
    writes = recording.disk.writes_to(part_of(layout.ROOTFS_B))
    return both(recording, Cut(writes[len(writes) // 2].number, seed=1))


def while_log_is_written(nth_flush: int, seed: int | None = None) -> Choice:
    """Choose a moment while the stick gets its receipts, before that flush of the stick."""

    def choose(recording: Recording, _all: list[Moment]) -> Cuts:
        after = recording.stick.flushes()[nth_flush] - 1
        return Cuts(Cut(recording.disk_when_stick(after)), Cut(after, seed))

    return choose


def both(recording: Recording, cut: Cut) -> Cuts:
    return Cuts(cut, Cut(recording.stick_when_disk(cut.after), cut.seed))


COMMITTED: Final = ["provisioned", "committed"]
RESUMED: Final = ["provisioned", "interrupted", "committed"]
SAME, FRESH = PluggedIn.SAME, PluggedIn.FRESH
smoke: Final = pytest.mark.smoke

GOOD: Final = [
    pytest.param(at_moment(0, state="Installing"), SAME, RESUMED, id="installing-nothing-is-written"),
    pytest.param(in_the_middle_of_writing, FRESH, RESUMED, id="installing-half-is-written", marks=smoke),
    pytest.param(at_moment(-1, state="Installing"), SAME, RESUMED, id="installing-all-is-written"),
    pytest.param(at_moment(0, state="Ready"), FRESH, COMMITTED, id="ready"),
    pytest.param(at_moment(-1, state="Activating", other="bad 0"), SAME, COMMITTED, id="activating-before-mark-active"),
    pytest.param(at_moment(0, state="Activating", other="trial 3"), FRESH, COMMITTED, id="activating-marked", marks=smoke),
    pytest.param(at_moment(0, state="Activating", other="trial 2"), SAME, COMMITTED, id="trial-counted-by-the-boot-loader"),
    pytest.param(at_moment(-1, state="Activating", other="trial 2"), FRESH, COMMITTED, id="trial-before-the-agent"),
    pytest.param(at_moment(0, state="Trial"), SAME, COMMITTED, id="trial-begun"),
    pytest.param(at_moment(-1, state="Trial"), FRESH, COMMITTED, id="trial-while-it-is-judged"),
    pytest.param(at_moment(-1, state="Committing", other="trial 2"), SAME, COMMITTED, id="committing-before-mark-good"),
    pytest.param(
        at_moment(0, state="Committing", other="good 8", noted="A"),
        SAME,
        COMMITTED,
        id="committing-between-the-two-blocks",
        marks=smoke,
    ),
    pytest.param(at_moment(-1, state="Committing", noted="B"), FRESH, COMMITTED, id="committing-marked"),
    pytest.param(at_moment(0, state="Recording"), SAME, COMMITTED, id="recording-not-in-the-ledger"),
    pytest.param(at_moment(-1, state="Recording"), FRESH, COMMITTED, id="recording-in-the-ledger"),
    pytest.param(while_log_is_written(0), SAME, COMMITTED, id="log-first-bytes-lost"),
    pytest.param(while_log_is_written(3, seed=1), SAME, COMMITTED, id="log-half-on-the-stick", marks=smoke),
    pytest.param(while_log_is_written(-1), FRESH, COMMITTED, id="log-written"),
    pytest.param(at_moment(-1, state="Idle", noted="B"), SAME, COMMITTED, id="done"),
]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A folder for what is too large to be kept, were the test to fail."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        yield Path(folder)


@attack(
    By.CHANCE,
    On.SLOT,
    "real power cuts over all states, with writes that were not flushed",
    "state as obligation, tries in the boot loader",
)
@pytest.mark.parametrize(("choose", "plugged", "told"), GOOD)
def test_a_good_release_survives_the_cut(
    choose: Choice, plugged: PluggedIn, told: list[str], start_device: StartDevice, images: Path
) -> None:
    recording = recorded_update()
    first, following = images_of(recording)
    guest, disk, stick = switch_on_after(recording, choose, plugged, start_device, images)

    assert answer(guest) == "done, remove"
    require_at_rest(guest, "b", 2, "committed")
    assert require_whole_story(guest, stick, images) == told
    assert (digest_of_slot(disk, layout.ROOTFS_A), digest_of_slot(disk, layout.ROOTFS_B)) == (first, following)


BAD: Final = [
    pytest.param(at_moment(0, state="Trial"), SAME, id="trial"),
    pytest.param(at_moment(0, state="Condemning"), FRESH, id="condemning-before-mark-bad"),
    pytest.param(at_moment(-1, state="Condemning", other="bad 0"), SAME, id="condemning-marked"),
    pytest.param(at_moment(0, state="Recording"), FRESH, id="recording"),
    pytest.param(at_moment(-1, state="Leaving"), SAME, id="leaving"),
]


@pytest.mark.parametrize(("choose", "plugged"), BAD)
def test_a_release_that_fails_its_checks_is_given_up_whatever_is_cut(
    choose: Choice, plugged: PluggedIn, start_device: StartDevice, images: Path
) -> None:
    recording = recorded_update(Fault.UNHEALTHY)
    first, following = images_of(recording)
    guest, disk, stick = switch_on_after(recording, choose, plugged, start_device, images)

    assert answer(guest).startswith("failed: ")
    require_at_rest(guest, "a", 1, "check-failed")
    assert require_whole_story(guest, stick, images) == ["provisioned", "check-failed"]
    assert (digest_of_slot(disk, layout.ROOTFS_A), digest_of_slot(disk, layout.ROOTFS_B)) == (first, following)


def switch_on_after(
    recording: Recording, choose: Choice, plugged: PluggedIn, start_device: StartDevice, folder: Path
) -> tuple[Guest, Path, Path]:
    """Switch a device on with the disk that a cut left; return it with its disk and the stick that is in."""
    cuts = choose(recording, moments(recording))
    disk = recording.lay_disk(cuts.disk, folder / "disk.raw")
    stick = recording.lay_stick(cuts.stick if plugged is SAME else Cut(-1), folder / "stick.img")
    is_bootable = digest_of_slot(disk, layout.ROOTFS_B) in images_of(recording)
    guest = start_device(disk=Disk(disk))
    guest.machine.plug(Stick(stick, serial="0001" if plugged is SAME else "0002"))
    guest.machine.run()
    slot = guest.transcript.expect(r"usbupdate: booting slot (\w)", limit_s=BOOT_S, channel=CONSOLE)[1]
    assert slot == "A" or is_bootable
    return guest, disk, stick


def require_at_rest(guest: Guest, slot: str, sequence: int, event: str) -> None:
    """Hold that the device rests in a slot, soon enough, and that nothing is missing for the next update."""
    starts = guest.transcript.heard("usbupdate: booting slot")
    assert len(starts) <= BOOTS_TO_REST, starts
    guest.expect_shell()
    guest.run("systemctl is-system-running --wait || true; usbupdate device check")
    status = guest.status()
    assert (status["state"], status["booted"], status["reboot_pending"]) == ("idle", slot, False)
    assert (status["sequence"], status["last_event"]) == (sequence, event)


def require_whole_story(guest: Guest, stick: Path, folder: Path) -> list[str]:
    """Hold that an auditor finds nothing wrong on the stick, and return what the receipts report."""
    guest.machine.pull()
    guest.machine.cut_power()
    audit(stick, folder / "back")
    receipts = receipts_on(stick)
    assert len({receipt.id for receipt in receipts}) == len(receipts)
    return events(receipts)


def images_of(recording: Recording) -> tuple[str, str]:
    """Return the digests of the two releases: of what the device ran before, and of what the stick's manifest names."""
    with open_partition(recording.stick_before) as volume:
        (manifest,) = volume.nodes(find(volume, ("usbupdate", "targets")))
        table = json.loads(b"".join(volume.heap.pieces(manifest)))
    return digest_of_slot(recording.disk_before, layout.ROOTFS_A), table["artifacts"][0]["image"]["sha256"]


def digest_of_slot(disk: Path, partition: layout.DiskPartition) -> str:
    """Return the digest of all that a slot holds."""
    part = part_of(partition)
    digest = hashlib.sha256()
    with disk.open("rb") as file:
        file.seek(part.start)
        for _ in range(part.size >> 20):
            digest.update(file.read(1 << 20))
    return digest.hexdigest()
