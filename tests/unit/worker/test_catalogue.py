"""The catalogue is read again when it must be, and only then."""

from __future__ import annotations

from datetime import date

import pytest

from shared.errors import DatabaseUnavailable
from shared.recommender.id_map import AssetIdMap
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


def test_trailing_returns_are_read_once_for_the_date_of_a_model_and_again_for_another_date(store: FakeStore) -> None:
    clock = FakeClock()
    catalogue = Catalogue(store, check_seconds=1.0, clock=clock)
    for day in (1, 1, 2):
        for _ in range(3):
            catalogue.displays(["GR1"], as_of=date(2020, 8, day))
            catalogue.displays(["GR1"])  # a click: its date does not matter
        assert store.display_date == date(2020, 8, day)
    assert store.display_reads == 2
    store.tables.snapshots["close_prices"] = store.tick()
    clock.advance(1.0)
    catalogue.refresh()
    assert (store.display_reads, store.display_date) == (3, date(2020, 8, 2))


def test_a_failed_read_of_another_date_is_tried_again(store: FakeStore) -> None:
    catalogue = Catalogue(store)
    catalogue.displays(["GR1"], as_of=date(2020, 8, 1))
    store.available = False
    with pytest.raises(DatabaseUnavailable):
        catalogue.displays(["GR1"], as_of=date(2020, 8, 2))
    store.available = True
    catalogue.displays(["GR1"], as_of=date(2020, 8, 2))
    assert store.display_date == date(2020, 8, 2)


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


def test_the_view_of_a_model_is_made_once_and_again_after_a_load(store: FakeStore) -> None:
    clock = FakeClock()
    catalogue = Catalogue(store, check_seconds=1.0, clock=clock)
    id_map, other = AssetIdMap(("GR1", "GR2")), AssetIdMap(("GR2",))
    first = catalogue.view(id_map)
    assert first.listed.tolist() == [True, False]
    assert first.risk_level[0] == 3
    assert catalogue.view(id_map) is first
    assert catalogue.view(other).listed.tolist() == [False]
    store.tables.displays["GR1"] = display_of("GR1", assetcategory="Bond", asset_sub_category="Government")
    store.tables.displays["GR2"] = display_of("GR2")
    store.tables.snapshots["asset_information"] = store.tick()
    clock.advance(1.0)
    catalogue.refresh()
    assert catalogue.view(id_map).listed.tolist() == [True, True]
    assert catalogue.view(id_map).risk_level.tolist() == [1, 3]


def test_the_view_follows_a_reading_that_a_miss_caused(store: FakeStore) -> None:
    catalogue = Catalogue(store)
    id_map = AssetIdMap(("GR1", "GR2"))
    catalogue.view(id_map)
    store.tables.displays["GR2"] = display_of("GR2")
    catalogue.displays(["GR2"])
    assert catalogue.view(id_map).listed.all()


def test_the_snapshot_is_the_one_that_the_assets_were_read_after(store: FakeStore) -> None:
    clock = FakeClock()
    catalogue = Catalogue(store, check_seconds=1.0, clock=clock)
    before = catalogue.snapshot
    store.tables.snapshots["close_prices"] = store.tick()
    catalogue.displays(["missing"])
    assert catalogue.snapshot == before
    clock.advance(1.0)
    catalogue.refresh()
    assert catalogue.snapshot != before
