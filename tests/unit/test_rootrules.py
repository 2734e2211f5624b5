"""What a metadata document must be before anybody asks who signed it, and how keys are told apart."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from tests.attack.metadata_office import ROLES, START, TIME, Office, new_key
from usbupdate.core.layout import metadata_path
from usbupdate.core.rootrules import (
    SIZE_MAX,
    is_signed,
    read_document,
    read_root,
    root_of,
    signed_time,
    signers,
    timestamp_keys,
    title,
)
from usbupdate.core.words import SEQUENCE_MAX
from usbupdate.errors import MetadataMalformedError, RepeatedKeyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Change = Callable[[dict[str, Any]], None]

OFFICE = Office()


def raw_of(role: str, office: Office = OFFICE) -> bytes:
    return office.files[metadata_path(role, None if role == Timestamp.type else 1)]


def changed(role: str, change: Change) -> bytes:
    table = json.loads(raw_of(role))
    change(table)
    return json.dumps(table).encode()


def problem_of(role: str, raw: bytes) -> str:
    with pytest.raises(MetadataMalformedError) as caught:
        read_document(role, raw)
    assert caught.value.role == role
    return caught.value.problem


def root_with(*signers_of_timestamp: CryptoSigner, threshold: int = 1) -> Root:
    office = Office()
    office.signers[Timestamp.type] = list(signers_of_timestamp)
    office.thresholds[Timestamp.type] = threshold
    office.publish_root()
    return office.root


# --- The form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_genuine_document_is_read_as_it_is(role: str) -> None:
    document = read_document(role, raw_of(role))
    assert (document.raw, document.signed.type, document.version) == (raw_of(role), role, 1)
    assert list(document.signatures) == [OFFICE.signers[role][0].public_key.keyid]
    assert json.loads(document.signed_bytes) == json.loads(raw_of(role))["signed"]


@pytest.mark.parametrize("role", ROLES)
def test_a_document_in_the_place_of_another_role_is_malformed(role: str) -> None:
    for other in set(ROLES) - {role}:
        assert problem_of(role, raw_of(other)) == "it belongs to another role"


@pytest.mark.parametrize("role", ROLES)
def test_what_is_no_strict_json_says_where(role: str) -> None:
    assert problem_of(role, b"{") == "whole: not JSON in UTF-8"
    assert problem_of(role, raw_of(role)[:-1] + b',"signed":{}}') == "whole: a key stands twice in one object"
    assert problem_of(role, raw_of(role).ljust(SIZE_MAX[role] + 1)) == f"whole: larger than {SIZE_MAX[role]} bytes"
    read_document(role, raw_of(role).ljust(SIZE_MAX[role]))


@pytest.mark.parametrize("role", ROLES)
def test_what_is_not_of_the_form_of_tuf_is_malformed(role: str) -> None:
    assert problem_of(role, b"{}") == "not of the form that TUF prescribes"


@pytest.mark.parametrize("value", ["AB", "a b", "0x", 5, None])
@pytest.mark.parametrize("role", ROLES)
def test_a_signature_in_another_form_than_lower_case_hexadecimal_is_malformed(role: str, value: object) -> None:
    def spell(table: dict[str, Any]) -> None:
        table["signatures"][0]["sig"] = value

    assert problem_of(role, changed(role, spell)) == "a signature is not in lower-case hexadecimal"


def test_one_signature_in_another_form_among_good_ones_is_malformed() -> None:
    def add(table: dict[str, Any]) -> None:
        table["signatures"].append({"keyid": "0" * 64, "sig": "XX"})

    assert problem_of(Targets.type, changed(Targets.type, add)) == "a signature is not in lower-case hexadecimal"


@pytest.mark.parametrize("role", ROLES)
def test_true_is_no_version(role: str) -> None:
    assert problem_of(role, changed(role, lambda table: table["signed"].update(version=True))) == "its version is not a number"


# --- The signed time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_version_is_no_larger_than_a_record_can_hold(role: str) -> None:
    def at(version: int) -> bytes:
        return changed(role, lambda table: table["signed"].update(version=version))

    assert read_document(role, at(SEQUENCE_MAX)).version == SEQUENCE_MAX
    assert problem_of(role, at(SEQUENCE_MAX + 1)) == "its version is too large"


@pytest.mark.parametrize("role", [Root.type, Timestamp.type])
def test_root_and_timestamp_say_when_they_were_signed(role: str) -> None:
    document = read_document(role, raw_of(role))
    assert isinstance(document.signed, Root | Timestamp)
    assert signed_time(document.signed) == START
    assert title(document) == f"{role} version 1 of 2026-01-01T00:00:00Z"
    wrong = f"{TIME}: not of the form YYYY-MM-DDTHH:MM:SSZ"
    assert problem_of(role, changed(role, lambda table: table["signed"].pop(TIME))) == wrong
    assert problem_of(role, changed(role, lambda table: table["signed"].update({TIME: "today"}))) == wrong


@pytest.mark.parametrize("role", [Root.type, Timestamp.type])
def test_a_document_may_be_signed_until_its_own_end_and_not_later(role: str) -> None:
    ends = json.loads(raw_of(role))["signed"]["expires"]
    read_document(role, changed(role, lambda table: table["signed"].update({TIME: ends})))
    late = ends.replace("00:00:00Z", "00:00:01Z")
    assert (
        problem_of(role, changed(role, lambda table: table["signed"].update({TIME: late}))) == f"{TIME}: later than its own end"
    )


@pytest.mark.parametrize("role", [Snapshot.type, Targets.type])
def test_snapshot_and_targets_need_no_signed_time(role: str) -> None:
    assert title(read_document(role, raw_of(role))) == f"{role} version 1"


# --- The root --------------------------------------------------------------------------------------------------------


def root_problem(change: Change) -> str:
    return problem_of(Root.type, changed(Root.type, change))


@pytest.mark.parametrize("value", [False, None])
def test_a_root_without_consistent_snapshots_is_malformed(value: object) -> None:
    wrong = "consistent_snapshot is not true"
    assert root_problem(lambda table: table["signed"].update(consistent_snapshot=value)) == wrong


def test_true_is_no_threshold() -> None:
    wrong = "roles.snapshot: its threshold is not a number"
    assert root_problem(lambda table: table["signed"]["roles"]["snapshot"].update(threshold=True)) == wrong


def test_a_role_with_a_key_that_the_root_does_not_hold_is_malformed() -> None:
    key = OFFICE.signers[Targets.type][0].public_key.keyid
    assert root_problem(lambda table: table["signed"]["keys"].pop(key)) == "roles.targets: a key is missing"


def of_the_targets_key(**fields: object) -> Change:
    def change(table: dict[str, Any]) -> None:
        table["signed"]["keys"][OFFICE.signers[Targets.type][0].public_key.keyid].update(fields)

    return change


@pytest.mark.parametrize("public", ["", "00", "zz" * 32])
@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "rsassa-pss-sha256")],
)
def test_a_root_with_a_key_that_cannot_be_read_is_malformed(kind: str, scheme: str, public: str) -> None:
    change = of_the_targets_key(keytype=kind, scheme=scheme, keyval={"public": public})
    assert root_problem(change) == "a public key cannot be read"


def test_a_root_with_a_key_of_another_kind_is_malformed() -> None:
    wrong = "a key is of a kind that usbupdate does not use"
    kind = of_the_targets_key(keytype="ml-dsa", scheme="ml-dsa-65/1", keyval={"public": "00"})
    assert root_problem(kind) == wrong


@pytest.mark.parametrize("signer", [CryptoSigner.generate_rsa, CryptoSigner.generate_ecdsa, CryptoSigner.generate_ed25519])
def test_keys_of_each_kind_are_read(signer: Callable[[], CryptoSigner]) -> None:
    office = Office()
    office.signers[Targets.type] = [signer()]
    office.publish_root()
    assert read_root(office.newest_root).version == 2


def test_one_key_that_stands_twice_in_a_role_is_named_by_the_role() -> None:
    office = Office()
    key = office.signers[Snapshot.type][0].public_key
    twin = SSlibKey("0" * 64, key.keytype, key.scheme, {"public": str(key.keyval["public"]).upper()})
    office.signers[Snapshot.type].append(CryptoSigner(office.signers[Snapshot.type][0]._private_key, twin))
    office.publish_root()
    with pytest.raises(RepeatedKeyError) as caught:
        read_document(Root.type, office.newest_root)
    assert caught.value.role == Snapshot.type


def test_a_root_that_too_few_of_its_own_keys_signed_is_none() -> None:
    assert read_root(OFFICE.first_root).version == 1
    with pytest.raises(MetadataMalformedError) as caught:
        read_root(changed(Root.type, lambda table: table.update(signatures=[])))
    assert (caught.value.role, caught.value.problem) == (Root.type, "it is not signed by enough of its own keys")


def test_another_document_is_no_root() -> None:
    with pytest.raises(MetadataMalformedError) as caught:
        root_of(read_document(Targets.type, raw_of(Targets.type)))
    assert (caught.value.role, caught.value.problem) == (Root.type, "it belongs to another role")


# --- Who signed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_document_is_signed_by_its_roles_keys_alone(role: str) -> None:
    document = read_document(role, raw_of(role))
    assert is_signed(OFFICE.root, document)
    assert signers(OFFICE.root, document) == (OFFICE.signers[role][0].public_key.keyid,)
    stranger = Office().root
    assert not is_signed(stranger, document)
    assert signers(stranger, document) == ()
    unsigned = read_document(role, changed(role, lambda table: table.update(signatures=[])))
    assert not is_signed(OFFICE.root, unsigned)


def test_signers_stand_sorted_and_only_under_ids_that_a_receipt_can_name() -> None:
    office = Office()
    odd = new_key()
    renamed = SSlibKey("a readable name", odd.public_key.keytype, odd.public_key.scheme, odd.public_key.keyval)
    office.signers[Targets.type] = [new_key(), new_key(), CryptoSigner(odd._private_key, renamed)]
    office.publish_root()
    office.sign_again(Targets.type)
    document = read_document(Targets.type, raw_of(Targets.type, office))
    ids = sorted(signer.public_key.keyid for signer in office.signers[Targets.type][:2])
    assert signers(office.root, document) == tuple(ids)


def test_the_same_is_said_however_it_is_laid_out_and_signed() -> None:
    document = read_document(Targets.type, raw_of(Targets.type))
    assert document.says_the_same(read_document(Targets.type, changed(Targets.type, lambda table: None)))
    assert document.says_the_same(read_document(Targets.type, changed(Targets.type, lambda table: table.update(signatures=[]))))
    assert not document.says_the_same(
        read_document(Targets.type, changed(Targets.type, lambda table: table["signed"].update(version=2)))
    )


# --- The timestamp keys ----------------------------------------------------------------------------------------------


def test_timestamp_keys_are_identified_by_what_makes_signatures_count() -> None:
    one, other = new_key(), new_key()
    here = timestamp_keys(root_with(one))
    assert here == timestamp_keys(root_with(one))
    assert here != timestamp_keys(root_with(other))
    assert timestamp_keys(root_with(one, other)) == timestamp_keys(root_with(other, one))
    assert timestamp_keys(root_with(one, other)) != timestamp_keys(root_with(one, other, threshold=2))
    assert here != timestamp_keys(root_with(one, other))


def test_what_identifies_timestamp_keys_stays_what_it_was() -> None:
    # It stands in the devices' floor files: another form would forget all their times.
    key = new_key()
    text = bytes.fromhex("302a300506032b6570032100") + bytes.fromhex(str(key.public_key.keyval["public"]))
    parts = (key.public_key.keyid.encode(), b"ed25519", text)
    whole = b"1" + b"".join(hashlib.sha256(part).digest() for part in parts)
    assert timestamp_keys(root_with(key)) == hashlib.sha256(whole).hexdigest()


def test_a_scheme_and_an_id_are_part_of_what_identifies_a_key() -> None:
    key = new_key()
    for field in ("keyid", "scheme"):
        names = {"keyid": key.public_key.keyid, "scheme": key.public_key.scheme, field: "another"}
        renamed = SSlibKey(names["keyid"], key.public_key.keytype, names["scheme"], key.public_key.keyval)
        root = root_with(key)
        del root.keys[key.public_key.keyid]
        root.keys[renamed.keyid] = renamed
        root.roles[Timestamp.type].keyids = [renamed.keyid]
        assert timestamp_keys(root) != timestamp_keys(root_with(key))
