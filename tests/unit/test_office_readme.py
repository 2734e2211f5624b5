from __future__ import annotations

import pytest

from usbupdate.device.signals import Signal
from usbupdate.packager import readme


@pytest.mark.parametrize("signal", Signal)
def test_the_text_on_the_stick_has_the_words_that_devices_say(signal: Signal) -> None:
    assert signal.words in readme.text((), "2027-11-23T12:00:00Z")


def test_the_text_is_readable_in_every_editor() -> None:
    text = readme.text((), "2027-11-23T12:00:00Z")
    assert text.isascii()
    assert text.count("\r\n") == text.count("\n")
    assert "{" not in text
