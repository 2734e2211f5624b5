"""What `status` tells a person of a device's slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbupdate.cli.status import show_status

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Json


def table(state: str, booted: str) -> dict[str, Json]:
    slot: dict[str, Json] = {"path": "slot", "good": True, "tries": None, "version": "1.2", "image_sha256": "ab"}
    return {
        "device": "gw-1",
        "state": state,
        "booted": booted,
        "reboot_pending": False,
        "sequence": 1,
        "slots": {"a": slot, "b": slot},
        "receipts": 1,
        "acknowledged_receipts": 1,
        "trimmed_receipts": 0,
        "last_event": "provisioned",
    }


@pytest.mark.parametrize(
    ("state", "booted", "a", "b"),
    [
        ("idle", "a", "good", "good"),
        ("ready", "a", "good", "not tried yet"),
        ("activating", "a", "good", "not tried yet"),
        ("trial", "b", "good", "on trial"),
    ],
)
def test_a_slot_is_called_good_only_after_its_trial(
    state: str, booted: str, a: str, b: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_status(table(state, booted), as_json=False)
    told = capsys.readouterr().out
    assert f"slot a: version 1.2, {a}, sha256 ab\n" in told
    assert f"slot b: version 1.2, {b}, sha256 ab\n" in told
    assert "sequence 1, 1 receipt, last event: provisioned\n1 receipt is acknowledged, 0 of them trimmed\n" in told
