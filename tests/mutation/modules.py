"""Which tests a module's mutants have to get past: those that are about it, and are quick."""

from __future__ import annotations

from typing import Final

_TRUST: Final = (
    "tests/attack/test_trust.py",
    # It takes as long as a tenth of the others together.
    "--deselect=tests/attack/test_trust.py::test_one_refresh_accepts_256_roots_and_the_next_goes_on",
)

MODULES: Final = {
    "core/policy.py": ("tests/unit/test_policy.py",),
    "core/lifecycle.py": ("tests/unit/test_lifecycle.py",),
    "core/authorisation.py": ("tests/property/test_authorisation.py",),
    "core/index.py": ("tests/property/test_index.py",),
    "core/chunks.py": ("tests/property/test_chunks.py",),
    "core/frames.py": ("tests/property/test_chunks.py", "tests/property/test_delta.py"),
    "core/delta.py": ("tests/property/test_delta.py",),
    "core/manifest.py": ("tests/property/test_manifest.py",),
    "core/merkle.py": ("tests/property/test_merkle.py",),
    "core/checkpoint.py": ("tests/unit/test_checkpoint.py",),
    "core/identity.py": ("tests/property/test_identity.py",),
    "core/payload.py": ("tests/unit/test_signed_files.py",),
    "core/logparts.py": ("tests/unit/test_logparts.py",),
    "core/layout.py": ("tests/unit/test_layout.py",),
    "core/rootrules.py": ("tests/unit/test_rootrules.py",),
    "core/timefloor.py": ("tests/unit/test_timefloor.py", "tests/unit/test_trust_time.py"),
    "core/truststate.py": ("tests/unit/test_trust_state.py",),
    "core/tuflibrary.py": ("tests/unit/test_tuf_library.py", "tests/unit/test_trust_time.py", *_TRUST),
    "core/stickfetcher.py": ("tests/unit/test_stick_fetcher.py",),
    "core/trust.py": ("tests/unit/test_targets.py", "tests/unit/test_whole_stick.py", "tests/unit/test_trust_time.py", *_TRUST),
    "core/strictjson.py": ("tests/unit/test_strictjson.py", "tests/property/test_strictjson.py"),
    "core/statement.py": ("tests/property/test_statement.py",),
    "core/statementform.py": ("tests/property/test_statement.py", "tests/property/test_envelope.py"),
    "core/envelope.py": ("tests/unit/test_envelope.py", "tests/property/test_envelope.py"),
    "core/cosignature.py": ("tests/unit/test_cosignature.py", "tests/property/test_acknowledgements.py"),
    "core/acknowledged.py": ("tests/property/test_acknowledgements.py",),
    "core/acknowledgements.py": ("tests/property/test_acknowledgements.py",),
    "core/acknowledgers.py": ("tests/property/test_acknowledgements.py",),
}
