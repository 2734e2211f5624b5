"""Whatever comes, in whatever order and company: the store holds the same, and gives back what it was given."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hypothesis import given, strategies as st

from tests.receipts import chain, checkpoint_over, device
from tests.stores import Held, contents_of, keep_places, kept
from usbupdate.audit.copies import LogCopy
from usbupdate.audit.store.claims import claims_of
from usbupdate.core import envelope, identity as identity_form
from usbupdate.core.words import DeviceId

_FOLDER: Final = TemporaryDirectory(prefix="usbupdate-store-")
_EMPTY: Final = Path(_FOLDER.name, "empty.sqlite3")
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "version", "sequence", "reason"]), inner)
    ),
    max_leaves=5,
)
HISTORIES: Final = [chain(5), chain(5, text="another history"), chain(4, "gw-0002")]
ANY_LINE: Final = st.sampled_from([*(line for history in HISTORIES for line in history), b"", b"{}", b"\xff"])


@st.composite
def copies(draw: st.DrawFn) -> LogCopy:
    """Draw a copy of a log: whole, cut short, or with lines that were moved, added or taken away."""
    history = draw(st.sampled_from(HISTORIES))
    lines = history[draw(st.integers(0, 2)) : draw(st.integers(0, 5))] + draw(st.lists(ANY_LINE, max_size=2))
    files = {"receipts.jsonl": b"".join(line + b"\n" for line in lines) + draw(st.sampled_from([b"", history[0][:9]]))}
    if size := draw(st.integers(0, 4)):
        files["checkpoint"] = checkpoint_over(history[:size], *device("gw-0001"))
    if draw(st.booleans()):
        files["identity.json"] = identity_form.encode(device("gw-0001")[0])
    folder = draw(st.sampled_from([None, DeviceId("gw-0001"), DeviceId("gw-0002")]))
    return LogCopy(draw(st.sampled_from(["/media/one", "/media/two"])), folder, files, {})


def stored(groups: list[list[LogCopy]], folder: str) -> str:
    """Import groups of copies one after the other into a new store, and return its address."""
    address = Path(folder, f"{len(list(Path(folder).iterdir()))}.sqlite3")
    if not _EMPTY.exists():
        keep_places(str(_EMPTY), [])
    shutil.copyfile(_EMPTY, address)
    for group in groups:
        keep_places(str(address), [Held(copy) for copy in group])
    return str(address)


@given(st.lists(copies(), max_size=6), st.data())
def test_order_and_grouping_of_imports_make_no_difference(found: list[LogCopy], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(found))
    cut = data.draw(st.integers(0, len(found)))
    again = data.draw(st.lists(st.sampled_from(found), max_size=2)) if found else []
    with TemporaryDirectory() as folder:
        at_once = contents_of(stored([found], folder))
        assert contents_of(stored([shuffled[:cut], again, shuffled[cut:]], folder)) == at_once


@given(copies())
def test_a_copy_comes_out_as_it_came(copy: LogCopy) -> None:
    with TemporaryDirectory() as folder:
        (found,) = kept(stored([[copy]], folder))
    assert (found.files, found.folder, found.unreadable) == (copy.files, copy.folder, {})


@given(st.lists(copies(), min_size=1, max_size=5))
def test_every_line_that_came_comes_out_of_some_copy(found: list[LogCopy]) -> None:
    with TemporaryDirectory() as folder:
        out = kept(stored([found], folder))
    came = {line for copy in found for line in copy.files["receipts.jsonl"].split(b"\n")[:-1]}
    assert {line for copy in out for line in copy.files["receipts.jsonl"].split(b"\n")[:-1]} == came


@given(JSON, st.data())
def test_what_a_changed_receipt_claims_has_the_form_of_its_columns(value: object, data: st.DataObject) -> None:
    said = json.loads(base64.b64decode(json.loads(chain(1)[0])["payload"]))
    said["predicate"][data.draw(st.sampled_from(sorted(said["predicate"])))] = value
    payload = base64.b64encode(json.dumps(said).encode()).decode()
    claims = claims_of(json.dumps({"payload": payload}, separators=(",", ":")).encode())
    columns = claims.columns if claims else ()
    assert {type(column) for column in columns} <= {str, int, type(None)}
    assert all(column.isascii() and column.isprintable() for column in columns if isinstance(column, str))
    assert all(0 <= column < 2**53 for column in columns if isinstance(column, int))


@given(st.sampled_from([line for history in HISTORIES for line in history]))
def test_claims_are_what_the_strict_reader_reads(line: bytes) -> None:
    said, receipt = claims_of(line), envelope.peek_unproven(line)
    assert said is not None
    assert said.previous.hex() == receipt.previous
    assert said.columns[:3] == (receipt.device, receipt.number, str(receipt.event))
