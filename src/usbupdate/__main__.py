"""`python -m usbupdate` and the command `usbupdate`."""

from __future__ import annotations

import sys

_STOPPED = 130
"""`ExitCode.STOPPED`, by its number: even the tree of errors may not be imported yet."""


def main() -> None:
    """Run one command and exit with its code.

    `device boot` takes a way of its own that needs no typer, tuf or cryptography: it must work when everything else is broken.
    `device insert` has one too, without typer and the office's side: a small device has to load it for every stick.
    """
    own_way = sys.argv[1:3] if "--help" not in sys.argv else []
    try:
        if own_way == ["device", "boot"]:
            from usbupdate.cli.boot import run  # noqa: PLC0415 - see above
        elif own_way == ["device", "insert"]:
            from usbupdate.cli.insertion import run  # noqa: PLC0415 - see above
        else:
            from usbupdate.cli.main import run  # noqa: PLC0415 - see above
        sys.exit(run())
    except KeyboardInterrupt:
        # Before or after the command itself, whose own answer to Ctrl-C is in `cli.main`.
        sys.exit(_STOPPED)


if __name__ == "__main__":
    main()
