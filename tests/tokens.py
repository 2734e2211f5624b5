"""Tokens of SoftHSM2 in a folder of a test: what a YubiKey or an HSM is to the office, without the hardware."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass, Token, TokenFlag
from pkcs11.util.ec import encode_named_curve_parameters

PIN, WRONG_PIN, _SO_PIN = "135790", "246800", "8642"
MODULE: Final = next(
    (str(each) for each in (*Path("/usr/lib").glob("**/libsofthsm2.so"), *Path("/usr/local/lib").glob("**/libsofthsm2.so"))), ""
)

needs_softhsm = pytest.mark.skipif(
    not MODULE or shutil.which("softhsm2-util") is None, reason="SoftHSM2 is not here: apt-get install softhsm2"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """All the tokens that are plugged in."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to see these tokens and no others."""
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf"), "PYKCS11LIB": MODULE}

    def prepare(self) -> None:
        """Have a place for tokens, and none yet."""
        (self.folder / "tokens").mkdir(parents=True)
        settings = f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
        (self.folder / "softhsm2.conf").write_text(settings)

    def plug_in(self, label: str) -> None:
        """Add a token."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", _SO_PIN]
        subprocess.run(command, env={**os.environ, **self.environment}, check=True, capture_output=True, timeout=60)
        pkcs11.unload(MODULE)

    def make_key(self, label: str, number: int, name: str, curve: str = "secp256r1", *, shown: bool = True) -> None:
        """Make a pair of keys on a token; one that is not `shown` shows its public half only to who has the PIN."""
        with self.token(label).open(rw=True, user_pin=PIN) as session:
            kind = KeyType.EC_EDWARDS if curve == "ed25519" else KeyType.EC
            asked = {Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.101.112" if curve == "ed25519" else curve)}
            parameters = session.create_domain_parameters(kind, asked, local=True)
            parameters.generate_keypair(
                id=bytes([number]), label=name, store=True, public_template={Attribute.PRIVATE: not shown}
            )

    def replace_key(self, label: str, number: int, name: str) -> None:
        """Put another key in the place of one, under the same id and name."""
        with self.token(label).open(rw=True, user_pin=PIN) as session:
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
                for each in session.get_objects({Attribute.CLASS: kind, Attribute.ID: bytes([number])}):
                    each.destroy()
        self.make_key(label, number, name)

    def token(self, label: str) -> Token:
        """Return one token as the module shows it now."""
        return pkcs11.lib(MODULE).get_token(token_label=label)

    def was_pin_wrong(self, label: str) -> bool:
        """Tell whether a token has seen a wrong PIN since the last right one."""
        return TokenFlag.USER_PIN_COUNT_LOW in self.token(label).flags
