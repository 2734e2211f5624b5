"""U-Boot with the variables that RAUC defined, through libubootenv's `fw_printenv` and `fw_setenv`.

`BOOT_ORDER` names the slots that may be booted, best first; `BOOT_<name>_LEFT` holds the tries left, in hexadecimal. The boot
script takes one off at every boot; where none has any left, it gives each its three and starts over. What RAUC writes in two
calls is one here: on a redundant environment a cut leaves all of a change or nothing of it.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from usbupdate import durable
from usbupdate.core.lifecycle import Tried
from usbupdate.device import process
from usbupdate.errors import BootLoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from usbupdate.core.words import Slot

TRIES: Final = 3

_ORDER: Final = "BOOT_ORDER"
_TRIAL: Final = "usbupdate_trial"
"""Names the slot on trial: the boot script's own variables do not tell one from a slot that is good."""
_HEXADECIMAL: Final = re.compile("(0[xX])?[0-9a-fA-F]{1,8}")
_TIMEOUT_S: Final = 30.0
_RUN: Final = Path("/run")
"""Where the script lies for a moment: it is there before /tmp is, and the boot must be confirmed also where /tmp is broken."""
_NO_DEFAULT: Final = ("-f", "/proc/none")
"""No default environment: where the real one cannot be read, the tools would answer from it, and write it back, in silence."""


class UbootLoader:
    """U-Boot's memory of slots; implements `ports.BootLoader`.

    Args:
        config: says where the environment lies, in the form of `fw_env.config`; None for the tools' own default.
        bootnames: what the boot script calls each slot.
        booted: finds out which slot is running, or raises `BootLoaderError`.

    Source: design, section 6; RAUC's contrib/uboot.sh.
    """

    advice: ClassVar[str] = "Set BOOT_ORDER and BOOT_<name>_LEFT with fw_setenv, with the bootnames of the configuration."

    def __init__(self, config: Path | None, bootnames: Mapping[Slot, str], booted: Callable[[], Slot]) -> None:
        self._config = () if config is None else ("-c", str(config))
        self._bootnames = bootnames
        self._booted = booted

    def booted(self) -> Slot:
        """Return the slot that is running."""
        return self._booted()

    def mark_good(self, slot: Slot) -> None:
        """Give the slot all its tries; added to the order if it is not there."""
        variables = self._read()
        order, name = _order(variables), self._bootnames[slot]
        self._change(
            variables,
            {
                _ORDER: " ".join([*order, name] if name not in order else order),
                self._left(slot): f"{TRIES:x}",
                **self._decided(variables, slot),
            },
        )

    def mark_bad(self, slot: Slot) -> None:
        """Take the slot out of the order and its tries away."""
        variables = self._read()
        name = self._bootnames[slot]
        # Never an empty order: boot scripts put both slots into one.
        rest = [each for each in _order(variables) if each != name] or [self._bootnames[slot.other]]
        self._change(variables, {_ORDER: " ".join(rest), self._left(slot): "0", **self._decided(variables, slot)})
        if name in _order(self._read()):
            raise BootLoaderError(problem=f"slot {slot} could still be chosen after it was marked bad")

    def mark_active(self, slot: Slot) -> None:
        """Make the slot the first in order, with its tries, in one write."""
        variables = self._read()
        name = self._bootnames[slot]
        order = [name, *(each for each in _order(variables) if each != name)]
        self._change(variables, {_ORDER: " ".join(order), self._left(slot): f"{TRIES:x}", _TRIAL: name})

    def was_tried(self, slot: Slot) -> Tried:
        """Tell whether the slot was tried; one that is not in the order cannot have been."""
        variables = self._read()
        if self._bootnames[slot] not in _order(variables):
            return Tried.NO
        left = variables[self._left(slot)]
        if not _HEXADECIMAL.fullmatch(left):
            return Tried.UNKNOWN
        return Tried.YES if int(left, 16) < TRIES else Tried.NO

    def is_on_trial(self, slot: Slot) -> bool:
        """Tell whether the slot was made active and neither good nor bad since."""
        return self._read()[_TRIAL] == self._bootnames[slot]

    def knows(self, slot: Slot) -> bool:
        """Tell whether the environment holds what the boot script needs to know of the slot."""
        variables = self._read()
        return bool(_order(variables)) and _HEXADECIMAL.fullmatch(variables[self._left(slot)]) is not None

    def _left(self, slot: Slot) -> str:
        return f"BOOT_{self._bootnames[slot]}_LEFT"

    def _read(self) -> dict[str, str]:
        """Return the variables of both slots; one that is not set is empty."""
        names = [_ORDER, _TRIAL, *(self._left(slot) for slot in self._bootnames)]
        found: dict[str, str] = {}
        for line in self._run("fw_printenv", *names).splitlines():
            name, separator, value = line.partition("=")
            if not separator or name not in names:
                continue
            if name in found:
                raise BootLoaderError(problem=f"fw_printenv tells {name} twice")
            found[name] = value.strip()
        return {name: found.get(name, "") for name in names}

    def _decided(self, variables: Mapping[str, str], slot: Slot) -> dict[str, str]:
        """Return what takes back that the slot is on trial, if it is."""
        return {_TRIAL: ""} if variables[_TRIAL] == self._bootnames[slot] else {}

    def _change(self, variables: Mapping[str, str], changes: Mapping[str, str]) -> None:
        # At every boot the same is said again, and flash wears.
        if changes.items() <= variables.items():
            return
        try:
            with tempfile.TemporaryDirectory(prefix="usbupdate-", dir=_RUN if os.access(_RUN, os.W_OK) else None) as folder:
                script = Path(folder, "fw_setenv")
                durable.save(script, "".join(f"{name}={value}\n" for name, value in changes.items()).encode())
                self._run("fw_setenv", "-s", str(script))
        except OSError as error:
            problem = f"the script for fw_setenv could not be saved: {error.strerror or type(error).__name__}"
            raise BootLoaderError(problem=problem) from error
        if not changes.items() <= self._read().items():
            raise BootLoaderError(problem="the environment did not keep what fw_setenv wrote")

    def _run(self, program: str, *arguments: str) -> str:
        try:
            finished = process.run([program, *self._config, *_NO_DEFAULT, *arguments], timeout_s=_TIMEOUT_S)
        except OSError as error:
            raise BootLoaderError(problem=f"{program} could not be started: {error.strerror}") from error
        if not finished.succeeded:
            raise BootLoaderError(problem=f"{program}: {finished.last_line}")
        return finished.output.decode("utf-8", errors="replace")


def _order(variables: Mapping[str, str]) -> list[str]:
    """Return the names in order, each once; those of slots that are none of ours are kept."""
    order = list(dict.fromkeys(variables[_ORDER].split()))
    if not order:
        raise BootLoaderError(problem="BOOT_ORDER is not set, so U-Boot has never saved its environment, or lost it")
    return order
