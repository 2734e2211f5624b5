"""`usbupdate device`: what udev, the boot unit and a person at the device run."""

from __future__ import annotations

import os
import pwd
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from usbupdate.cli import boot as boot_path
from usbupdate.cli.joining import agent_of, announcer_of, show_status_of
from usbupdate.cli.progress import InstallProgress
from usbupdate.cli.status import show_findings
from usbupdate.core.policy import Insertion
from usbupdate.core.words import DeviceId
from usbupdate.device.answering import is_answered_beside
from usbupdate.device.board import running_slot
from usbupdate.device.check import check_device
from usbupdate.device.clock import LinuxClock
from usbupdate.device.configuration import DEFAULT_PATH, load_configuration
from usbupdate.device.media import connected_ms
from usbupdate.device.monitor import UdevSticks, keep_watch
from usbupdate.device.notify import Notifier
from usbupdate.device.obligations import Rest
from usbupdate.device.provision import Request, provision as make_device, running_release
from usbupdate.device.replug import take_each_plugging
from usbupdate.device.signals import Signal
from usbupdate.device.statestore import is_marked_trial
from usbupdate.errors import DeviceUnfitError, UsbupdateError

_STICK_FIRST: Final = "Another stick comes first."
_TRIAL_FIRST: Final = "The new release is checked first."

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
    notifier = Notifier.of_environment()
    notifier.ready()
    try:
        if is_answered_beside(source, _filesystems(config)):
            return
        take_each_plugging(source, lambda insertion: _take(source, config, insertion, "unattended"))
    finally:
        notifier.stopping()


@app.command()
def monitor(config: Config = DEFAULT_PATH) -> None:
    """Wait for sticks and take care of each, until told to stop; only for systems without systemd."""

    def take(source: Path, insertion: Insertion) -> Rest:
        try:
            return _take(source, config, insertion, "unattended")
        except UsbupdateError as error:
            # It is signalled and recorded; the next stick is another matter.
            typer.echo(f"Error: {error}\nWhat to do: {error.hint}", err=True)
            return Rest.IDLE

    # As with Ctrl-C, so that a stick that is mounted gets unmounted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        keep_watch(UdevSticks(_filesystems(config)), take)


@app.command()
def install(source: Source, config: Config = DEFAULT_PATH) -> None:
    """Install from a stick because a person asks; lifts "tried before" and nothing else."""
    _take(source, config, Insertion.PERSON, _person())


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
    with agent_of(config, "unattended" if if_allowed else _person()) as agent:
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


def _take(source: Path, config: Path, insertion: Insertion, operator: str) -> Rest:
    waited_for = ""

    def wait() -> None:
        nonlocal waited_for
        waited_for = _TRIAL_FIRST if is_marked_trial(load_configuration(config).state_dir) else _STICK_FIRST
        announcer_of(config).announce(Signal.BUSY, waited_for)

    tell = Notifier.of_environment().status
    with InstallProgress(tell) as progress, agent_of(config, operator, progress, wait) as agent:
        agent.start()
        if waited_for and not source.exists():
            # Pulled while it waited. What was said of the other one since then stands; but "busy" would stand for ever.
            agent.announce()
            announcer = announcer_of(config)
            if announcer.shows(Signal.BUSY, waited_for):
                announcer.announce(Signal.REFUSED, "The stick was removed before its turn. Put it in again.")
            return agent.rest
        return agent.take(source, insertion, connected_ms(source, LinuxClock()))


def _filesystems(config: Path) -> tuple[str, ...]:
    """Return the file systems that are read; none where nobody says, and then a stick is told why by its first part."""
    with suppress(UsbupdateError):
        return load_configuration(config).filesystems
    return ()


def _person() -> str:
    """Return who asks: the person behind sudo, if there is one."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
