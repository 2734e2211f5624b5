"""Every flush of recorded updates, and moments between two of them: the real agent goes on from what is then on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from refdevice.release import Fault
from tests.inmemory import folder_in_memory
from tests.power.recorded_sweep import Tally, sweep
from tests.vm.moments import recorded_disk
from tests.vm.recording import recorded_update


@pytest.mark.parametrize("fault", [None, Fault.UNHEALTHY])
def test_a_cut_at_every_flush_and_between_them_ends_at_rest_with_all_that_was_promised(fault: Fault | None) -> None:
    disk = recorded_disk(recorded_update(fault), is_good=fault is None)
    with folder_in_memory("recorded") as folder:
        tally = sweep(disk, Path(folder))
    report(tally)
    assert tally.problems == []
    assert tally.cuts > 100
    assert {"Idle", "Installing", "Ready", "Activating", "Trial", "Recording"} <= tally.states()


def report(tally: Tally) -> None:
    """Print what was seen; shown with `-s`, and where it failed."""
    print(*tally.lines(), sep="\n")  # noqa: T201 - this is what a person wants to read of a sweep
