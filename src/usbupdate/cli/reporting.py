"""What a person is told of an error that ends a command: one sentence of what is wrong, one of what to do, and an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from usbupdate.errors import ExitCode, UsbupdateError

if TYPE_CHECKING:
    from collections.abc import Callable


class Report(NamedTuple):
    """What is wrong, what to do, and the exit code."""

    what: str
    hint: str
    exit_code: int

    def show(self) -> None:
        """Print it on standard error."""
        sys.stderr.write(f"Error: {self.what}\nWhat to do: {self.hint}\n")


STOPPED = Report("Stopped.", "Nothing that is half done counts: run the command again when you are ready.", ExitCode.STOPPED)


def report_of(error: UsbupdateError | OSError) -> Report:
    """Return what is told of an error."""
    if isinstance(error, UsbupdateError):
        return Report(str(error), error.hint, error.exit_code)
    what = f"{error.filename or 'A file'}: {error.strerror or error}."
    return Report(what, "Check the path, its permissions and free space.", ExitCode.INPUT)


def run_plainly(command: Callable[[], object]) -> int:
    """Run a command that has no typer around it, report how it ends, and return the exit code."""
    try:
        command()
    except (UsbupdateError, OSError) as error:
        report = report_of(error)
    except KeyboardInterrupt:
        report = STOPPED
    else:
        return ExitCode.OK
    report.show()
    return report.exit_code
