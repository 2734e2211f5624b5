"""Joins the commands and is the one place where errors become a sentence, a hint and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer
from typer.core import TyperGroup

from usbupdate.cli import audit, bundle, key, repo, stick
from usbupdate.cli.reporting import STOPPED, Report, report_of
from usbupdate.errors import ExitCode, UsbupdateError


class _Reporting(TyperGroup):
    """Turns what a command raises into what a person needs."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # the context that typer makes is its own
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except UsbupdateError as error:
            raise _told(report_of(error)) from error
        except (typer.Abort, KeyboardInterrupt) as error:
            raise _told(STOPPED) from error
        except BrokenPipeError:
            # Somebody reads no further, as in `usbupdate … | head`; typer ends quietly then.
            raise
        except OSError as error:
            raise _told(report_of(error)) from error


app = typer.Typer(
    name="usbupdate",
    cls=_Reporting,
    help="Signed updates and signed proof for Linux devices that are never on a network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for name, group in {"key": key.app, "repo": repo.app, "bundle": bundle.app, "stick": stick.app, "audit": audit.app}.items():
    app.add_typer(group, name=name)
if sys.platform == "linux":
    from usbupdate.cli import demo, device, simulate

    app.add_typer(device.app)
    app.add_typer(simulate.app)
    app.command()(demo.demo)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"usbupdate {installed_version('usbupdate')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def run() -> int:
    """Run the command line; exits by itself."""
    app()
    return ExitCode.OK


def _told(report: Report) -> typer.Exit:
    report.show()
    return typer.Exit(report.exit_code)
