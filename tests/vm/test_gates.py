"""A machine in operation decides itself when it restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refdevice.machine import Stick

if TYPE_CHECKING:
    from pathlib import Path

    from refdevice.guest import Guest

GATE = """\
mkdir -p /run/gates
printf '#!/bin/sh\\ntest -e /run/production-has-ended || exit 75\\n' >/run/gates/10-production
chmod 755 /run/gates/10-production
{ cat /etc/usbupdate/device.toml; printf '[gates]\\nreboot = "/run/gates"\\n[policy]\\nreboot = "gated"\\n'; } >/run/gated.toml
mount --bind /run/gated.toml /etc/usbupdate/device.toml
mount -o remount,exec /run"""


def test_an_installed_release_waits_for_the_gate_and_the_stick_may_go_meanwhile(at_rest: Guest, stick: Path) -> None:
    at_rest.run(GATE)
    at_rest.run("usbupdate device check; systemctl start usbupdate-reboot.timer")
    at_rest.machine.plug(Stick(stick))
    at_rest.expect("installed, waiting for release, may be removed")
    at_rest.machine.pull()
    at_rest.run("systemctl start usbupdate-reboot.service; systemctl is-system-running --wait")
    assert at_rest.status()["state"] == "ready"

    at_rest.run("touch /run/production-has-ended; systemctl start --no-block usbupdate-reboot.service")
    at_rest.expect("restarting")
    at_rest.expect_boot("B, on trial")
    # No stick is in, so the boot service itself says how it ended.
    at_rest.expect("usbupdate.*done, remove")
    at_rest.expect_shell()
    assert at_rest.status()["last_event"] == "committed"
