"""Run mutmut over the module that the working folder was prepared for, and write down what became of each mutant.

A program of its own, so that what it changes in mutmut and what it imports stays out of the process that judges. It changes two
things. What no test can see is left alone: the wording of sentences, which are for people (tests hold which error is raised and
with which values), the last case of a `match` that mypy proves is never reached, and `cast`, which does nothing. And a
condition that is a plain value or call, which mutmut has no operator for, is turned round.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import libcst as cst
import libcst.matchers as m
from mutmut.__main__ import cli
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key
from mutmut.workers import isolation

if TYPE_CHECKING:
    from collections.abc import Iterable

CROWD: Final = 20
"""How many times as long as alone a mutant may take on a crowded machine; the time of the processor is limited as well."""

_register_timeout = isolation.register_timeout


def change_word(node: cst.BaseString) -> Iterable[cst.BaseString]:
    """Yield what mutmut makes of a literal, unless it is a sentence; the name of a codec is read in any case of its letters."""
    if isinstance(node, cst.SimpleString) and " " in node.value:
        return
    for changed in mutators.operator_string(node):
        if not (isinstance(node, cst.SimpleString) and isinstance(changed, cst.SimpleString) and same_codec(node, changed)):
            yield changed


def same_codec(one: cst.SimpleString, other: cst.SimpleString) -> bool:
    """Tell whether two literals are the same but for the case of their letters, and name a codec."""
    return one.value.lower() == other.value.lower() and one.value.strip("\"'") in {"ascii", "utf-8"}


def drop_case(node: cst.Match) -> Iterable[cst.Match]:
    """Yield the statement without each of its cases, but for the one that asserts that there is no other."""
    for case in node.cases:
        if not m.findall(case, m.Call(func=m.Name("assert_never"))):
            yield node.with_changes(cases=[other for other in node.cases if other is not case])


def turn_round(node: cst.If) -> Iterable[cst.If]:
    """Yield the statement with its condition turned round, where no operator of mutmut changes that."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.NamedExpr):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def register_timeout(pid: int, timeout_s: float) -> None:
    """Bear with a crowded machine: what loops is ended by the time that it takes of the processor."""
    _register_timeout(pid, timeout_s * CROWD)


def results(source: Path) -> list[dict[str, str]]:
    """Return each mutant's function, what was changed, into what, and how it ended."""
    found = SourceFileMutationData(path=source)
    found.load()
    told: list[dict[str, str]] = []
    for name, exit_code in found.exit_code_by_key.items():
        function, class_name = orig_function_and_class_names_from_key(name)
        changed = [line for line in get_diff_for_mutant(name, path=source).splitlines() if line[:3] not in {"---", "+++"}]
        told.append(
            {
                "name": name,
                "function": f"{class_name}.{function}" if class_name else function,
                "was": "\n".join(line[1:].strip() for line in changed if line.startswith("-")),
                "becomes": "\n".join(line[1:].strip() for line in changed if line.startswith("+")),
                "ended": status_by_exit_code[exit_code],
            }
        )
    return told


def main() -> None:
    """Do as the module says: the arguments are the source file, where to write, and what mutmut is told."""
    source, output, *arguments = sys.argv[1:]
    instead: dict[object, Any] = {mutators.operator_string: change_word, mutators.operator_match: drop_case}
    operators = [(kind, instead.get(operator, operator)) for kind, operator in mutators.mutation_operators]
    file_mutation.mutation_operators = [*operators, (cst.If, turn_round)]
    file_mutation.NEVER_MUTATE_FUNCTION_CALLS.update({"assert_never", "cast"})
    isolation.register_timeout = register_timeout
    try:
        cli(arguments, standalone_mode=False)
    finally:
        Path(output).write_text(json.dumps(results(Path(source)), indent=1))


if __name__ == "__main__":
    main()
