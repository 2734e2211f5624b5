"""`usbupdate repo`: the repository, who signs for it, and what ends when."""

from __future__ import annotations

from typing import Annotated

import typer

from usbupdate.cli import show
from usbupdate.cli.arguments import (
    AsJson,
    KeyPairs,
    PassphraseFile,
    Repo,
    ThresholdPairs,
    confirm,
    hands,
    now,
    numbers,
    passphrases,
)
from usbupdate.packager import office as offices
from usbupdate.packager import sessions, upkeep
from usbupdate.packager.office import Office
from usbupdate.packager.signing import Missing

app = typer.Typer(name="repo", no_args_is_help=True, help="Make, sign, rotate, refresh and check a repository.")

_LIFETIME_HELP = "How long metadata of a role is good for. Repeatable."


@app.command()
def init(
    repo: Repo,
    key: KeyPairs = None,
    threshold: ThresholdPairs = None,
    lifetime: Annotated[list[str] | None, typer.Option(metavar="ROLE=DAYS", help=_LIFETIME_HELP)] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a repository: without options one that works for one person, with its keys in REPO/keys."""
    days = numbers(lifetime, "--lifetime")
    office, missing = offices.create(repo, now(), hands(key, threshold), days, passphrases(passphrase_file))
    _tell(office, missing, [f"The repository {repo} is made.", *upkeep.check(office, now()).advice], as_json=as_json)


@app.command()
def sign(
    repo: Repo,
    key: Annotated[list[str] | None, typer.Option(metavar="KEY", help="A key to sign with, besides those known.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits for signatures, add yours, and say who is missing."""
    office = Office.open(repo)
    changes = sessions.changes(office)
    for change in changes:
        typer.echo(f"{change.role}: {change.text}", err=True)
    if changes and not yes and not as_json and not confirm("Sign this?", without_terminal=True):
        raise typer.Abort
    missing = sessions.sign(office, now(), passphrases(passphrase_file), key or ())
    _tell(office, missing, [] if changes else ["Nothing waits for signatures."], as_json=as_json)


@app.command()
def rotate(
    repo: Repo,
    key: KeyPairs = None,
    threshold: ThresholdPairs = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace the keys of roles by those named; with none named, each key in REPO/keys by a fresh one."""
    office, missing = offices.rotate(Office.open(repo), now(), hands(key, threshold), passphrases(passphrase_file))
    _tell(office, missing, ["The rotation is prepared; write new sticks once it is signed."], as_json=as_json)


@app.command()
def refresh(repo: Repo, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Sign a new timestamp, and a new snapshot if its end comes near; never targets."""
    office = Office.open(repo)
    missing = upkeep.refresh(office, now(), passphrases(passphrase_file))
    _tell(office, missing, [], as_json=as_json)


@app.command()
def check(repo: Repo, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Say what ends when, who can sign, and how many keys may be lost; nothing is changed."""
    office = Office.open(repo)
    found = upkeep.check(office, now(), passphrases(passphrase_file))
    show.result(show.checkup_table(office, found), show.checkup_lines(office, found), as_json=as_json)


def _tell(office: Office, missing: tuple[Missing, ...], lines: list[str], *, as_json: bool) -> None:
    table = {"signed": not missing, "missing": show.missing_table(office, missing), "repo": str(office.path)}
    show.result(table, [*lines, *show.missing_lines(office, missing)], as_json=as_json)
