"""One policy for entries of a file that cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path

from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)

_NAMED = 20
_NAMED_IN_ERRORS = 3


class EntryError(ValueError):
    """An entry that cannot be used; the message goes on from its name: "has no id"."""


class LeftOut:
    """Entries of one file that are left out: each is named in the log, and they are counted.

    Attributes:
        count: number of entries so far.
    """

    def __init__(self, path: Path, kind: str, max_share: float, *, hint: str = "") -> None:
        """Begin without any.

        Args:
            path: the file.
            kind: of the entries, the name of their list: "annotations".
            max_share: share of the entries above which the file is refused, in [0, 1].
            hint: what to do about it, for the error.

        Raises:
            UserError: a share out of range.
        """
        if not 0 <= max_share <= 1:
            raise UserError(f"data.max_bad_entries={max_share}: expected a share from 0 to 1.")
        self.path, self.kind, self.max_share, self.hint = path, kind, max_share, hint
        self.count = 0
        self._named: list[str] = []

    def add(self, number: int, reason: object) -> None:
        """Leave out entry `number`, which `reason` goes on about: "has no id"."""
        self.count += 1
        if len(self._named) < _NAMED:
            self._named.append(f"{self.kind}[{number}] {reason}")

    def finish(self, total: int) -> None:
        """Say what is left out of `total` entries.

        Raises:
            UserError: more than `max_share` of them.
        """
        if not self.count:
            return
        share = f"{self.path}: {self.count} of {total} {self.kind}"
        if self.count > self.max_share * total:
            raise UserError(
                f"{share} cannot be used, more than data.max_bad_entries={self.max_share:g} allows "
                f"({self._list(_NAMED_IN_ERRORS)}){self.hint}."
            )
        log.warning("%s cannot be used and are left out: %s.", share, self._list(_NAMED))

    def _list(self, most: int) -> str:
        shown = self._named[:most]
        more = self.count - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")
