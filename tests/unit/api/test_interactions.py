"""Recording what customers do, and which assets they can do it with."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from api.catalogue import LOOKUPS_PER_SECOND, AssetCatalogue
from shared.events import InteractionRecorded, TransactionRecorded
from shared.recommender.types import InteractionType
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down, build_asset

CLICK = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}
NEW_ASSET = build_asset("NEW1", "New", "Stock", None, None, None, None, None)


@pytest.mark.parametrize("interaction_type", list(InteractionType))
def test_an_interaction_becomes_one_event_keyed_by_customer(
    client: AsgiClient, publisher: FakePublisher, interaction_type: InteractionType
) -> None:
    answer = client.post("/user_interactions", json={**CLICK, "type": interaction_type.value})
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert (published.topic, published.key) == ("interactions.recorded.v1", "C1")
    assert isinstance(published.event, InteractionRecorded)
    assert (published.event.isin, published.event.type) == ("GRS434003000", interaction_type)
    assert UUID(answer.headers["X-Request-ID"]) == published.event.event_id


@pytest.mark.parametrize("optional", [{}, {"currency": "EUR"}])
def test_an_executed_order_becomes_one_event_keyed_by_customer(
    client: AsgiClient, publisher: FakePublisher, optional: dict[str, str]
) -> None:
    body = {**CLICK, "type": "Sell", "units": 45, "total_value": 0, "transaction_id": "8061977", **optional}
    answer = client.post("/transactions", json={**body, "executed_at": "2026-01-02T00:30:00+02:00"})
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert (published.topic, published.key) == ("transactions.recorded.v1", "C1")
    assert isinstance(published.event, TransactionRecorded)
    assert (published.event.type, published.event.units, published.event.total_value) == ("Sell", 45.0, 0.0)
    assert published.event.currency == optional.get("currency")
    assert published.event.executed_at.isoformat() == "2026-01-01T22:30:00+00:00"
    assert UUID(answer.headers["X-Request-ID"]) == published.event.event_id


def test_without_an_acknowledgement_the_answer_is_503(client: AsgiClient, publisher: FakePublisher) -> None:
    publisher.failure = broker_down()
    answer = client.post("/user_interactions", json=CLICK)
    assert (answer.status_code, answer.json()["outcome"]) == (503, "unknown")
    assert "Retry-After" in answer.headers


def test_an_asset_loaded_after_the_catalogue_was_read_is_found(client: AsgiClient, reader: FakeReader) -> None:
    assert client.post("/user_interactions", json={**CLICK, "isin": "NEW1"}).status_code == 422
    reader.assets.append(NEW_ASSET)
    assert client.post("/user_interactions", json={**CLICK, "isin": "NEW1"}).status_code == 200


def test_with_the_database_away_interactions_with_known_assets_are_taken(
    client: AsgiClient, reader: FakeReader
) -> None:
    reader.unavailable = True
    assert client.post("/user_interactions", json=CLICK).status_code == 200
    assert client.post("/user_interactions", json={**CLICK, "isin": "NEW1"}).status_code == 422


def test_a_catalogue_that_was_never_read_refuses_nothing() -> None:
    reader = FakeReader(unavailable=True)
    catalogue = AssetCatalogue(reader, refresh_seconds=30)
    assert asyncio.run(catalogue.knows("ANYTHING"))
    assert reader.calls == []


def test_the_catalogue_is_read_again_after_a_load_and_only_then() -> None:
    async def load_between(reader: FakeReader) -> None:
        catalogue = AssetCatalogue(reader, refresh_seconds=30)
        await catalogue.refresh()
        await catalogue.refresh()
        assert reader.calls.count("fetch_assets") == 1
        reader.assets = [NEW_ASSET]
        reader.reference_version = "loaded again"
        await catalogue.refresh()
        page = await catalogue.page(sector=None, category=None, limit=10, offset=0)
        assert (page.total, NEW_ASSET.isin.encode() in page.assets[0]) == (1, True)

    asyncio.run(load_between(FakeReader(assets=[NEW_ASSET.model_copy(update={"isin": "OLD"})])))


def test_an_empty_catalogue_that_was_read_knows_nothing() -> None:
    async def knows() -> bool:
        catalogue = AssetCatalogue(FakeReader(), refresh_seconds=30)
        await catalogue.refresh()
        return await catalogue.knows("ANYTHING")

    assert not asyncio.run(knows())


def test_an_asset_found_once_is_not_looked_up_again() -> None:
    async def look_twice(reader: FakeReader) -> None:
        catalogue = AssetCatalogue(reader, refresh_seconds=30)
        await catalogue.refresh()
        reader.assets.append(NEW_ASSET)
        assert await catalogue.knows("NEW1")
        assert await catalogue.knows("NEW1")

    reader = FakeReader()
    asyncio.run(look_twice(reader))
    assert reader.calls == ["fetch_reference_version", "fetch_assets", "has_isin"]


def test_made_up_isins_cost_the_database_only_so_many_lookups_a_second() -> None:
    now = 100.0

    async def ask(reader: FakeReader) -> list[int]:
        nonlocal now
        catalogue = AssetCatalogue(reader, refresh_seconds=30, clock=lambda: now)
        await catalogue.refresh()
        counts = []
        for second in range(2):
            now = 100.0 + second
            reader.calls.clear()
            for number in range(200):
                assert not await catalogue.knows(f"MADEUP{number}")
            counts.append(len(reader.calls))
        return counts

    assert asyncio.run(ask(FakeReader())) == [LOOKUPS_PER_SECOND, LOOKUPS_PER_SECOND]


def test_the_catalogue_is_read_again_after_the_database_was_away() -> None:
    async def wait_until_loaded() -> bool:
        reader = FakeReader(unavailable=True)
        catalogue = AssetCatalogue(reader, refresh_seconds=0.01)
        refreshing = asyncio.create_task(catalogue.refresh_forever())
        await asyncio.sleep(0.03)
        reader.unavailable = False
        await asyncio.sleep(0.05)
        refreshing.cancel()
        return await catalogue.knows("ANYTHING")

    assert not asyncio.run(wait_until_loaded())


def test_a_bug_does_not_end_the_refreshing_of_the_catalogue() -> None:
    class Broken(FakeReader):
        is_broken = True

        async def fetch_reference_version(self) -> str:
            if self.is_broken:
                raise KeyError("bug")
            return await super().fetch_reference_version()

    async def wait_until_loaded() -> bool:
        reader = Broken()
        catalogue = AssetCatalogue(reader, refresh_seconds=0.01)
        refreshing = asyncio.create_task(catalogue.refresh_forever())
        await asyncio.sleep(0.03)
        reader.is_broken = False
        await asyncio.sleep(0.05)
        refreshing.cancel()
        return await catalogue.knows("ANYTHING")

    assert not asyncio.run(wait_until_loaded())
