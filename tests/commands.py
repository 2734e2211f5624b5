"""Commands of the office as a person types them, run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from usbupdate.cli.main import app
from usbupdate.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        table = json.loads(self.out)
        assert isinstance(table, dict)
        return table


def usbupdate(*arguments: str | Path, typed: str | None = None, code: int = 0, passphrase: str | None = None) -> Said:
    result = CliRunner().invoke(app, [str(each) for each in arguments], input=typed, env={"USBUPDATE_PASSPHRASE": passphrase})
    said = Said(result.exit_code, result.stdout, result.stderr)
    assert said.code == code, (said, result.exception)
    if code not in {0, ExitCode.USAGE}:
        error, hint = said.err.strip().splitlines()[-2:]
        assert error.startswith("Error: ")
        assert hint.startswith("What to do: ")
    assert "Traceback" not in said.err
    return said
