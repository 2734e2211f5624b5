"""Verdicts on a whole fleet, on all cores where that is worth while, each without its receipts.

A verdict is on one device and on nothing else, so the work is cut by devices. A process that ends before it has answered costs
time and no answer: its devices are judged here.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, Final

from usbupdate.audit.asked import NOTHING
from usbupdate.audit.copies import LogPlace
from usbupdate.audit.verdict import by_device, verdict_on
from usbupdate.medium import DirectoryMedium

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from usbupdate.audit.asked import Asked
    from usbupdate.audit.depth import Depth
    from usbupdate.audit.devices import Devices
    from usbupdate.audit.places import Place
    from usbupdate.audit.verdict import Verdict
    from usbupdate.core.words import DeviceId

ALONE_MAX: Final = 64
"""So many devices are judged before another process has got going."""
_AT_ONCE: Final = 32


def conclude(
    places: Iterable[Place], devices: Devices, depth: Depth, asked: Asked = NOTHING, workers: int | None = None
) -> Iterator[Verdict]:
    """Yield a verdict for each device, by id, without its receipts, and remember what was seen of those in good order.

    Args:
        places: where the copies lie.
        devices: what is known of them.
        depth: how deep to look.
        asked: what else to ask.
        workers: how many processes; without it, as many as there are cores for this one, if there is enough to do.

    Raises:
        EnrolmentUnreadableError: the auditor's record of a device is damaged.
        UnusableFileError: what was seen could not be remembered.
    """
    groups = by_device(places)
    judge = partial(_judged, devices=devices, depth=depth, asked=asked)
    if workers is None:
        workers = 1 if len(groups) <= ALONE_MAX else _cores()
    # A store's connection is this process's own, and so is an archive that is open.
    is_alone = workers == 1 or not all(_is_portable(place) for _, each in groups for place in each)
    shares = [groups[start : start + _AT_ONCE] for start in range(0, len(groups), _AT_ONCE)]
    for verdicts in map(judge, shares) if is_alone else _judged_by_many(judge, shares, workers):
        yield from verdicts


def _is_portable(place: Place) -> bool:
    return isinstance(place, LogPlace) and isinstance(place.medium, DirectoryMedium)


def _judged(share: Sequence[tuple[DeviceId, list[Place]]], devices: Devices, depth: Depth, asked: Asked) -> list[Verdict]:
    return [verdict_on(device, places, devices, depth, asked).bare() for device, places in share]


def _judged_by_many(
    judge: partial[list[Verdict]], shares: Sequence[Sequence[tuple[DeviceId, list[Place]]]], workers: int
) -> Iterator[list[Verdict]]:
    with ProcessPoolExecutor(workers, mp_context=_context()) as pool:
        for share, answer in [(share, pool.submit(judge, share)) for share in shares]:
            try:
                yield answer.result()
            except BrokenProcessPool:
                yield judge(share)


def _context() -> multiprocessing.context.BaseContext:
    # A process that begins as a copy of this one need not load its libraries again; but threads would be cut off in it.
    can_copy = "fork" in multiprocessing.get_all_start_methods() and threading.active_count() == 1
    return multiprocessing.get_context("fork" if can_copy else "spawn")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
