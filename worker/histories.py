"""Histories of customers, read once and kept while nothing can have changed them: a cache bounded in bytes.

What a history rests on changes in three ways only, and each of them is noticed:
- an interaction, an order or a profile arrives: its batch forgets the customer, whatever becomes of the batch;
- a load, an append, an undo or an erasure: every transaction reads a marker before it uses what was kept;
- another worker owns the customer's partitions: an assignment, a rewind and a failure forget everything, and the
  transaction that stores a list compares the offsets of these partitions (MessageBuffer.starts).
Rows that the retention removes are not noticed: they count until the history is read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

from shared.ports import Message
from shared.recommender.types import CustomerHistory
from worker.ports import WorkerTransaction

# Bytes of CPython objects (measured: test_histories): a customer, an asset, and an interaction.
_OF_CUSTOMER, _OF_ASSET, _OF_INTERACTION = 600, 75, 225


class Histories:
    """The histories that were used last, at most `most_bytes` of them; 0 keeps none. Used by one thread."""

    def __init__(self, *, most_bytes: int = 0) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, CustomerHistory] = OrderedDict()  # the one that was used last is at the end
        self._bytes = 0
        self._loads: str | None = None  # the marker that held when they were read
        self._read: dict[str, CustomerHistory] = {}  # in the transaction that is open

    def __len__(self) -> int:
        return len(self._kept)

    def fetch(self, customer_ids: Collection[str], *, transaction: WorkerTransaction) -> Mapping[str, CustomerHistory]:
        """Return the histories of these customers as `transaction` sees them; `keep` makes those that it read known."""
        if not self._most_bytes:
            return transaction.fetch_histories(list(customer_ids))
        loads = transaction.fetch_load_marker()  # before anything is read: what is read later is as new or newer
        if loads != self._loads:
            self.clear()
            self._loads = loads
        histories: dict[str, CustomerHistory] = {}
        for customer_id in customer_ids:
            if (kept := self._kept.get(customer_id)) is not None:
                self._kept.move_to_end(customer_id)
                histories[customer_id] = kept
        missing = [customer_id for customer_id in customer_ids if customer_id not in histories]
        if missing:
            self._read = dict(transaction.fetch_histories(missing))
            histories |= self._read
        return histories

    def keep(self) -> None:
        """Keep what was read since the last call: its transaction is committed, or wrote nothing."""
        read, self._read = self._read, {}
        for customer_id, history in read.items():
            self._remove(customer_id)
            self._kept[customer_id] = history
            self._bytes += size_bytes(history)
        while self._bytes > self._most_bytes:
            self._remove(next(iter(self._kept)))

    def forget(self, writes: Iterable[Message]) -> None:
        """Forget the customers of these messages; call it before a transaction stores them."""
        for message in writes:
            self._remove((message.key or b"").decode(errors="replace"))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._read = {}
        self._bytes = 0

    def _remove(self, customer_id: str) -> None:
        if (history := self._kept.pop(customer_id, None)) is not None:
            self._bytes -= size_bytes(history)


def size_bytes(history: CustomerHistory) -> int:
    """Return about how much memory a kept history takes."""
    assets = len(history.ever_owned) + len(history.dismissed)
    return _OF_CUSTOMER + _OF_ASSET * assets + _OF_INTERACTION * len(history.interactions)
