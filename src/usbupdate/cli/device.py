"""`usbupdate device`: what udev, the boot unit and a person at the device run."""

from __future__ import annotations

import os
import pwd
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from usbupdate.cli import boot as boot_path, insertion
from usbupdate.cli.joining import agent_of, show_status_of
from usbupdate.cli.reporting import report_of
from usbupdate.cli.status import show_findings
from usbupdate.core.policy import Insertion
from usbupdate.core.words import DeviceId
from usbupdate.device.board import running_slot
from usbupdate.device.check import check_device
from usbupdate.device.clock import LinuxClock
from usbupdate.device.configuration import DEFAULT_PATH, load_configuration
from usbupdate.device.monitor import UdevSticks, keep_watch
from usbupdate.device.obligations import Rest
from usbupdate.device.provision import Request, provision as make_device, running_release
from usbupdate.errors import DeviceUnfitError, UsbupdateError

app = typer.Typer(name="device", help="The device's side: verify, install, commit or roll back.", no_args_is_help=True)

Config = Annotated[Path, typer.Option("--config", help="The device's configuration.")]
Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="A mounted folder, a block device or an image file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def provision(
    device: Annotated[str | None, typer.Option("--id", help="The device's id; made from its key if not given.")] = None,
    group: Annotated[list[str] | None, typer.Option("--group", help="A group that the device belongs to.")] = None,
    config: Config = DEFAULT_PATH,
) -> None:
    """Make this machine a device: its key, id, trust and state."""
    configuration = load_configuration(config)
    request = Request(DeviceId(device) if device else None, tuple(group or ()), _person())
    made = make_device(configuration, running_release(running_slot(configuration)), request, LinuxClock())
    typer.echo(f"The device {made.device} is ready. The fingerprint of its key, for the auditor:\n{made.fingerprint}")


@app.command()
def check(config: Config = DEFAULT_PATH, as_json: AsJson = False) -> None:
    """Tell line by line what an update needs and whether it is there; reads only."""
    findings = check_device(config)
    show_findings(findings, as_json=as_json)
    if missing := sum(finding.is_missing for finding in findings):
        raise DeviceUnfitError(count=missing)


@app.command()
def insert(source: Source, config: Config = DEFAULT_PATH) -> None:
    """Look at a stick and do what it is for; this is what udev starts."""
    insertion.insert(source, config)


@app.command()
def monitor(config: Config = DEFAULT_PATH) -> None:
    """Wait for sticks and take care of each, until told to stop; only for systems without systemd."""

    def take(source: Path, how: Insertion) -> Rest:
        try:
            return insertion.take(source, config, how, insertion.UNATTENDED)
        except UsbupdateError as error:
            # It is signalled and recorded; the next stick is another matter.
            report_of(error).show()
            return Rest.IDLE

    # As with Ctrl-C, so that a stick that is mounted gets unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        keep_watch(UdevSticks(insertion.filesystems(config)), take)


@app.command()
def install(source: Source, config: Config = DEFAULT_PATH) -> None:
    """Install from a stick because a person asks; lifts "tried before" and nothing else."""
    insertion.take(source, config, Insertion.PERSON, _person())


@app.command()
def boot(config: Config = DEFAULT_PATH) -> None:
    """Confirm the boot and do what is owed; this is what the boot unit starts."""
    boot_path.boot(config)


@app.command()
def status(config: Config = DEFAULT_PATH, as_json: AsJson = False) -> None:
    """Show how the device stands; changes nothing."""
    show_status_of(config, as_json=as_json)


@app.command()
def activate(
    config: Config = DEFAULT_PATH,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Give the installed release up instead.")] = False,
    if_allowed: Annotated[
        bool, typer.Option("--if-allowed", help="Ask its gate again, and restart only if that lets go.")
    ] = False,
) -> None:
    """Restart into an installed release without waiting for its gate."""
    with agent_of(config, insertion.UNATTENDED if if_allowed else _person()) as agent:
        if if_allowed:
            agent.ask_again()
        elif withdraw:
            agent.withdraw()
        else:
            agent.activate()


@app.command()
def commit(config: Config = DEFAULT_PATH) -> None:
    """Keep the release on trial without waiting for its checks."""
    with agent_of(config, _person()) as agent:
        agent.commit()


@app.command()
def rollback(config: Config = DEFAULT_PATH) -> None:
    """Give up the release on trial and go back to the old one."""
    with agent_of(config, _person()) as agent:
        agent.roll_back()


def _person() -> str:
    """Return who asks: the person behind sudo, if there is one."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A user without an entry, as in a container or where the list of users is broken.
        return f"user {os.getuid()}"
