from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from usbupdate.device.statestore import StateStore
from usbupdate.errors import StoreFailedError

if TYPE_CHECKING:
    from tests.field import Field


def test_a_record_that_could_not_be_read_again_is_never_saved(field: Field) -> None:
    store = StateStore(field.rig.folder / "state")
    record = store.load()
    draft = field.rig.receipts()[-1].draft
    with pytest.raises(StoreFailedError, match="operator"):
        store.save(replace(record, pending=(replace(draft, operator="x" * 300),)))
    assert store.load() == record
