"""Make the table of manipulations in docs/auditor.md from those of the tests; `--check` only says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

from generated import keep

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.tampering import TAMPERINGS, Tampering  # noqa: E402 - found by the line above

from usbupdate.audit.depth import Depth  # noqa: E402 - the same

PAGE = ROOT / "docs/auditor.md"
BEGIN = "<!-- Made by docs/make_tamper_matrix.py from tests/tampering.py: change it there and run `make fix`. -->\n"
END = "<!-- The end of what is made. -->\n"
HEAD = "| | what was done | found as | receipt | `--quick` | by default | `--thorough` |\n|---:|---|---|---:|:-:|:-:|:-:|\n"


def matrix() -> str:
    """Return the table, in two parts."""
    parts = [f"{len(TAMPERINGS)} manipulations of the log of a device with six receipts.\n"]
    number = 0
    for needs_key, title in ((False, "Anybody can do these"), (True, "Only the holder of the device's key can do these")):
        parts.append(f"\n### {title}\n\n{HEAD}")
        for each in TAMPERINGS:
            if each.needs_key is needs_key:
                number += 1
                parts.append(_row(number, each))
    return "".join(parts)


def _row(number: int, tampering: Tampering) -> str:
    found = " | ".join("yes" if depth in tampering.depths else "" for depth in Depth)
    what = tampering.name.replace("_", " ") + (", after the log was seen" if tampering.is_seen else "")
    receipt = "" if tampering.receipt is None else tampering.receipt
    return f"| {number} | {what} | `{tampering.flaw}` | {receipt} | {found} |\n"


def main() -> int:
    """Write the page, or compare it."""
    now = PAGE.read_text(encoding="utf-8")
    before, begin, rest = now.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{PAGE} lacks the lines between which the table stands: {BEGIN}{END}")
    wanted = f"{before}{BEGIN}\n{matrix()}\n{END}{after}"
    return keep(PAGE, wanted, __doc__)


if __name__ == "__main__":
    sys.exit(main())
