"""A clock that is years off, both ways, believed or not: what is accepted, and what the receipt says of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from refdevice.machine import Stick
from tests.vm import sticks
from tests.vm.steps import answer, await_commit, events, receipts_on
from usbupdate.core.judgement import judgement_in
from usbupdate.core.receipt import ClockQuality

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest
    from refdevice.machine import Disk
    from tests.vm.conftest import StartDevice

PAST: Final = "2001-01-01T00:00:00"
FUTURE: Final = "2035-01-01T00:00:00"
"""After everything that the office has signed has expired, and not so late that nobody would believe it."""

UNTRUSTED: Final = """\
sed 's,^clock = .*,clock = "untrusted",' /etc/usbupdate/device.toml >/run/untrusted.toml
mount --bind /run/untrusted.toml /etc/usbupdate/device.toml"""


@pytest.mark.parametrize(
    ("clock", "setting", "judged", "quality"),
    [
        (PAST, "system", "not for this hardware", ClockQuality.FLOOR),
        (PAST, "untrusted", "not for this hardware", ClockQuality.FLOOR),
        (FUTURE, "system", "metadata ended", ClockQuality.SYSTEM),
        (FUTURE, "untrusted", "not for this hardware", ClockQuality.FLOOR),
    ],
)
def test_a_clock_that_is_years_off_counts_only_as_far_as_it_may_be_believed(
    at_rest: Guest, tmp_path: Path, clock: str, setting: str, judged: str, quality: ClockQuality
) -> None:
    # Not by the machine's own clock: systemd moves one that says 2001 to the day on which systemd itself was built.
    at_rest.run(f"date --utc --set={clock}")
    if setting == "untrusted":
        at_rest.run(UNTRUSTED)
    # A bundle for other hardware: what counts here is why it is refused.
    stick = sticks.small_stick(tmp_path / "stick.img", sticks.other_hardware_folder())
    at_rest.machine.plug(Stick(stick))
    assert judged in answer(at_rest)
    at_rest.machine.pull()
    receipt = receipts_on(stick)[-1]
    assert receipt.moment.clock is quality
    judgement = judgement_in(receipt.checks)
    assert judgement is not None
    assert (judgement.clock, judgement.system[:4]) == (quality, clock[:4])


def test_a_device_whose_battery_is_empty_is_updated_all_the_same(
    start_device: StartDevice, switched_off: Disk, stick: Path
) -> None:
    device = start_device(disk=switched_off, clock=PAST)
    device.machine.run()
    device.expect_boot("A")
    device.expect_shell()
    device.machine.plug(Stick(stick))
    assert await_commit(device) == "done, remove"
    device.machine.pull()
    receipts = receipts_on(stick)
    assert events(receipts) == ["provisioned", "committed"]
    # A device that was set up with a clock and lost it says so.
    assert [receipt.moment.clock for receipt in receipts] == [ClockQuality.SYSTEM, ClockQuality.FLOOR]
