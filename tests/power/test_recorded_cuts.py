"""Updates that a real kernel made on the reference device, cut at every flush: the agent of today goes on from there.

The recordings in `recorded/` are of a good release and of one that fails its checks; `tests/vm/keep_recordings.py` makes them.
They stay when the agent changes: what an older one left on a device's disk is what a newer one finds. The private key in them
is that virtual device's, and nobody trusts it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.inmemory import folder_in_memory
from tests.power.recorded_archive import load
from tests.power.recorded_disk import PATH, PROGRAMS
from tests.power.recorded_sweep import sweep

RECORDED: Final = Path(__file__).with_name("recorded")
MISSING: Final = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}")


@pytest.mark.parametrize("name", ["good", "unhealthy"])
def test_a_cut_at_every_recorded_flush_and_between_them_ends_at_rest_with_all_that_was_promised(name: str) -> None:
    with folder_in_memory("recorded") as folder:
        tally = sweep(load(RECORDED / f"{name}.tar.zst", Path(folder)), Path(folder), seeds=(1,))
    assert tally.problems == []
    assert tally.cuts > 100
    assert {"Idle", "Installing", "Ready", "Activating", "Trial", "Recording"} <= tally.states()
