"""The catalogue is read again when it must be, and only then."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock
from tests.fakes_store import FakeStore, display_of
from worker.catalogue import Catalogue


@pytest.fixture
def store() -> FakeStore:
    store = FakeStore()
    store.tables.displays["GR1"] = display_of("GR1")
    return store


def test_known_assets_are_answered_from_the_cache(store: FakeStore) -> None:
    catalogue = Catalogue(store)
    for _ in range(5):
        assert catalogue.displays(["GR1"]) == {"GR1": display_of("GR1")}
    assert store.display_reads == 1


def test_an_asset_that_was_loaded_meanwhile_is_found_on_the_first_miss(store: FakeStore) -> None:
    catalogue = Catalogue(store)
    catalogue.displays(["GR1"])
    store.tables.displays["GR2"] = display_of("GR2")
    assert set(catalogue.displays(["GR1", "GR2", "GR3"])) == {"GR1", "GR2"}


def test_a_new_snapshot_is_read_within_the_check_interval(store: FakeStore) -> None:
    clock = FakeClock()
    catalogue = Catalogue(store, check_seconds=1.0, clock=clock)
    catalogue.refresh()
    store.tables.displays["GR1"] = display_of("GR1", current_price=9.99)
    clock.advance(1.0)
    catalogue.refresh()
    assert catalogue.displays(["GR1"])["GR1"].current_price == 3.76
    store.tables.snapshots["close_prices"] = store.tick()
    clock.advance(0.5)
    catalogue.refresh()
    assert catalogue.displays(["GR1"])["GR1"].current_price == 3.76
    clock.advance(0.5)
    catalogue.refresh()
    assert catalogue.displays(["GR1"])["GR1"].current_price == 9.99
