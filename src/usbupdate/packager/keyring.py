"""The keys within reach of the person at this computer, each opened at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.packager import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        self._references = {**references, **{keys.public_key(each, ask).keyid: each for each in extra}}
        self._ask = ask
        self._opened: dict[str, Signer | None] = {}

    def signer(self, key: Key) -> Signer | None:
        """Return what signs for `key`, or None if it is not within reach."""
        if key.keyid not in self._opened:
            reference = self._references.get(key.keyid)
            self._opened[key.keyid] = None if reference is None else keys.open_signer(reference, key, self._ask)
        return self._opened[key.keyid]
