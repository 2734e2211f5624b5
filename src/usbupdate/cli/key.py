"""`usbupdate key`: the keys of the people who sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usbupdate.cli import show as out
from usbupdate.cli.arguments import AsJson, PassphraseFile, new_passphrase, passphrases
from usbupdate.core.strictjson import Json
from usbupdate.packager import keys
from usbupdate.packager.keys import Algorithm

app = typer.Typer(name="key", no_args_is_help=True, help="Make and show the keys of the people who sign.")

_SHOW_HELP = "A private or public key file, or the URI of a key on a token."


@app.command()
def create(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="Where the private key goes; FILE.pub gets the public half.")
    ],
    algorithm: Annotated[Algorithm, typer.Option(help="The kind of key.")] = Algorithm.ED25519,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a private key that only you can read, and its public half to give to others."""
    passphrase = new_passphrase(passphrase_file)
    key = keys.create(file, algorithm=algorithm, passphrase=passphrase)
    public = f"{file}{keys.PUBLIC_SUFFIX}"
    lines = [
        f"Private key: {file} (keep it to yourself)",
        f"Public half: {public} (for the repository)",
        f"Key id: {key.keyid}",
    ]
    if passphrase is None:
        out.note(f"{file} is NOT PROTECTED by a passphrase: whoever can read it can sign. --passphrase-file gives it one.")
    table: dict[str, Json] = {
        "id": key.keyid, "private": str(file), "public": public, "protected": passphrase is not None,
    }  # fmt: skip
    out.result(table, lines, as_json=as_json)


@app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="FILE-OR-URI", help=_SHOW_HELP)],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what may be said of a key to anybody."""
    shown = keys.show(key, passphrases(passphrase_file))
    half = "private" if shown.private else "public"
    table: dict[str, Json] = {"id": shown.id, "kind": shown.kind, "private": shown.private, "public_key": shown.public_key}
    lines = [f"{shown.kind}, {half} key", f"Key id: {shown.id}"]
    if shown.public_key is not None:
        lines.append(f"Ed25519 public key: {shown.public_key}")
    out.result(table, lines, as_json=as_json)
