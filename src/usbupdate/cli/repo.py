"""`usbupdate repo`: the repository, who signs for it, and what ends when."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from usbupdate.audit.enrolment import key_of
from usbupdate.cli import acknowledgers, show
from usbupdate.cli.arguments import (
    AsJson,
    KeyPairs,
    PassphraseFile,
    Repo,
    ThresholdPairs,
    hands,
    now,
    numbers,
    passphrases,
    passphrases_at_hand,
    require_yes,
)
from usbupdate.core.identity import read_fingerprint
from usbupdate.core.strictjson import Json
from usbupdate.core.words import Digest
from usbupdate.errors import NotSignedError, UnusableValueError
from usbupdate.packager import downgrade, excerpt, office as offices, sessions, upkeep
from usbupdate.packager.acknowledgers import listed as listed_acknowledgers
from usbupdate.packager.downgrade import Wish
from usbupdate.packager.lock import opened_for_change, opened_for_signing
from usbupdate.packager.office import Office

app = typer.Typer(name="repo", no_args_is_help=True, help="Make, sign, rotate, refresh and check a repository.")

_Device = Annotated[str, typer.Option(metavar="ID", help="The device.")]
_KeyFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        readable=False,
        help="Where the device's key is known instead: the auditor's enrolled devices, an identity.json, or a returned stick.",
    ),
]
_Floor = Annotated[
    int | None,
    typer.Option(
        metavar="S", help="The highest sequence from which it may go back; else the highest published for its hardware."
    ),
]
_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", readable=False, help="The folder that travels.")]
_TARGETS_HELP = "Propose the list of bundles again, with a new end; people with targets keys have to sign it."
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
    show.change(office, missing, [f"The repository {repo} is made.", *upkeep.check(office, now()).advice], as_json=as_json)


@app.command()
def sign(
    repo: Repo,
    key: Annotated[list[str] | None, typer.Option(metavar="KEY", help="A key to sign with, besides those known.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Sign without asking; nobody is asked where there is no terminal.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits for signatures, add yours, and say who is missing."""
    # What is signed must be what was shown: nobody else may change it in between.
    with opened_for_signing(repo) as office:
        changes = sessions.changes(office)
        for change in changes:
            typer.echo(f"{change.role}: {change.text}", err=True)
        # A script signs because somebody wrote that down; a person at a terminal sees first what it is.
        if changes and sys.stdin.isatty():
            require_yes("Sign this?", "Your signature under this", yes=yes)
        visit = sessions.sign(office, now(), passphrases(passphrase_file), key or ())
    lines = [f"{role} is signed with {office.reference_or_id(keyid)}." for role, keyid in visit.added]
    if changes and not visit.added:
        lines.append("Nothing new is signed: every key within reach has signed this already, or is asked for nothing here.")
    added: Json = [{"role": str(role), "id": keyid} for role, keyid in visit.added]
    lines = lines if changes else ["Nothing waits for signatures."]
    show.change(office, visit.missing, lines, {"added": added}, as_json=as_json)


@app.command("export")
def export_(repo: Repo, folder: _Folder, as_json: AsJson = False) -> None:
    """Put what waits for signatures into a folder that travels to people who sign elsewhere; no keys and no payload."""
    roles = excerpt.export(Office.open(repo), folder)
    lines = [
        f"{folder} holds what waits for signatures: {', '.join(roles)}. Carry it to the people who sign.",
        f"There: 'usbupdate repo sign {folder.name} --key KEY'. Here, later: 'usbupdate repo import {repo} {folder}'.",
    ]
    show.result({"repo": str(repo), "folder": str(folder), "roles": [str(each) for each in roles]}, lines, as_json=as_json)


@app.command("import")
def import_(repo: Repo, folder: _Folder, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Take the signatures from a folder that travelled, and publish what is whole now; nothing else is taken from it."""
    with opened_for_change(repo) as office:
        taken = excerpt.take(office, folder, now(), passphrases(passphrase_file))
    lines = [f"{role} was signed with {office.reference_or_id(keyid)}." for role, keyid in taken.signatures]
    lines = lines or ["No new signature of what waits here is in it."]
    added: Json = [{"role": str(role), "id": keyid} for role, keyid in taken.signatures]
    show.change(office, taken.missing, lines, {"added": added}, as_json=as_json)


@app.command()
def rotate(
    repo: Repo,
    key: KeyPairs = None,
    threshold: ThresholdPairs = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace the keys of roles by those named; with none named, each key in REPO/keys by a fresh one."""
    with opened_for_change(repo) as opened:
        before = opened.metadata.root()
        office, missing = offices.rotate(opened, now(), hands(key, threshold), passphrases(passphrase_file))
    after = office.metadata.staged_root() or office.metadata.root()
    lines = []
    if after is not None:
        found = sessions.changes_of_root(office, before.signed if before is not None else None, after.signed)
        lines = [f"{change.role}: {change.text}" for change in found]
    if len(lines) == 1:
        lines.append("No role changes hands: no key lies in REPO/keys and none was named. The root only gets a new end.")
    waits = office.metadata.staged_root() is not None
    lines.append("It counts once it is signed; then write new sticks." if waits else "It counts now: write new sticks.")
    show.change(office, missing, lines, as_json=as_json)


@app.command()
def refresh(
    repo: Repo,
    targets: Annotated[bool, typer.Option("--targets", help=_TARGETS_HELP)] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a new timestamp, and a new snapshot if its end comes near; targets only with --targets."""
    with opened_for_change(repo) as office:
        before = upkeep.ends(office)
        renew = upkeep.renew_targets if targets else upkeep.refresh
        missing = renew(office, now(), passphrases(passphrase_file))
    renewed = {role: now_ends for role, now_ends in upkeep.ends(office).items() if before.get(role) != now_ends}
    lines = [f"{role} is signed anew: version {version}, until {end}" for role, (version, end) in renewed.items()]
    told: Json = {str(role): {"version": version, "expires": end} for role, (version, end) in renewed.items()}
    show.change(office, missing, lines, {"renewed": told}, as_json=as_json)
    if unrenewed := upkeep.could_not_renew(missing):
        raise NotSignedError(roles=", ".join(f"{each.role} ({each.needed} more)" for each in unrenewed))


@app.command()
def check(repo: Repo, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Say what ends when, who can sign, and how many keys may be lost; nothing is changed."""
    office = Office.open(repo)
    found, allowances = upkeep.check(office, now(), passphrases_at_hand(passphrase_file)), downgrade.listed(office)
    named = listed_acknowledgers(office)
    table: dict[str, Json] = {
        **show.checkup_table(office, found),
        "authorisations": [show.allowance_table(each, now()) for each in allowances],
        "acknowledgers": [acknowledgers.table(each) for each in named],
    }
    listed = [*(show.allowance_line(each, now()) for each in allowances), *map(acknowledgers.line, named)]
    show.result(table, show.checkup_lines(office, found, listed), as_json=as_json)


@app.command("allow-downgrade")
def allow_downgrade(
    repo: Repo,
    device: _Device,
    bundle: Annotated[str, typer.Option(metavar="NAME-SEQUENCE", help="The bundle that it may go back to.")],
    ticket: Annotated[str, typer.Option(metavar="TEXT", help="Who asked for it, or why: it is signed and in the receipt.")],
    fingerprint: Annotated[str | None, typer.Option(metavar="HEX", help="The device's key, as shown at provisioning.")] = None,
    key_from: _KeyFrom = None,
    number: Annotated[int | None, typer.Option(metavar="N", help="Its number; else the device's next one.")] = None,
    floor: _Floor = None,
    days: Annotated[int, typer.Option(metavar="N", help="How long it counts.")] = downgrade.DAYS,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let one device go back to an older bundle, once; signed with every key within reach."""
    wish = Wish(device, _key_of(device, fingerprint, key_from), bundle, ticket, days, number, floor)
    with opened_for_change(repo) as office:
        change = downgrade.allow(office, wish, now(), passphrases(passphrase_file))
    _tell_allowances(office, change, "allowed", as_json=as_json)


@app.command("withdraw-downgrade")
def withdraw_downgrade(
    repo: Repo,
    device: _Device,
    number: Annotated[int | None, typer.Option(metavar="N", help="Only the one with this number.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a device's authorisations back; devices that see a stick written later do not count them on older sticks too."""
    with opened_for_change(repo) as office:
        change = downgrade.withdraw(office, device, number, now(), passphrases(passphrase_file))
    waits = any(each.leaving for each in change.allowances)
    _tell_allowances(office, change, "will be withdrawn once that is signed" if waits else "withdrawn", as_json=as_json)


app.command("name-acknowledger")(acknowledgers.name_acknowledger)
app.command("drop-acknowledger")(acknowledgers.drop_acknowledger)


def _key_of(device: str, fingerprint: str | None, place: Path | None) -> Digest:
    """Return the fingerprint that was given, or that a place has for the device."""
    if (fingerprint is None) == (place is None):
        problem = "the device's key is needed, by --fingerprint or by --key-from"
        raise UnusableValueError(what="--fingerprint", value=fingerprint or "", problem=problem)
    return read_fingerprint(fingerprint) if fingerprint is not None else key_of(device, place or Path())


def _tell_allowances(office: Office, change: downgrade.Change, told: str, *, as_json: bool) -> None:
    lines = [f"{told}: {show.allowance_line(replace(each, leaving=False), now())}" for each in change.allowances]
    authorisations: Json = [show.allowance_table(each, now()) for each in change.allowances]
    show.change(office, change.missing, lines, {"authorisations": authorisations}, as_json=as_json)
