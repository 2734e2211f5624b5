"""Pages and parts of pages that are made: written anew, or with `--check` only compared."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def keep(page: Path, wanted: str, about: str | None) -> int:
    """Make a page hold what is wanted, or with `--check` on the command line say whether it does; return the exit code."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is not current")
    if not parser.parse_args().check:
        page.write_text(wanted, encoding="utf-8")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"{page} is not current. Run: make fix\n")
    return 1
