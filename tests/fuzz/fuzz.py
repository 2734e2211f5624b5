"""Fuzz one target until libFuzzer's limits are reached.

Run: python -m tests.fuzz.fuzz TARGET [libFuzzer's options] [folders]
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["usbupdate"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run one target; ends with an error at the first input that does harm, which is kept."""
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
