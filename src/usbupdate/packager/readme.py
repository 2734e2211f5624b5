"""The text on a stick for whoever finds it: what it is, and what each signal means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usbupdate.packager.bundle import Bundle
    from usbupdate.packager.downgrade import Allowance

_TEXT: Final = """\
This is an update stick written by usbupdate.

What to do
  1. Put it into the device.
  2. Wait. The device checks everything on it before it changes anything.
  3. Take it out when the device says so, and go to the next device.
  4. Bring it back to the office: the devices leave their signed log on it.

What the device says
  busy, do not remove                  It is reading from the stick or writing to itself.
  restarting, leave it in              It starts the new release. This can happen more than once.
  done, remove                         It is finished, and its log is on the stick.
  refused, nothing changed: why        The device did not take it, and says why. Tell the office.
  failed: what to do                   The device runs what it ran before. Bring the stick back.
  installed, waiting for release, may be removed
                                       The new release is installed and starts when somebody allows it.

Pulling the stick out too early or cutting the power does no harm: put it in again.
Please change nothing in the folder "usbupdate". Other files on this stick are left alone.

This stick is good until {expires} (UTC).
{bundles}
"""
_ONLY_DELTAS: Final = """
It holds only what differs from earlier releases. A device that runs another one refuses it,
and needs a stick with the whole release."""


def text(bundles: Sequence[Bundle], expires: str, allowances: Sequence[Allowance] = (), *, only_deltas: bool = False) -> str:
    """Return the text, with line ends that every editor shows."""
    if bundles:
        lines = [
            f"  {each.manifest.name} {each.manifest.version} (sequence {each.manifest.sequence}) for "
            f"{', '.join(each.manifest.compatible)}"
            for each in bundles
        ]
        back = [f"  {each.authorisation.device}, ticket {each.authorisation.ticket}" for each in allowances]
        orders = ["", "It takes these devices back to an older release:", *back] if back else []
        listing = "\n".join(["It holds:", *lines, *orders, *([_ONLY_DELTAS] if only_deltas else [])])
    else:
        listing = "It holds no release. It collects logs, and tells devices whom to trust."
    return _TEXT.format(expires=expires, bundles=listing).replace("\n", "\r\n")
