"""`usbupdate repo name-acknowledger` and `drop-acknowledger`: who may acknowledge receipts."""

from __future__ import annotations

from typing import Annotated

import typer

from usbupdate.cli import show
from usbupdate.cli.arguments import AsJson, PassphraseFile, Repo, now, passphrases
from usbupdate.core.strictjson import Json
from usbupdate.packager import acknowledgers
from usbupdate.packager.acknowledgers import Acknowledger
from usbupdate.packager.keys import id_of_ed25519
from usbupdate.packager.lock import opened_for_change
from usbupdate.packager.office import Office


def name_acknowledger(
    repo: Repo,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The Ed25519 key; its public half, KEY.pub, is enough.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="How it is called; else as the file.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a key acknowledge receipts, so that devices may give up their copies of what has arrived for good."""
    with opened_for_change(repo) as office:
        change = acknowledgers.name(office, key, name, now(), passphrases(passphrase_file))
    _tell(office, change, "named", as_json=as_json)


def drop_acknowledger(
    repo: Repo,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which, as 'repo check' calls it.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a key acknowledge nothing any more; devices know from the next stick on that is written later."""
    with opened_for_change(repo) as office:
        change = acknowledgers.drop(office, name, now(), passphrases(passphrase_file))
    waits = any(each.leaving for each in change.acknowledgers)
    _tell(office, change, "will be dropped once that is signed" if waits else "dropped", as_json=as_json)


def table(each: Acknowledger) -> dict[str, Json]:
    """Return somebody who may acknowledge receipts, for JSON."""
    return {
        "name": each.cosigner.name,
        "id": id_of_ed25519(each.cosigner.public_key),
        "public_key": each.cosigner.public_key.hex(),
        "published": each.published,
        "withdrawal_waits": each.leaving,
    }


def line(each: Acknowledger) -> str:
    """Return somebody who may acknowledge receipts in one line."""
    return acknowledgers.line(each.cosigner) + show.waiting(published=each.published, leaving=each.leaving, gone="dropped")


def _tell(office: Office, change: acknowledgers.Change, told: str, *, as_json: bool) -> None:
    lines = [f"{told}: {acknowledgers.line(each.cosigner)}" for each in change.acknowledgers] or [f"{told}."]
    named: Json = [table(each) for each in change.acknowledgers]
    show.change(office, change.missing, lines, {"acknowledgers": named}, as_json=as_json)
