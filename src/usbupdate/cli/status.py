"""How `status` and `check` look to a person and to a program."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

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
    typer.echo(f"sequence {table['sequence']}, {table['receipts']} receipts, last event: {table['last_event'] or 'none'}")
    if table["acknowledged_receipts"]:
        typer.echo(f"{table['acknowledged_receipts']} receipts are acknowledged, {table['trimmed_receipts']} of them trimmed")
    slots = table["slots"]
    for name, slot in slots.items() if isinstance(slots, dict) else ():
        if isinstance(slot, dict):
            # A board's boot loader is not asked by `status`, which must always work.
            good = "" if slot["good"] is None else "good, " if slot["good"] else "not bootable, "
            typer.echo(f"slot {name}: version {slot['version'] or 'unknown'}, {good}sha256 {slot['image_sha256']}")


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
