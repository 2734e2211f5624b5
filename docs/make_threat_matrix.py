"""Make the matrix in docs/threat-model.md from the marks of the tests; with `--check`, only say whether it is current."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

from generated import keep

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.matrix import By, On  # noqa: E402 - found by the line above

PAGE = ROOT / "docs/threat-model.md"
LINE = "<!-- Made by docs/make_threat_matrix.py from the marks of the tests: change it there and run `make fix`. -->\n"
HEAD = "| | attacked | attack | why it does not succeed | test |\n|---:|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One attack, why it does not succeed, and the test that shows it."""

    by: By
    on: On
    what: str
    held: str
    file: str
    test: str


def rows() -> list[Row]:
    """Return a row for each mark in the tests, in the order of their files."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                calls = [each for each in node.decorator_list if isinstance(each, ast.Call)]
                marks = [each.args for each in calls if isinstance(each.func, ast.Name) and each.func.id == "attack"]
                found += [_row(path, node.name, *mark) for mark in marks]
    return found


def _row(path: Path, test: str, *mark: ast.expr) -> Row:
    match mark:
        case (
            ast.Attribute(value=ast.Name(id="By"), attr=by),
            ast.Attribute(value=ast.Name(id="On"), attr=on),
            ast.Constant(value=str(what)),
            ast.Constant(value=str(held)),
        ):
            return Row(By[by], On[on], what, held, str(path.relative_to(ROOT)), test)
        case _:
            sys.exit(f'{path}: {test}: a mark is written as attack(By.…, On.…, "what", "held")')


def matrix(all_rows: list[Row]) -> str:
    """Return the matrix: a table for each attacker, with rows that are numbered through."""
    parts, number = [f"{len(all_rows)} attacks, each with the test that shows what becomes of it.\n"], 0
    for by in By:
        own = [row for row in all_rows if row.by is by]
        if not own:
            continue
        parts.append(f"\n### {by[0].upper()}{by[1:]}\n\n{HEAD}")
        for row in sorted(own, key=lambda row: list(On).index(row.on)):
            number += 1
            where = f"[{row.test.removeprefix('test_').replace('_', ' ')}](../{row.file})"
            parts.append(f"| {number} | {row.on} | {row.what} | {row.held} | {where} |\n")
    return "".join(parts)


def main() -> int:
    """Write the page, or compare it."""
    now = PAGE.read_text(encoding="utf-8")
    prose, line, _ = now.partition(LINE)
    if not line:
        sys.exit(f"{PAGE} lacks the line after which the matrix stands: {LINE}")
    wanted = f"{prose}{LINE}\n{matrix(rows())}"
    return keep(PAGE, wanted, __doc__)


if __name__ == "__main__":
    sys.exit(main())
