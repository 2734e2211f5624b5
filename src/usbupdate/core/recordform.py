"""The strict JSON form of `state.json`.

A file of an unknown format, or one that is not exactly what this module writes, stops the agent; nothing is ever reset.

Source: design, sections 6 and 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from usbupdate.core import strictjson
from usbupdate.core.authorisation import NUMBER_MAX
from usbupdate.core.manifest import IMAGE_SIZE_MAX, Blob
from usbupdate.core.receipt import Event
from usbupdate.core.record import (
    FORMAT,
    FORMAT_BEFORE_DOWNGRADES,
    Activating,
    Attempt,
    BundleOutcome,
    Committing,
    Condemning,
    DeviceRecord,
    Idle,
    Installed,
    Installing,
    KnownRoot,
    Leaving,
    Ready,
    Recording,
    Repeat,
    State,
    Trial,
)
from usbupdate.core.statement import draft_from, draft_table
from usbupdate.core.words import (
    BOOT_ID,
    DIGEST,
    SEQUENCE_MAX,
    SLOT_CLASS,
    TIME,
    VERSION_OR_NOTHING,
    BootId,
    Digest,
    Slot,
    SlotClass,
)

if TYPE_CHECKING:
    from usbupdate.core.strictjson import Fields, Json

STATE_SIZE_MAX: Final = 4 << 20
_PENDING_MAX: Final = 1000
_OUTCOMES_MAX: Final = 1000
_COUNT_MAX: Final = 1 << 31


def encode(record: DeviceRecord) -> bytes:
    """Return the one form of a record; `decode` gives back an equal value."""
    later: dict[str, Json] = {"downgrade_number": record.downgrade_number} if record.downgrade_number else {}
    return strictjson.encode(
        {
            "format": record.format,
            **later,
            "committed": _installed_table(record.committed),
            "whole": [_installed_table(record.whole[slot]) for slot in sorted(record.whole)],
            "floor": record.floor,
            "root": {"version": record.root.version, "sha256": record.root.sha256},
            "state": _state_table(record.state),
            "pending": [draft_table(draft) for draft in record.pending],
            "outcomes": [
                {
                    "bundle": bundle,
                    "event": str(outcome.event),
                    "attempts": outcome.attempts,
                    "by_restart": outcome.by_restart,
                    "retakes": outcome.retakes,
                }
                for bundle, outcome in record.outcomes.items()
            ],
            "exports_logs": record.exports_logs,
            "time_floor": record.time_floor,
            "ledger_count": record.ledger_count,
            "repeat": None
            if record.repeat is None
            else {"draft": draft_table(record.repeat.draft), "count": record.repeat.count},
        }
    )


def decode(raw: bytes) -> DeviceRecord:
    """Return the record that `raw` is.

    Raises:
        NewerFormatError: a later version of the agent wrote it.
        MalformedError: it breaks a rule of its format.
    """
    fields = strictjson.decode(raw, "state", limit=STATE_SIZE_MAX)
    number = fields.format(FORMAT)
    whole = [_installed(each) for each in fields.objects("whole", limit=2)]
    root = fields.inner("root")
    record = DeviceRecord(
        committed=_installed(fields.inner("committed")),
        whole={installed.slot: installed for installed in whole},
        floor=fields.integer("floor", 0, SEQUENCE_MAX),
        root=KnownRoot(version=root.integer("version", 1, SEQUENCE_MAX), sha256=root.digest("sha256")),
        state=_state(fields.inner("state")),
        pending=tuple(draft_from(each) for each in fields.objects("pending", limit=_PENDING_MAX)),
        outcomes=dict(_outcome(each) for each in fields.objects("outcomes", limit=_OUTCOMES_MAX)),
        repeat=_repeat(fields.inner("repeat")) if fields.given("repeat") else None,
        exports_logs=fields.flag("exports_logs"),
        time_floor=fields.text("time_floor", TIME),
        ledger_count=fields.integer("ledger_count", 0, SEQUENCE_MAX),
        downgrade_number=0 if number == FORMAT_BEFORE_DOWNGRADES else fields.integer("downgrade_number", 1, NUMBER_MAX),
    )
    root.done()
    fields.done()
    if len(record.whole) != len(whole):
        fields.fail("whole", "a slot stands twice")
    return record


def _state_table(state: State) -> dict[str, Json]:
    table: dict[str, Json] = {"name": state_name(state)}
    match state:
        case Idle(stuck):
            table |= {"stuck": stuck}
        case Installing(attempt) | Ready(attempt) | Committing(attempt):
            table |= {"attempt": _attempt_table(attempt)}
        case Activating(attempt, boot_id, tries):
            table |= {"attempt": _attempt_table(attempt), "boot_id": boot_id, "tries": tries}
        case Trial(attempt, boot_id):
            table |= {"attempt": _attempt_table(attempt), "boot_id": boot_id}
        case Condemning(attempt, failures):
            table |= {"attempt": _attempt_table(attempt), "failures": failures}
        case Recording(draft):
            table |= {"draft": draft_table(draft)}
        case Leaving(boot_id, tries):
            table |= {"boot_id": boot_id, "tries": tries}
        case _:
            assert_never(state)
    return table


def state_name(state: State) -> str:
    """Return the state's name as the file and `status` show it."""
    return type(state).__name__.lower()


def _state(fields: Fields) -> State:
    def attempt() -> Attempt:
        return _attempt(fields.inner("attempt"))

    def boot_id() -> BootId:
        return BootId(fields.text("boot_id", BOOT_ID))

    state: State
    match fields.free_text("name", limit=20):
        case "idle":
            state = Idle(fields.flag("stuck"))
        case "installing":
            state = Installing(attempt())
        case "ready":
            state = Ready(attempt())
        case "activating":
            state = Activating(attempt(), boot_id(), fields.integer("tries", 1, _COUNT_MAX))
        case "trial":
            state = Trial(attempt(), boot_id())
        case "committing":
            state = Committing(attempt())
        case "condemning":
            state = Condemning(attempt(), fields.integer("failures", 0, _COUNT_MAX))
        case "recording":
            state = Recording(draft_from(fields.inner("draft")))
        case "leaving":
            state = Leaving(boot_id(), fields.integer("tries", 1, _COUNT_MAX))
        case _:
            fields.fail("name", "not the name of a state")
    fields.done()
    return state


def _attempt_table(attempt: Attempt) -> dict[str, Json]:
    return {
        "target": _installed_table(attempt.target),
        "draft": draft_table(attempt.draft),
        "retakes": attempt.retakes,
    }


def _attempt(fields: Fields) -> Attempt:
    attempt = Attempt(
        target=_installed(fields.inner("target")),
        draft=draft_from(fields.inner("draft")),
        retakes=fields.integer("retakes", 0, _COUNT_MAX),
    )
    if attempt.draft.bundle is None:
        fields.fail("draft", "an attempt without a bundle")
    fields.done()
    return attempt


def _installed_table(installed: Installed) -> dict[str, Json]:
    return {
        "slot": str(installed.slot),
        "version": installed.version,
        "sequence": installed.sequence,
        "images": {name: {"sha256": image.sha256, "size": image.size} for name, image in sorted(installed.images.items())},
    }


def _installed(fields: Fields) -> Installed:
    images = fields.inner("images")
    found: dict[SlotClass, Blob] = {}
    for name in images.names():
        if not SLOT_CLASS.fullmatch(name):
            images.fail(name, "not a slot class")
        image = images.inner(name)
        found[SlotClass(name)] = Blob(image.digest("sha256"), image.integer("size", 1, IMAGE_SIZE_MAX))
        image.done()
    installed = Installed(
        slot=fields.choice("slot", Slot),
        version=fields.text("version", VERSION_OR_NOTHING),
        sequence=fields.integer("sequence", 0, SEQUENCE_MAX),
        images=found,
    )
    fields.done()
    return installed


def _outcome(fields: Fields) -> tuple[Digest, BundleOutcome]:
    bundle = Digest(fields.text("bundle", DIGEST))
    outcome = BundleOutcome(
        event=fields.choice("event", Event),
        attempts=fields.integer("attempts", 1, _COUNT_MAX),
        by_restart=fields.flag("by_restart"),
        retakes=fields.integer("retakes", 0, _COUNT_MAX),
    )
    fields.done()
    return bundle, outcome


def _repeat(fields: Fields) -> Repeat:
    repeat = Repeat(draft_from(fields.inner("draft")), fields.integer("count", 1, _COUNT_MAX))
    fields.done()
    return repeat
