from __future__ import annotations

import pickle
import string
from collections import Counter
from pathlib import Path
from runpy import run_path

import pytest

from usbupdate.errors import (
    EXIT_CODE_MEANINGS,
    ExitCode,
    MalformedError,
    MediumFileMissingError,
    UsbupdateError,
    leaves,
    reason_of,
)

LEAVES = leaves()
EACH_LEAF = pytest.mark.parametrize("leaf", LEAVES, ids=reason_of)


def _field_names(leaf: type[UsbupdateError]) -> set[str]:
    return set(getattr(leaf, "__dataclass_fields__", ()))


@EACH_LEAF
def test_leaf_has_an_exit_code_that_is_not_success(leaf: type[UsbupdateError]) -> None:
    assert isinstance(leaf.exit_code, ExitCode)
    assert leaf.exit_code is not ExitCode.OK


@EACH_LEAF
def test_leaf_says_only_what_it_knows(leaf: type[UsbupdateError]) -> None:
    asked_for = {name for _, name, _, _ in string.Formatter().parse(leaf.says) if name is not None}
    assert asked_for <= _field_names(leaf)


@EACH_LEAF
def test_leaf_says_a_sentence_and_hints_at_what_to_do(leaf: type[UsbupdateError]) -> None:
    # A leaf that passes on another error's sentence ends with that.
    assert leaf.says.endswith((".", "{problem}"))
    assert leaf.hint.endswith(".")
    assert "\n" not in leaf.says + leaf.hint
    assert not leaf.hint[0].islower()


@EACH_LEAF
def test_leaf_is_a_dataclass_that_compares_by_identity(leaf: type[UsbupdateError]) -> None:
    # Python sets __traceback__ on exceptions and unittest-like code hashes them: eq=True would break both.
    assert leaf.__hash__ is Exception.__hash__
    assert leaf.__name__.endswith("Error")
    assert leaf.__doc__
    assert not leaf.__doc__.startswith(f"{leaf.__name__}("), "dataclass wrote the docstring"


def test_reasons_are_unique() -> None:
    twice = [reason for reason, count in Counter(map(reason_of, LEAVES)).items() if count > 1]
    assert twice == []


def test_reasons_fit_into_receipts() -> None:
    assert [reason for reason in map(reason_of, LEAVES) if not reason.replace("-", "").isalnum() or len(reason) > 64] == []


def test_every_exit_code_has_one_meaning_and_one_number() -> None:
    assert set(EXIT_CODE_MEANINGS) == set(ExitCode)
    assert len(set(EXIT_CODE_MEANINGS.values())) == len(ExitCode)
    assert len(ExitCode.__members__) == len(ExitCode), "two names for one number"
    assert all(meaning.endswith(".") for meaning in EXIT_CODE_MEANINGS.values())
    # 126 and above are the shell's own, but for the one that means a person's Ctrl-C.
    assert all(0 <= code <= 125 or code == 130 for code in ExitCode)


def test_rejected_refused_failed_and_rolled_back_are_told_apart() -> None:
    assert len({ExitCode.REJECTED, ExitCode.REFUSED, ExitCode.FAILED, ExitCode.ROLLED_BACK}) == 4


def test_page_of_exit_codes_is_what_the_tree_generates(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[2] / "docs" / "make_exit_codes.py"
    # As where it is run by itself: it finds what stands beside it.
    monkeypatch.syspath_prepend(script.parent)
    made = run_path(str(script))["page"]()
    assert script.with_name("exit-codes.md").read_text(encoding="utf-8") == made, "run: make fix"


def test_control_characters_from_a_stick_do_not_reach_the_terminal() -> None:
    error = MediumFileMissingError(name="\x1b]0;owned\x07\n\u202eevil\udcff" + "x" * 1000)
    text = str(error)
    assert text.isprintable()
    assert len(text) < 400


def test_a_format_string_from_a_stick_is_only_text() -> None:
    assert "{field.__class__} {0}" in str(MalformedError(document="manifest", field="{field.__class__} {0}", problem="odd"))


def test_an_error_comes_whole_out_of_another_process() -> None:
    error = MalformedError(document="manifest", field="name", problem="odd")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    assert (type(again), vars(again), str(again)) == (MalformedError, vars(error), str(error))
