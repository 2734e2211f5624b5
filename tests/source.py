"""The project's own source as syntax trees, for the tests that hold its shape."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).parents[1]
PACKAGE: Final = CHECKOUT / "src" / "usbupdate"


@dataclass(frozen=True, slots=True)
class Module:
    """One module: its dotted name below `usbupdate` (empty for the package itself) and its tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The package or top-level module it belongs to."""
        return self.name.split(".")[0]

    @property
    def is_script(self) -> bool:
        """Whether it is run by another program and does its work when it is read, so that nothing may import it."""
        return self.name == "audit.store.migrations.env"

    @property
    def shown(self) -> str:
        """The path as a person looks for it."""
        return str(self.path.relative_to(CHECKOUT))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and full dotted name of everything that is imported, wherever it stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.shown}:{node.lineno}: relative import"
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)

    def calls(self) -> Iterator[tuple[int, str, ast.Call]]:
        """Yield line, dotted name as written (`?` for what is computed) and node of every call."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node.lineno, _dotted(node.func), node


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            return f"{_dotted(value)}.{attribute}"
        case _:
            return "?"


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append(Module(name=name, path=path, tree=ast.parse(path.read_text(encoding="utf-8"), filename=str(path))))
    return tuple(found)
