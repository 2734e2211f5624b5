"""How many receipts a second `audit import` takes into SQLite and into PostgreSQL, the same again, and how fast they come out.

Run: make bench, or: python benchmarks/audit_import.py [--devices N] [--receipts N] [--only sqlite|postgresql]

The receipts are of the usual size and form and their signatures are chance: importing judges nothing. SQLite syncs as always.
PostgreSQL is Debian's, started for this on a socket, and syncs as always too.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import resource
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.postgresql import problem, running  # noqa: E402 - found by the line above
from tests.receipts import device, draft  # noqa: E402 - the same

from usbupdate.audit.copies import find_copies  # noqa: E402 - the same
from usbupdate.audit.store.address import address_of  # noqa: E402 - the same
from usbupdate.audit.store.database import opened, opened_for_import  # noqa: E402 - the same
from usbupdate.audit.store.importing import Importer, import_logs  # noqa: E402 - the same
from usbupdate.audit.store.reading import stored_places  # noqa: E402 - the same
from usbupdate.core import identity as identity_form, statement, strictjson  # noqa: E402 - the same
from usbupdate.core.receipt import NO_PREVIOUS, PAYLOAD_TYPE, Receipt  # noqa: E402 - the same
from usbupdate.core.words import DeviceId, Digest  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORTER: Final = Importer("benchmark", "0")
SIGNATURE_SIZE: Final = 64
QUESTIONS: Final = {
    "one device's history": "SELECT * FROM receipts WHERE device = 'gw-00007' ORDER BY number",
    "what every device runs": "SELECT device, to_version, wall FROM receipts JOIN (SELECT device, max(number) AS number "
    "FROM receipts WHERE event = 'committed' GROUP BY device) AS latest USING (device, number)",
    "versions over time": "SELECT substr(wall, 1, 7), to_version, count(DISTINCT device) FROM receipts GROUP BY 1, 2",
    "failures by reason": "SELECT reason, count(*) FROM receipts WHERE event = 'rolled-back' GROUP BY reason",
}


def receipts_of(name: DeviceId, count: int) -> Iterator[bytes]:
    """Yield a device's lines; each names the one before."""
    previous = NO_PREVIOUS
    pattern = draft(1)
    for number in range(1, count + 1):
        moment = replace(pattern.moment, monotonic_ms=number)
        payload = statement.encode(Receipt(name, number, previous, replace(pattern, moment=moment)))
        signature = base64.b64encode(os.urandom(SIGNATURE_SIZE)).decode()
        line = strictjson.encode(
            {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": "ab" * 32, "sig": signature}],
            }
        )
        yield line
        previous = Digest(hashlib.sha256(line).hexdigest())


def write_stick(folder: Path, devices: int, receipts: int) -> None:
    """Write the logs of many devices."""
    for number in range(devices):
        name = DeviceId(f"gw-{number:05}")
        log = folder / "usbupdate" / "logs" / name
        log.mkdir(parents=True)
        (log / "identity.json").write_bytes(identity_form.encode(device(name)[0]))
        (log / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in receipts_of(name, receipts)))


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """Print how long something took, with its own processor time."""
    start, busy = time.perf_counter(), time.process_time()
    yield
    took, used = time.perf_counter() - start, time.process_time() - busy
    print(f"{what}: {took:.1f} s, {count / took:,.0f} receipts a second ({count / used:,.0f} a second of processor time)")


def measure(kind: str, given: str, stick: Path, count: int) -> None:
    """Import a stick into an empty store, import it again, and read everything back."""
    address = address_of(given, {})
    for what in ("import", "the same again"):
        with timed(f"{kind}, {what}", count), opened_for_import(address) as store:
            import_logs(store, find_copies([stick]), IMPORTER, lambda: "2026-01-01T00:00:00Z", lambda _: None)
    with timed(f"{kind}, read back", count), opened(address) as store:
        for place in stored_places(store):
            place.read()
    with opened(address) as store, store.reading() as connection:
        for what, question in QUESTIONS.items():
            start = time.perf_counter()
            rows = len(connection.exec_driver_sql(question).all())
            print(f"{kind}, {what}: {rows:,} rows in {time.perf_counter() - start:.2f} s")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--receipts", type=int, default=100)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    count = given.devices * given.receipts
    with TemporaryDirectory(prefix="usbupdate-bench-") as folder:
        stick = Path(folder, "stick")
        write_stick(stick, given.devices, given.receipts)
        size = sum(path.stat().st_size for path in stick.rglob("receipts.jsonl"))
        print(f"{count:,} receipts of {given.devices:,} devices, {size / count:,.0f} bytes each")
        if given.only != "postgresql":
            measure("SQLite", str(Path(folder, "evidence.sqlite3")), stick, count)
            stored = Path(folder, "evidence.sqlite3").stat().st_size
            print(f"SQLite takes {stored / count:,.0f} bytes a receipt")
        shared = Path("/tmp")  # noqa: S108 - a private folder in it
        if given.only != "sqlite" and (why_not := problem(shared)):
            print(f"{why_not}, so it was not measured.")
        elif given.only != "sqlite":
            with running(shared, syncs=True) as server:
                measure("PostgreSQL", server.new_database(), stick, count)
        print(f"At most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB of memory")


if __name__ == "__main__":
    main()
