"""The keys within reach of the person at this computer, each opened at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.errors import KeyLockedError, UselessKeyError
from usbupdate.packager import keys

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from securesystemslib.signer import Key, Signer

    from usbupdate.packager.keys import Passphrases


class KeyRing:
    """Opens the private half of a public key, if any reference leads to it.

    Args:
        references: key references by key id; those of absent people may stand among them.
        extra: references that a person gives for this occasion.
        ask: who is asked for passphrases.

    Raises:
        OfficeKeyError: one of `extra` is no key.
    """

    def __init__(self, references: Mapping[str, str], ask: Passphrases, extra: Sequence[str] = ()) -> None:
        self._given = {keys.public_key(each, ask).keyid: each for each in extra}
        self._references = {**references, **self._given}
        self._ask = ask
        self._opened: dict[str, Signer | None] = {}

    def signer(self, key: Key) -> Signer | None:
        """Return what signs for `key`, or None if it is not within reach.

        Raises:
            OfficeKeyError: a key that was given for this occasion did not open.
        """
        if key.keyid not in self._opened:
            self._opened[key.keyid] = self._open(key)
        return self._opened[key.keyid]

    def require_known(self, known: Container[str]) -> None:
        """Refuse keys that were given for this occasion and that nobody asks for.

        Raises:
            UselessKeyError: naming the first.
        """
        for keyid, reference in self._given.items():
            if keyid not in known:
                raise UselessKeyError(key=reference)

    def _open(self, key: Key) -> Signer | None:
        reference = self._references.get(key.keyid)
        if reference is None:
            return None
        try:
            return keys.open_signer(reference, key, self._ask)
        except KeyLockedError:
            # Somebody else's key, under somebody else's passphrase, must not keep this person from signing.
            if key.keyid in self._given:
                raise
            return None
