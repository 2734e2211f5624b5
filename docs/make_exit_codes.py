"""Make docs/exit-codes.md from the tree of errors; with `--check`, only say whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

from generated import keep

from usbupdate.errors import EXIT_CODE_MEANINGS, ExitCode, leaves, reason_of

PAGE = Path(__file__).with_name("exit-codes.md")

HEAD = """\
# Exit codes

Made by `docs/make_exit_codes.py` from `src/usbupdate/errors/`; change it there and run `make fix`.

Every command ends with one of these, and each has one meaning for all commands. An error is two sentences on standard error:
what is wrong, and what to do. The *reason* is the code that stands in receipts.

| code | meaning |
|---:|---|
"""


def page() -> str:
    """Return the page as it should be."""
    parts = [HEAD]
    parts += [f"| {code.value} | {EXIT_CODE_MEANINGS[code]} |\n" for code in sorted(ExitCode)]
    parts.append("\n## Reasons\n")
    for code in sorted(ExitCode):
        members = [leaf for leaf in leaves() if leaf.exit_code is code]
        if not members:
            continue
        parts.append(f"\n### {code.value}: {EXIT_CODE_MEANINGS[code]}\n\n")
        parts.append("| reason | what is wrong | what to do |\n|---|---|---|\n")
        parts += [
            f"| `{reason_of(leaf)}` | {_cell(leaf.says)} | {_cell(leaf.hint)} |\n" for leaf in sorted(members, key=reason_of)
        ]
    return "".join(parts)


def _cell(sentence: str) -> str:
    """Fields stand in braces in the tree; a reader of Markdown sees them as names in italics."""
    return sentence.replace("|", "\\|").replace("{", "*").replace("}", "*")


def main() -> int:
    """Write the page, or compare it."""
    return keep(PAGE, page(), __doc__)


if __name__ == "__main__":
    sys.exit(main())
