"""What a stranger writes cannot break out of the line in which it is shown."""

from __future__ import annotations

from hypothesis import given, strategies as st

from usbupdate.core.plaintext import one_line, printable

_TEXT = st.text() | st.text(alphabet="a \t\r\n\x1b\x00\x85\u2028\u202e")


@given(_TEXT, st.integers(0, 40))
def test_one_line_is_one_printable_line(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert "  " not in shown


@given(_TEXT, st.integers(0, 40))
def test_printable_keeps_every_character_in_its_place(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) == min(limit, len(text))
    assert all(new == old for new, old in zip(shown, text, strict=False) if old.isprintable())


@given(_TEXT)
def test_line_feeds_stay_where_they_are_asked_for(text: str) -> None:
    shown = printable(text, len(text), besides="\n\t")
    assert shown.count("\n") == text.count("\n")
    assert shown.replace("\n", "").replace("\t", "").isprintable()
