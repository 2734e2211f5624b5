"""Charts as SVG that stands in the page, without a script or a style: the page's style sheet colours it for screen and paper.

The library's drawing is taken bare, as one picture with a name. Who reads with the ears, or wants the figures, finds them in
the table that the page puts beside it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup
from pygal import HorizontalBar, StackedBar

if TYPE_CHECKING:
    from collections.abc import Sequence

# For its plug-ins the library hangs a finder of an outdated form into the imports of the whole program; we have no plug-ins.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

_STACK_SIZE: Final = (640, 400)
_BARS_WIDTH: Final = 480
_BAR_HEIGHT: Final = 22
_AXIS_HEIGHT: Final = 30
_LABELS_SHOWN: Final = 8
_LABEL_MAX: Final = 32

_LEFT_OUT: Final = frozenset({"script", "style", "desc", "title"})
"""The page forbids scripts and styles that are not its own; the others would be read out for each bar."""
_UNUSED: Final = ' xmlns:xlink="http://www.w3.org/1999/xlink"'
_PLAIN: Final[dict[str, Any]] = {
    "js": (),
    "css": (),
    "disable_xml_declaration": True,
    "show_legend": False,
    "margin": 4,
    "margin_right": 18,
    "truncate_label": _LABEL_MAX,
}


def stacked(name: str, columns: Sequence[str], series: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """Return columns of stacked counts without a legend; `name` is what the picture is called by who cannot see it."""
    top = max((sum(column) for column in zip(*(counts for _, counts in series), strict=True)), default=0)
    width, height = _STACK_SIZE
    chart = StackedBar(**_PLAIN, width=width, height=height, y_labels=_ticks(top))
    every = -(-len(columns) // _LABELS_SHOWN)
    chart.x_labels = [label if at % every == 0 else "" for at, label in enumerate(columns)]
    for label, counts in series:
        chart.add(label, list(counts))
    return _drawn(chart, name)


def bars(name: str, counts: Sequence[tuple[str, int]]) -> Markup:
    """Return a horizontal bar for each count, from top to bottom, with its label and figure."""
    top = max((count for _, count in counts), default=0)
    height = _BAR_HEIGHT * len(counts) + _AXIS_HEIGHT
    chart = HorizontalBar(**_PLAIN, width=_BARS_WIDTH, height=height, y_labels=_ticks(top))
    # The library draws from the bottom. A figure within a short bar could not be read.
    upwards = list(reversed(counts))
    chart.x_labels = [f"{label}: {count}" for label, count in upwards]
    chart.add("", [count for _, count in upwards])
    return _drawn(chart, name)


def _ticks(top: int) -> list[int]:
    """Return whole numbers for an axis up to at least `top`: there is no half a device."""
    step = 1
    while step * 4 < top:
        step = step * 2 if str(step)[0] in "15" else step * 5 // 2
    return list(range(0, step * (-(-max(top, 1) // step)) + 1, step))


def _drawn(chart: Any, name: str) -> Markup:  # noqa: ANN401 - the library has no types
    chart.add_xml_filter(lambda root: _bare(root, name))
    # Its texts are escaped by the XML library that writes it.
    # One of the two XML libraries that it takes, whichever is there, declares a vocabulary that nothing here uses.
    return Markup(chart.render(is_unicode=True).replace(_UNUSED, ""))  # noqa: S704 - the same


def _bare(root: Any, name: str) -> Any:  # noqa: ANN401 - an element of whichever XML library it has found
    # The tag of a comment is no string.
    for parent in [each for each in root.iter() if isinstance(each.tag, str)]:
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag in _LEFT_OUT or _is_tooltip(child):
                parent.remove(child)
        for attribute in ("id", "style"):
            parent.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", name)
    return root


def _is_tooltip(element: Any) -> bool:  # noqa: ANN401 - as above
    classes = element.get("class", "")
    return "tooltip" in classes and "tooltip-trigger" not in classes
