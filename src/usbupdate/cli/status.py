"""How `status` and `check` look to a person and to a program."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from usbupdate.core.plaintext import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from usbupdate.core.strictjson import Json
    from usbupdate.device.findings import Finding


def show_status(table: Mapping[str, Json], *, as_json: bool) -> None:
    """Print how a device stands."""
    if as_json:
        typer.echo(json.dumps(table))
        return
    pending = ", a restart is due" if table["reboot_pending"] else ""
    typer.echo(f"device {table['device'] or 'unknown'}: {table['state']}, runs slot {table['booted']}{pending}")
    receipts = counted(_number(table["receipts"]), "receipt")
    typer.echo(f"sequence {table['sequence']}, {receipts}, last event: {table['last_event'] or 'none'}")
    if acknowledged := _number(table["acknowledged_receipts"]):
        are = "receipt is" if acknowledged == 1 else "receipts are"
        typer.echo(f"{acknowledged} {are} acknowledged, {table['trimmed_receipts']} of them trimmed")
    slots = table["slots"]
    for name, slot in slots.items() if isinstance(slots, dict) else ():
        if isinstance(slot, dict):
            # A board's boot loader is not asked by `status`, which must always work.
            usable = _usable(str(table["state"]), is_booted=name == table["booted"])
            good = "" if slot["good"] is None else f"{usable}, " if slot["good"] else "not bootable, "
            typer.echo(f"slot {name}: version {slot['version'] or 'unknown'}, {good}sha256 {slot['image_sha256']}")


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _usable(state: str, *, is_booted: bool) -> str:
    """Return what a slot is that can be booted: one that still has its trial to pass is not good yet."""
    match state:
        case "ready" | "activating" if not is_booted:
            return "not tried yet"
        case "trial" if is_booted:
            return "on trial"
        case _:
            return "good"


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print what `device check` found, a line each, and under a problem what to do."""
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
        return
    for finding in findings:
        found = "ok     " if finding.ok else "PROBLEM" if finding.is_missing else "advice "
        typer.echo(f"{found} {finding.name}: {finding.text}")
        if finding.advice:
            typer.echo(f"        {finding.advice}")
