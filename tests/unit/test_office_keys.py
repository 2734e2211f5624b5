from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, strategies as st

from tests.matrix import By, On, attack
from usbupdate.errors import KeyExistsError, KeyLockedError, KeyUnusableError, OfficeKeyError, TokenUriError, UnusableFileError
from usbupdate.packager import keys
from usbupdate.packager.keyring import KeyRing
from usbupdate.packager.keys import Algorithm, no_passphrase
from usbupdate.packager.tokenuri import TokenKey, parse

if TYPE_CHECKING:
    from pathlib import Path

HERS: Final = "correct horse"
HIS: Final = "battery staple"


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_new_key_signs_and_its_public_half_verifies(tmp_path: Path, algorithm: Algorithm) -> None:
    made = keys.create(tmp_path / "alice.pem", algorithm=algorithm)
    public = keys.public_key(str(tmp_path / "alice.pem.pub"), no_passphrase)
    assert public.keyid == made.keyid
    signer = keys.open_signer(str(tmp_path / "alice.pem"), public, no_passphrase)
    assert signer is not None
    public.verify_signature(signer.sign(b"release"), b"release")


def test_a_private_key_is_its_owners_only(tmp_path: Path) -> None:
    keys.create(tmp_path / "alice.pem")
    assert stat.S_IMODE((tmp_path / "alice.pem").stat().st_mode) == 0o600


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    keys.create(tmp_path / "alice.pem")
    before = (tmp_path / "alice.pem").read_bytes()
    with pytest.raises(KeyExistsError):
        keys.create(tmp_path / "alice.pem")
    assert (tmp_path / "alice.pem").read_bytes() == before


def test_a_key_cannot_be_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError):
        keys.create(tmp_path / "nowhere" / "alice.pem")


def test_a_protected_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "alice.pem"
    made = keys.create(path, passphrase=HERS)
    assert b"ENCRYPTED" in path.read_bytes()
    assert keys.open_signer(str(path), made, lambda _: HERS) is not None
    with pytest.raises(KeyLockedError, match="missing"):
        keys.open_signer(str(path), made, no_passphrase)
    with pytest.raises(KeyLockedError, match="wrong"):
        keys.open_signer(str(path), made, lambda _: "wrong")


def test_the_public_half_of_a_protected_key_needs_no_passphrase(tmp_path: Path) -> None:
    made = keys.create(tmp_path / "alice.pem", passphrase=HERS)
    assert keys.public_key(str(tmp_path / "alice.pem"), no_passphrase).keyid == made.keyid
    (tmp_path / "alice.pem.pub").unlink()
    with pytest.raises(KeyLockedError):
        keys.public_key(str(tmp_path / "alice.pem"), no_passphrase)


def test_a_uri_means_the_same_key_as_the_path(tmp_path: Path) -> None:
    made = keys.create(tmp_path / "alice.pem")
    uri = f"file2:{tmp_path / 'alice.pem'}"
    assert keys.public_key(uri, no_passphrase).keyid == made.keyid
    signer = keys.open_signer(uri, made, no_passphrase)
    assert signer is not None
    assert signer.public_key.keyid == made.keyid


@pytest.mark.parametrize("uri", ["hsm:2", "hsm:two", "pkcs11:id=%02"])
def test_a_token_that_does_not_answer_ends_in_a_sentence(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(OfficeKeyError):
        keys.public_key(uri, no_passphrase)


@attack(
    By.NETWORK,
    On.OFFICE,
    "the reference of a key leads to a program or a service that signs",
    "a reference is a file or a token, and any other URI is refused before it is asked",
)
@pytest.mark.parametrize("uri", ["gnupg:", "gnupg:folder/of/theirs", "awskms:some-key", "gcpkms:some/key"])
def test_a_reference_that_starts_a_program_or_asks_a_service_is_refused_with_a_sentence(tmp_path: Path, uri: str) -> None:
    made = keys.create(tmp_path / "alice.pem")
    for ask in (lambda: keys.public_key(uri, no_passphrase), lambda: keys.open_signer(uri, made, no_passphrase)):
        with pytest.raises(KeyUnusableError) as refused:
            ask()
        assert str(refused.value) == f"The key {uri} cannot be used: only file2, pkcs11, hsm can be asked for it."


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("hsm:", TokenKey({}, b"\x02")),
        ("hsm:2?label=YubiKey+PIV+%2315835999", TokenKey({"token": "YubiKey PIV #15835999"}, b"\x02")),
        ("hsm:258", TokenKey({}, b"\x01\x02")),
        ("pkcs11:token=YubiKey%20PIV%20%2315835999;id=%02", TokenKey({"token": "YubiKey PIV #15835999"}, b"\x02")),
        ("pkcs11:serial=ab12;object=root%20key;type=private", TokenKey({"serial": "ab12"}, None, "root key")),
        ("pkcs11:model=m;manufacturer=w;id=%01%02;object=a", TokenKey({"model": "m", "manufacturer": "w"}, b"\x01\x02", "a")),
    ],
)
def test_a_uri_names_one_key_on_one_token(uri: str, named: TokenKey) -> None:
    assert parse(uri) == named


@pytest.mark.parametrize(
    "uri",
    [
        "hsm:two",
        "hsm:2?label=",
        "hsm:2?label=a&module-path=/evil.so",
        "hsm:2?slot=3",
        "hsm:9876543210",
        "pkcs11:",
        "pkcs11:token=alice",
        "pkcs11:token=alice;id=",
        "pkcs11:token=alice;id=%01;id=%02",
        "pkcs11:token=alice;id=%01;slot-id=3",
        "pkcs11:token=alice;id=%01?module-path=/evil.so",
        "pkcs11:token=alice;id=%01?pin-value=1234",
        "pkcs11:token=alice;id=%01?pin-source=/etc/pin",
    ],
)
def test_a_uri_that_names_no_key_or_more_than_a_key_is_refused(uri: str) -> None:
    with pytest.raises(TokenUriError) as refused:
        parse(uri)
    assert "1234" not in str(refused.value)


def test_absent_people_do_not_sign_and_are_no_error(tmp_path: Path) -> None:
    made = keys.create(tmp_path / "bob.pem")
    assert keys.open_signer(str(tmp_path / "bob.pem.pub"), made, no_passphrase) is None
    assert keys.open_signer(str(tmp_path / "carol.pem"), made, no_passphrase) is None
    assert KeyRing({made.keyid: "hsm:2"}, no_passphrase).signer(made) is None


def test_another_key_in_place_of_the_known_one_does_not_sign(tmp_path: Path) -> None:
    alice = keys.create(tmp_path / "alice.pem")
    keys.create(tmp_path / "mallory.pem")
    with pytest.raises(KeyUnusableError):
        keys.open_signer(str(tmp_path / "mallory.pem"), alice, no_passphrase)


def test_a_kind_of_key_that_devices_do_not_use_is_refused(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    path = tmp_path / "rsa.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyUnusableError):
        keys.public_key(str(path), no_passphrase)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda noise: b"-----BEGIN PRIVATE KEY-----\n" + noise))
def test_noise_is_no_key(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "key.pem"
    path.write_bytes(noise)
    with pytest.raises(OfficeKeyError):
        keys.public_key(str(path), no_passphrase)


@pytest.mark.parametrize("name", ["missing.pem", "a\0b", "."])
def test_what_is_no_file_is_no_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyUnusableError):
        keys.public_key(f"{tmp_path}/{name}", no_passphrase)


def test_somebody_elses_passphrase_does_not_keep_me_from_signing(tmp_path: Path) -> None:
    bob = keys.create(tmp_path / "bob.pem", passphrase=HIS)
    mine = keys.create(tmp_path / "mine.pem", passphrase=HERS)
    ring = KeyRing({key.keyid: str(tmp_path / name) for key, name in ((bob, "bob.pem"), (mine, "mine.pem"))}, lambda _: HERS)
    ring.reach([bob, mine])
    assert ring.signer(bob) is None
    assert ring.signer(mine) is not None
    assert [each.problem for each in ring.unopened({bob.keyid, mine.keyid})] == ["its passphrase is wrong"]
    given = KeyRing({}, lambda _: HIS, [str(tmp_path / "bob.pem")])
    assert given.signer(bob) is not None
