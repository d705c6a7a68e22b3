"""Any sequence of good, bad, shrunken, empty and killed loads leaves the last accepted one, on a store in memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import date

from hypothesis import settings

from shared.far_trans.loading import ReferenceStore
from tests.fakes_reference import FakeReferenceStore
from tests.load_histories import LoadHistory


class InMemory(LoadHistory):
    def __init__(self) -> None:
        super().__init__()
        self._store = FakeReferenceStore(today=date(2024, 2, 28))

    def store(self) -> AbstractContextManager[ReferenceStore]:
        return nullcontext(self._store)

    def read_tables(self) -> Mapping[str, bytes]:
        return self._store.tables


InMemory.TestCase.settings = settings(max_examples=100, stateful_step_count=12, deadline=None)
TestInMemory = InMemory.TestCase
