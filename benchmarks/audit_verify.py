"""How long `audit verify` takes at each depth, and how that compares with nothing but checking the signatures.

Run: make bench, or: python benchmarks/audit_verify.py [--devices N] [--receipts N] [--rounds N] [--folder DIR] [--alone]

The fleet is made once and kept in a folder for caches: full receipts of the usual size, each signed. Whole commands are timed,
from start to exit code, in rounds of all depths one after the other, so that a busy machine is as hard on each; the median
counts. What is seen of every device is remembered before the first round. The bare rate is that of `verify` of the cryptography
library over the same signatures, on as many cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from base64 import b64decode
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: E402 - found by the line above
from tests.receipts import checkpoint_over, device, draft  # noqa: E402 - the same

from usbupdate.audit.copies import find_copies  # noqa: E402 - the same
from usbupdate.audit.depth import Depth  # noqa: E402 - the same
from usbupdate.audit.devices import Devices  # noqa: E402 - the same
from usbupdate.audit.enrolment import enrol  # noqa: E402 - the same
from usbupdate.audit.workers import conclude  # noqa: E402 - the same
from usbupdate.core import envelope, identity as identity_form  # noqa: E402 - the same
from usbupdate.core.receipt import NO_PREVIOUS, PAYLOAD_TYPE, Event, Receipt, Release  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable

FLAGS: Final = {Depth.QUICK: ["--quick"], Depth.CONTENTS: [], Depth.THOROUGH: ["--thorough"]}
CORES: Final = len(os.sched_getaffinity(0))


def write_log(job: tuple[Path, str, int]) -> None:
    """Write one device's log: it installs a release after the other, is refused one now and then, and signs each receipt."""
    folder, name, count = job
    identity, signer = device(name)
    lines: list[bytes] = []
    for number in range(1, count + 1):
        is_refused = number % 7 == 0
        pattern = draft(number, Event.REFUSED if is_refused else Event.COMMITTED, problem="It is older." if is_refused else "")
        images = {} if pattern.after is None else pattern.after.images
        told = replace(
            pattern, before=Release(f"1.{number}", number, images), after=Release(f"1.{number + 1}", number + 1, images)
        )
        previous = envelope.line_digest(lines[-1]) if lines else NO_PREVIOUS
        lines.append(envelope.sign(Receipt(identity.device, number, previous, told), signer))
    folder.mkdir(parents=True)
    (folder / "identity.json").write_bytes(identity_form.encode(identity))
    (folder / "receipts.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "checkpoint").write_bytes(checkpoint_over(lines, identity, signer))


def fleet(folder: Path, devices: int, receipts: int) -> tuple[Path, Path]:
    """Return a stick with the logs of many devices and the folder of an auditor who knows them; made if they are not there."""
    stick, known = folder / f"fleet-{devices}-{receipts}", folder / f"known-{devices}-{receipts}"
    done = stick / "done"
    if not done.exists():
        print(f"Making {devices * receipts:,} signed receipts in {folder}", flush=True)
        names = [f"gw-{number:05}" for number in range(devices)]
        with ProcessPoolExecutor(CORES) as pool:
            jobs = [(stick / "usbupdate" / "logs" / name, name, receipts) for name in names]
            list(pool.map(write_log, jobs, chunksize=16))
        enrol(stick, Devices(known), device=None, fingerprint=None)
        for _ in conclude(find_copies([stick]), Devices(known), Depth.QUICK):
            pass
        done.write_bytes(b"")
    return stick, known


def command(stick: Path, known: Path, depth: Depth) -> float:
    """Return how many seconds the command takes."""
    words = [sys.executable, "-m", "usbupdate", "audit", "verify", str(stick), "--devices", str(known), *FLAGS[depth]]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - this program
    took = time.perf_counter() - start
    if f"Checked ({depth})" not in done.stdout.splitlines()[-1]:
        sys.exit(done.stdout)
    return took


def in_this_process(stick: Path, known: Path, depth: Depth) -> float:
    """Return how many seconds of a processor the verdicts alone take, in one process: nobody else's work counts."""
    start = time.process_time()
    for _ in conclude(find_copies([stick]), Devices(known), depth, workers=1):
        pass
    return time.process_time() - start


def bare(stick: Path, cores: int, clock: Callable[[], float]) -> float:
    """Return how many signatures a second the library checks on so many cores, over a sample of these receipts."""
    logs = sorted((stick / "usbupdate" / "logs").iterdir())[: 100 * cores]
    with ProcessPoolExecutor(cores) as pool:
        return sum(
            count / took
            for count, took in pool.map(partial(_checked, clock=clock), [logs[number::cores] for number in range(cores)])
        )


def _checked(logs: list[Path], clock: Callable[[], float]) -> tuple[int, float]:
    known = []
    for log in logs:
        key = Ed25519PublicKey.from_public_bytes(identity_form.decode((log / "identity.json").read_bytes()).public_key)
        for line in (log / "receipts.jsonl").read_bytes().splitlines():
            table = json.loads(line)
            payload = b64decode(table["payload"])
            message = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
            known.append((key, b64decode(table["signatures"][0]["sig"]), message))
    start = clock()
    for key, signature, message in known:
        key.verify(signature, message)
    return len(known), clock() - start


def measure(rounds: int, count: int, timed: Callable[[Depth], float], rate: Callable[[], float]) -> None:
    """Print the median of each depth and what they come to."""
    took: dict[Depth, list[float]] = {depth: [] for depth in Depth}
    rates = []
    for _ in range(rounds):
        # A sample takes a second and a depth minutes: one before each tells more of what the machine could do meanwhile.
        for depth in Depth:
            rates.append(rate())
            took[depth].append(timed(depth))
        rates.append(rate())
    median = {depth: statistics.median(times) for depth, times in took.items()}
    for depth in Depth:
        print(
            f"  {depth:9} {median[depth]:8.2f} s ({min(took[depth]):.2f} to {max(took[depth]):.2f})  "
            f"{count / median[depth]:>11,.0f} receipts/s  {median[Depth.THOROUGH] / median[depth]:5.1f} times thorough"
        )
    raw = statistics.median(rates)
    print(f"  Ed25519 alone: {raw:,.0f} a second; thorough is {count / median[Depth.THOROUGH] / raw:.2f} of that")


def main() -> None:
    """Measure and print."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--receipts", type=int, default=100, help="of each device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=cache / "usbupdate-benchmarks", help="where the fleet is kept")
    parser.add_argument("--alone", action="store_true", help="only the verdicts alone, in one process")
    given = parser.parse_args()
    count = given.devices * given.receipts
    stick, known = fleet(given.folder, given.devices, given.receipts)
    size = sum(path.stat().st_size for path in stick.rglob("receipts.jsonl"))
    print(f"{count:,} receipts of {given.devices:,} devices, {size / count:,.0f} bytes each; load {os.getloadavg()[0]:.1f}")
    if not given.alone:
        print(f"The whole command, {CORES} cores:")
        measure(given.rounds, count, partial(command, stick, known), partial(bare, stick, CORES, time.perf_counter))
        print(f"  at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:,.0f} MiB of memory in each process")
    print("The verdicts alone, in one process, by its own time:")
    measure(given.rounds, count, partial(in_this_process, stick, known), partial(bare, stick, 1, time.process_time))
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
