"""What `images/grub/*.cfg` do at one start, as functions over values; `test_grub_scripts` holds them against the real GRUB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("A", "B")
FULL = 8


@dataclass(frozen=True)
class Disk:
    """What a script finds: None for a block that it cannot read; `loads` are the slots whose kernel can be loaded."""

    variables: Mapping[str, str] | None
    committed: Mapping[str, str] | None = None
    loads: frozenset[str] = frozenset(NAMES)
    can_save: bool = True


@dataclass(frozen=True)
class Start:
    """What a script did: the slot that it started, None for a restart, and what its environment holds after that."""

    slot: str | None
    variables: Mapping[str, str] | None
    is_trial: bool = False


def usbupdate(disk: Disk, names: tuple[str, str] = NAMES) -> Start:
    """Do what `usbupdate.cfg` does."""
    known = dict(disk.variables or {})
    states = {name: known.get(f"usbupdate_{name}_state") for name in names}
    left = {name: known[f"usbupdate_{name}_left"] for name in names if f"usbupdate_{name}_left" in known}
    committed = (disk.committed or {}).get("usbupdate_committed")
    fallback = (names[1], names[0]) if committed == names[1] else names
    order = [name for name in known.get("usbupdate_order", "").split() if name in names]
    saved = disk.variables
    seen: set[str] = set()

    for has_refilled in (False, True):
        if has_refilled:
            left |= {name: str(FULL) for name in names if states[name] == "good"}
        for name in [*order, *fallback]:
            if name in seen or states[name] not in {"good", "trial"} or left.get(name) not in set("12345678"):
                continue
            seen.add(name)
            left[name] = str(int(left[name]) - 1)
            is_trial = states[name] == "trial"
            if disk.can_save:
                saved = {**known, **{f"usbupdate_{each}_left": count for each, count in left.items()}}
            elif is_trial:
                continue
            if name in disk.loads:
                return Start(name, saved, is_trial)
    for name in fallback:
        if (name == committed or states[name] not in {"good", "trial", "bad"}) and name in disk.loads:
            return Start(name, saved)
    return Start(None, saved)


def rauc(disk: Disk, names: tuple[str, str] = NAMES) -> Start:
    """Do what `rauc.cfg` does."""
    before = disk.variables
    defaults = {"ORDER": " ".join(names), **{f"{name}_{what}": "0" for name in names for what in ("OK", "TRY")}}
    now = {name: (before or {}).get(name, value) for name, value in defaults.items()}
    can_save = disk.can_save and before is not None
    saved = before
    for name in now["ORDER"].split():
        if name not in names:
            continue
        is_choice = now[f"{name}_OK"] == "1" and now[f"{name}_TRY"] == "0"
        now[f"{name}_TRY"] = "1"
        if is_choice:
            saved = {**(before or {}), **now} if can_save else before
            if name in disk.loads:
                return Start(name, saved)
    good = [name for name in (*now["ORDER"].split(), *names) if now.get(f"{name}_OK") == "1"]
    now |= {f"{name}_TRY": "0" for name in good}
    if good and can_save:
        return Start(None, {**(before or {}), **now})
    for name in [*good, *names]:
        if name in disk.loads:
            return Start(name, saved)
    return Start(None, saved)
