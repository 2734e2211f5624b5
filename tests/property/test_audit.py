from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, strategies as st

from tests.receipts import device, write_log
from usbupdate.audit.chain import examine
from usbupdate.audit.copies import LogCopy
from usbupdate.core.words import DeviceId

IDENTITY = device("gw-0001")[0]
with TemporaryDirectory() as _folder:
    GENUINE = {path.name: path.read_bytes() for path in write_log(Path(_folder), 3).iterdir() if path.suffix != ".txt"}


@st.composite
def changed(draw: st.DrawFn, original: bytes) -> bytes:
    """Cut a piece out of a file and put another in its place: removing, adding, doubling and altering in one."""
    start = draw(st.integers(0, len(original)))
    end = draw(st.integers(start, min(len(original), start + 2000)))
    other = draw(st.integers(0, len(original)))
    piece = draw(st.binary(max_size=40) | st.just(original[other : other + draw(st.integers(0, 2000))]))
    return original[:start] + piece + original[end:]


def findings_of(files: dict[str, bytes]) -> int:
    copy = LogCopy("stick", DeviceId("gw-0001"), files, {})
    examined = examine(copy, IDENTITY, ())
    assert all(finding.sentence() and finding.table() for finding in examined.findings)
    return len(examined.findings)


def test_genuine_evidence_is_accepted() -> None:
    assert findings_of(GENUINE) == 0


@given(st.sampled_from(sorted(GENUINE)), st.data())
def test_any_change_of_any_file_is_found(name: str, data: st.DataObject) -> None:
    contents = data.draw(changed(GENUINE[name]))
    assert (findings_of(GENUINE | {name: contents}) == 0) == (contents == GENUINE[name])


@given(st.permutations(GENUINE["receipts.jsonl"].splitlines(keepends=True)), st.integers(0, 3))
def test_any_other_order_or_choice_of_lines_is_found(lines: list[bytes], kept: int) -> None:
    contents = b"".join(lines[:kept])
    assert (findings_of(GENUINE | {"receipts.jsonl": contents}) == 0) == (contents == GENUINE["receipts.jsonl"])


@given(st.dictionaries(st.sampled_from(sorted(GENUINE)), st.binary(max_size=200)))
def test_any_bytes_are_answered_with_findings(files: dict[str, bytes]) -> None:
    assert findings_of(files) > 0
