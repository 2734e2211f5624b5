"""By what time a stick's metadata were judged, and why by that one: a check of a receipt, as gates and health checks are.

It has no field of its own in receipts and in the state: agents of every age read both, and the boot loader may go back to one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.receipt import Check, CheckResult, ClockQuality
from usbupdate.core.timefloor import format_time, parse_time, trusted_now
from usbupdate.core.words import TIME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from usbupdate.core.timefloor import ClockReading

METADATA_CHECK: Final = "metadata"
_TIME: Final = f"({TIME.pattern})"
_DETAIL: Final = re.compile(f"judged as of {_TIME}; system clock {_TIME}; time floor {_TIME}(?:; good until {_TIME})?")


@dataclass(frozen=True, slots=True)
class Judgement:
    """How old a stick's metadata were taken to be; all times are UTC.

    `now` is the time by which they were judged and `clock` says where it comes from. `system` is what the system clock said,
    believed or not, and `floor` is the time floor. A system clock that lies between the floor and ten years after it and was
    not used is one that the configuration calls untrusted. `expires` is the earliest end over the four roles, and empty where
    the metadata were not accepted.
    """

    now: str
    clock: ClockQuality
    system: str
    floor: str
    expires: str = ""


def judge(floor: datetime, clock: ClockReading) -> Judgement:
    """Return by what time metadata are to be judged, before they are; see `timefloor.trusted_now`."""
    now, quality = trusted_now(floor, clock)
    return Judgement(now=format_time(now), clock=quality, system=format_time(clock.utc), floor=format_time(floor))


def check_of(judgement: Judgement) -> Check:
    """Return the check that states a judgement; `judgement_in` finds it again."""
    detail = f"judged as of {judgement.now}; system clock {judgement.system}; time floor {judgement.floor}"
    if not judgement.expires:
        return Check(METADATA_CHECK, CheckResult.FAILED, str(judgement.clock), detail)
    return Check(METADATA_CHECK, CheckResult.PASSED, str(judgement.clock), f"{detail}; good until {judgement.expires}")


def judgement_in(checks: Iterable[Check]) -> Judgement | None:
    """Return the judgement that checks state, or None: agents before this one stated none."""
    for check in checks:
        if check.name == METADATA_CHECK and check.reason in set(ClockQuality) and (match := _DETAIL.fullmatch(check.detail)):
            now, system, floor, expires = match.groups(default="")
            try:
                for each in filter(None, (now, system, floor, expires)):
                    parse_time(each)
            except ValueError:
                continue
            return Judgement(now, ClockQuality(check.reason), system, floor, expires)
    return None


def failed_checks(checks: Iterable[Check]) -> list[Check]:
    """Return the gates and health checks that did not pass; what `judgement_in` finds is none."""
    return [each for each in checks if each.result is not CheckResult.PASSED and judgement_in([each]) is None]
