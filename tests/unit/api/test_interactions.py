"""Recording what customers do, and which assets they can do it with."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from api.catalogue import LOOKUPS_PER_SECOND, AssetCatalogue, AssetQuery
from api.schemas.interactions import WatchedAsset
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
        page = await catalogue.page(AssetQuery(), limit=10, offset=0)
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


REQUEST_ID = "5d0d9b0a-2c55-4b5e-8d8e-0f6f2f1f7a10"
WATCHED = WatchedAsset(
    isin="GRS434003000",
    assetname="PPC",
    assetcategory="Stock",
    sector="Technology",
    industry=None,
    current_price=3.76,
    added_at=datetime(2026, 1, 2, 10, 30, tzinfo=UTC),
)


def published_interactions(publisher: FakePublisher) -> list[InteractionRecorded]:
    return [one.event for one in publisher.published if isinstance(one.event, InteractionRecorded)]


def test_an_interaction_can_name_the_list_that_showed_the_asset(client: AsgiClient, publisher: FakePublisher) -> None:
    body = {**CLICK, "type": "impression", "request_id": REQUEST_ID, "rank": 50}
    assert client.post("/user_interactions", json=body).status_code == 200
    [event] = published_interactions(publisher)
    assert (event.type, event.request_id, event.rank) == ("impression", UUID(REQUEST_ID), 50)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rank", value) for value in (0, 51, -1, 1.0, 1.5, True, "1", [1], 10**400)]
    + [("request_id", value) for value in ("", "5d0d", 1, True, f"{REQUEST_ID}\x00", "\ud800", [REQUEST_ID])]
    + [("weight", value) for value in ("1", True, [1], float("nan"), float("inf"))]
    + [("type", value) for value in ("add_watch", "view_details ", "VIEW_DETAILS", 1, None, ["add_watchlist"])],
)
def test_a_wrong_optional_field_is_named(
    client: AsgiClient, publisher: FakePublisher, field: str, value: object
) -> None:
    body = json.dumps({**CLICK, field: value})
    answer = client.post("/user_interactions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    if value != "\ud800":  # no valid UTF-8: the body as a whole
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert publisher.published == []


@pytest.mark.parametrize(("name", "stands_for"), [("add_watchlist", "watchlist"), ("view_details", "view")])
def test_the_names_and_the_weight_of_the_first_version_are_accepted(
    client: AsgiClient, publisher: FakePublisher, name: str, stands_for: str
) -> None:
    for body in ({"weight": -2.5}, {"weight": 3}, {"weight": None}, {}):
        headers = {"Idempotency-Key": "one"}
        answer = client.post("/user_interactions", json={**CLICK, "type": name, **body}, headers=headers)
        assert answer.status_code == 200
    answer = client.post("/user_interactions", json={**CLICK, "type": stands_for}, headers=headers)
    assert answer.status_code == 200  # an ignored weight and a name make no other event
    [event] = published_interactions(publisher)
    assert event.type == stands_for
    assert "weight" not in event.model_dump()


@pytest.mark.parametrize("path", ["/customers/C1/watchlist", "/watchlist/C1"])
def test_a_watchlist_has_the_watched_assets_in_the_order_of_the_reader(
    client: AsgiClient, reader: FakeReader, path: str
) -> None:
    assert client.get(path).text == '{"status":"ok","watchlist":[]}'
    reader.watchlists["C1"] = [WATCHED]
    assert client.get(path).text == (
        '{"status":"ok","watchlist":[{"isin":"GRS434003000","assetname":"PPC","assetcategory":"Stock",'
        '"sector":"Technology","industry":null,"current_price":3.76,"added_at":"2026-01-02T10:30:00Z"}]}'
    )


@pytest.mark.parametrize("path", ["/customers/{}/watchlist", "/watchlist/{}"])
def test_a_watchlist_of_an_unknown_customer_is_404_unless_they_watch_something(
    client: AsgiClient, reader: FakeReader, path: str
) -> None:
    assert client.get(path.format("nobody")).status_code == 404
    assert client.get(path.format("a%00b")).status_code == 422
    reader.watchlists["nobody"] = [WATCHED]
    assert client.get(path.format("nobody")).status_code == 200
    reader.unavailable = True
    assert client.get(path.format("nobody")).status_code == 503


@pytest.mark.parametrize("query", ["limit=1", "customer_id=C1", "x", "%00=1", "a=1&a=2"])
def test_a_watchlist_takes_no_parameters(client: AsgiClient, query: str) -> None:
    assert client.get(f"/customers/C1/watchlist?{query}").status_code == 422


def test_the_first_versions_watchlist_publishes_interactions(client: AsgiClient, publisher: FakePublisher) -> None:
    headers = {"X-Requested-With": "app"}
    answers = [
        client.post("/watchlist/C1", json={"isin": "GRS434003000"}),
        client.post("/watchlist/C1/GRS434003000", headers=headers),
        client.request("DELETE", "/watchlist/C1/GRS434003000"),
    ]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, '{"status":"ok"}')] * 3
    assert [(one.topic, one.key) for one in publisher.published] == [("interactions.recorded.v1", "C1")] * 3
    events = published_interactions(publisher)
    assert [(event.isin, event.type.value) for event in events] == [
        ("GRS434003000", kind) for kind in ("watchlist", "watchlist", "unwatch")
    ]
    assert [answer.headers["X-Request-ID"] for answer in answers] == [str(event.event_id) for event in events]


def test_the_first_versions_watchlist_refuses_what_interactions_refuse(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    headers = {"X-Requested-With": "app"}
    assert client.post("/watchlist/C1/UNKNOWN", headers=headers).status_code == 422
    assert client.post("/watchlist/C1", json={"isin": "UNKNOWN"}).status_code == 422
    assert client.post("/watchlist/C1", json={"isin": "GRS434003000", "weight": 1}).status_code == 422
    assert client.post("/watchlist/a%00b/GRS434003000", headers=headers).status_code == 422
    assert client.request("DELETE", "/watchlist/C1/UNKNOWN").status_code == 422
    publisher.failure = broker_down()
    assert client.request("DELETE", "/watchlist/C1/GRS434003000").status_code == 503
    assert publisher.published == []
