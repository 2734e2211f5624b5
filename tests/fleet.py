"""A fleet that has come some way, made up: for the report, the exports and the terminal."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from tests.receipts import checkpoint_over, device, draft
from usbupdate.core import envelope, identity as identity_form
from usbupdate.core.receipt import NO_PREVIOUS, Check, CheckResult, ClockQuality, Draft, Event, Problem, Receipt, Release
from usbupdate.core.words import Digest, ReceiptId, SlotClass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RELEASES = tuple(
    Release(version, number, {SlotClass("rootfs"): Digest(f"{number:064x}")})
    for number, version in enumerate(("1.0", "1.1", "1.2", "2.0", "2.1"), 1)
)


def write_drafts(folder: Path, drafts: Sequence[Draft], name: str, key: str = "") -> Path:
    """Make a device's log of drafts, signed in their order, and return the folder."""
    identity, signer = device(name, key)
    lines: list[bytes] = []
    for number, each in enumerate(drafts, 1):
        previous = envelope.line_digest(lines[-1]) if lines else NO_PREVIOUS
        lines.append(envelope.sign(Receipt(identity.device, number, previous, each), signer))
    folder.mkdir(parents=True)
    (folder / "identity.json").write_bytes(identity_form.encode(identity))
    (folder / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "checkpoint").write_bytes(checkpoint_over(lines, identity, signer))
    return folder


def life(seed: int, *, clock: ClockQuality = ClockQuality.SYSTEM) -> list[Draft]:
    """Return what a device might do in two years, the same for the same seed."""
    random = Random(seed)  # noqa: S311 - a story, no secret
    drafts: list[Draft] = []
    month, now = 2025 * 12 + 1 + random.randrange(4), RELEASES[0]

    def tell(
        event: Event, after: Release | None = None, problem: Problem | None = None, checks: tuple[Check, ...] = ()
    ) -> None:
        number = len(drafts) + 1
        base = draft(number, event)
        wall = f"{month // 12}-{month % 12 + 1:02}-{1 + random.randrange(28):02}T10:{number:02}:30Z"
        is_first = event is Event.PROVISIONED
        drafts.append(
            replace(
                base,
                id=ReceiptId(hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:32]),
                moment=replace(base.moment, wall=wall, clock=clock),
                before=None if is_first else now,
                after=after,
                bundle=None if is_first else base.bundle,
                trust=None if is_first else base.trust,
                medium=None if is_first else base.medium,
                checks=checks,
                problem=problem,
            )
        )

    tell(Event.PROVISIONED, now)
    for release in RELEASES[1:]:
        month += 2 + random.randrange(4)
        if random.random() < 0.15:
            tell(Event.REJECTED, problem=Problem("stored-bytes-differ", "Chunk 17 on the stick is not what was signed."))
        if random.random() < 0.12:
            failed = Check("10-network", CheckResult.FAILED, "exit-1", "no carrier on eth0")
            tell(Event.CHECK_FAILED, release, Problem("check-failed", "The check 10-network failed."), (failed,))
        if random.random() < 0.85:
            tell(Event.COMMITTED, release)
            now = release
    return drafts


def write_fleet(mount: Path, count: int) -> Path:
    """Make a stick with the logs of `count` devices, gw-0001 and on, and return it."""
    for number in range(1, count + 1):
        name = f"gw-{number:04}"
        clock = ClockQuality.FLOOR if number % 20 == 0 else ClockQuality.SYSTEM
        write_drafts(mount / "usbupdate" / "logs" / name, life(number, clock=clock), name)
    return mount
