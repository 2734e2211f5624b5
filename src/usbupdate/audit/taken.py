"""Verdicts on their way into a file: each is let go once it is written, and how good they were is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbupdate.audit.verdict import require_good

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usbupdate.audit.verdict import Verdict


class Taken:
    """Verdicts that can be taken once, one by one; `bare` are those taken so far, without their receipts."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self._verdicts = verdicts
        self.bare: list[Verdict] = []

    def __iter__(self) -> Iterator[Verdict]:
        for verdict in self._verdicts:
            yield verdict
            self.bare.append(verdict.bare())

    def require_good(self) -> None:
        """Return only if all that were taken are good.

        Raises:
            EvidenceBrokenError: some evidence is not in order.
            NotEnrolledError: all of it is, but some of it is signed by keys that nobody vouched for.
        """
        require_good(self.bare)
