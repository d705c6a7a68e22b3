"""Answers of lists that were read last, so that an unchanged list is neither fetched nor written again (decision 48).

The statement that reads a list is told which version is kept here. It returns the list unless that version still is
the customer's answer, so nothing here ever becomes wrong: an entry is used only if the database confirms it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from api.conditional_answers import Entity
from api.ports import ListVersion

# Bytes of CPython objects (measured: test_kept_lists).
_OF_ENTRY = 500


@dataclass(frozen=True, slots=True)
class KeptList:
    """The answer to a GET of this version."""

    version: ListVersion
    entity: Entity


class KeptLists:
    """One answer for each customer, those that were used last, at most `most_bytes` of them; 0 keeps none."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, KeptList] = OrderedDict()  # the one that was used last is at the end
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, customer_id: str) -> KeptList | None:
        """Return what is kept for this customer."""
        if (kept := self._kept.get(customer_id)) is not None:
            self._kept.move_to_end(customer_id)
        return kept

    def keep(self, customer_id: str, kept: KeptList) -> None:
        """Keep this in place of what is kept for the customer, and drop what was used longest ago."""
        self.drop(customer_id)
        if _size_bytes(kept) > self._most_bytes:
            return
        self._kept[customer_id] = kept
        self.bytes += _size_bytes(kept)
        while self.bytes > self._most_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, customer_id: str) -> None:
        """Forget what is kept for this customer."""
        if (kept := self._kept.pop(customer_id, None)) is not None:
            self.bytes -= _size_bytes(kept)


def _size_bytes(kept: KeptList) -> int:
    return _OF_ENTRY + kept.entity.size_bytes
