"""The keys within reach of the person at this computer, each opened at most once, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usbupdate.core.plaintext import printable
from usbupdate.errors import KeyLockedError, KeyUnusableError, OfficeKeyError, TokenPinError, UselessKeyError
from usbupdate.packager import keys

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from securesystemslib.signer import Key, Signer

    from usbupdate.packager.keys import Passphrases, Secret

_TEXT_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Unopened:
    """A key that lies within reach and could not be used, and what that means."""

    keyid: str
    reference: str
    problem: str


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
        self._given = {key.keyid: (key, each) for each in extra for key in [keys.public_key(each, ask)]}
        self._references = {**references, **{keyid: each for keyid, (_, each) in self._given.items()}}
        self._ask = ask
        self._opened: dict[str, Signer | None] = {}
        self._unopened: dict[str, Unopened] = {}
        self._right: set[str] = set()
        self._wrong: dict[str, OfficeKeyError] = {}

    @property
    def given(self) -> Mapping[str, str]:
        """The references that were given for this occasion, by key id."""
        return {keyid: each for keyid, (_, each) in self._given.items()}

    def signer(self, key: Key) -> Signer | None:
        """Return what signs for `key`, or None if it is not within reach.

        Raises:
            OfficeKeyError: a key that was given for this occasion did not open.
        """
        if key.keyid not in self._opened:
            self._opened[key.keyid] = self._open(key)
        return self._opened[key.keyid]

    def reach(self, wanted: Iterable[Key]) -> None:
        """Open these keys and all that were given for this occasion, so that later nobody is asked and nothing fails.

        A passphrase fits the keys of one person: those that it does not open are left out, but one that opens none is a slip.

        Raises:
            OfficeKeyError: a key that was given did not open, or a passphrase fits none.
        """
        for key, _ in self._given.values():
            self.signer(key)
        for each in wanted:
            self.signer(each)
        for answer, error in self._wrong.items():
            if answer not in self._right:
                raise error

    def unopened(self, keyids: Container[str]) -> tuple[Unopened, ...]:
        """Return those keys that lie within reach and could not be used."""
        return tuple(each for keyid, each in self._unopened.items() if keyid in keyids)

    def give_up(self, key: Key, problem: str) -> None:
        """Take notice that a key did not sign.

        Raises:
            KeyUnusableError: it was given for this occasion.
        """
        reference = self._references.get(key.keyid, key.keyid)
        if key.keyid in self._given:
            raise KeyUnusableError(key=reference, problem=problem)
        self._opened[key.keyid] = None
        self._unopened[key.keyid] = _unopened(key, reference, problem)

    def require_known(self, known: Container[str]) -> None:
        """Refuse keys that were given for this occasion and that nobody asks for.

        Raises:
            UselessKeyError: naming the first.
        """
        for keyid, reference in self.given.items():
            if keyid not in known:
                raise UselessKeyError(key=reference)

    def _open(self, key: Key) -> Signer | None:
        reference = self._references.get(key.keyid)
        if reference is None:
            return None
        answers: list[str] = []

        def ask(secret: Secret) -> str | None:
            answer = self._ask(secret)
            answers.extend([] if answer is None else [answer])
            return answer

        try:
            signer = keys.open_signer(reference, key, ask)
        except OfficeKeyError as error:
            # Somebody else's key, under somebody else's passphrase, must not keep this person from signing.
            if key.keyid in self._given:
                raise
            if isinstance(error, KeyLockedError | TokenPinError):
                self._wrong |= {answer: error for answer in answers if answer not in self._wrong}
            brief = error.problem if isinstance(error, KeyLockedError | KeyUnusableError | TokenPinError) else str(error)
            problem = brief.removeprefix(f"The key {reference} ").removesuffix(".")
            self._unopened[key.keyid] = _unopened(key, reference, problem)
            return None
        if signer is None and key.keyid in self._given:
            raise KeyUnusableError(key=reference, problem="it is a public key, and only a private one signs")
        self._right.update(answers)
        return signer


def _unopened(key: Key, reference: str, problem: str) -> Unopened:
    """Return what is told of a key, in words that are all seen: a reference may come from a folder that travels."""
    return Unopened(key.keyid, printable(reference, _TEXT_MAX), printable(problem, _TEXT_MAX))
