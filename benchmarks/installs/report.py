"""What was measured, as the page and the picture that stand in docs/."""

from __future__ import annotations

import html
import statistics
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from installs.contender import Contender
    from installs.measure import Measured

_MB: Final = 1_000_000
_MIB: Final = 1 << 20
_ROW: Final = 22
_LEFT: Final = 230
_WIDTH: Final = 420


def seconds(measured: Sequence[Measured]) -> float:
    """Return the median of the seconds."""
    return statistics.median(each.seconds for each in measured)


def table(results: Mapping[Contender, Sequence[Measured]], yardstick: str) -> str:
    """Return a table of one setting; ratios are to the contender with the name `yardstick`, if it was measured."""
    units = [seconds(each) for contender, each in results.items() if contender.name == yardstick]
    lines = [
        f"| | proves what it writes | reads back | s | of {yardstick} | MB from the stick | MiB of memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for contender, each in sorted(results.items(), key=lambda item: seconds(item[1])):
        median = seconds(each)
        read = statistics.median(one.stick_bytes for one in each) / _MB
        memory = max(one.memory_bytes for one in each) / _MIB
        back = "yes" if contender.reads_back else "no"
        ratio = f"{median / units[0]:.2f}" if units else ""
        lines.append(f"| {contender.name} | {contender.proof} | {back} | {median:.2f} | {ratio} | {read:.1f} | {memory:.0f} |")
    return "\n".join(lines) + "\n"


def plot(groups: Mapping[str, Mapping[Contender, Sequence[Measured]]]) -> str:
    """Return a picture with a bar for each contender, in seconds; each group has a scale of its own."""
    parts: list[str] = []
    top = 8
    for title, results in groups.items():
        parts.append(f'<text x="4" y="{top + 14}" font-weight="bold">{html.escape(title)}</text>')
        top += _ROW
        longest = max(seconds(each) for each in results.values())
        for contender, each in sorted(results.items(), key=lambda item: seconds(item[1])):
            median = seconds(each)
            width = max(1.0, _WIDTH * median / longest)
            colour = "#0b6e4f" if contender.name.startswith("usbupdate") else "#8a8f98"
            parts += [
                f'<text x="{_LEFT - 6}" y="{top + 14}" text-anchor="end">{html.escape(contender.name)}</text>',
                f'<rect x="{_LEFT}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 7}" fill="{colour}"/>',
                f'<text x="{_LEFT + width + 5:.1f}" y="{top + 14}">{median:.2f} s</text>',
            ]
            top += _ROW
        top += _ROW // 2
    size = f'width="{_LEFT + _WIDTH + 70}" height="{top}" viewBox="0 0 {_LEFT + _WIDTH + 70} {top}"'
    style = 'font-family="sans-serif" font-size="12" fill="#30343b"'
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}{"".join(parts)}</svg>\n'
