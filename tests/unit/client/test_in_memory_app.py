"""The clients against the gateway itself, on a broker and a database in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from api.gateway import Gateway
from api.ports import ListRow
from api.schemas.models import ModelItem
from far_trans_client import (
    AsyncClient,
    Client,
    InvalidRequest,
    ListNotReady,
    NotFound,
    RequestedWeights,
    RequestFailed,
    Unavailable,
)
from far_trans_client.connections import build_options
from shared.events import (
    InteractionRecorded,
    ModelActivated,
    ModelPinned,
    ModelUnpinned,
    RecommendationRequested,
    RetrainRequested,
    TransactionRecorded,
)
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down, build_asset
from tests.unit.client.conftest import FAST

NOW = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)
REQUEST_ID = UUID("b3b0c0de-5e5e-8b1d-9f00-2a4c6e8f0a1c")


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def reader() -> FakeReader:
    isins = [f"GRS43400{number:04}" for number in range(5)]
    assets = [build_asset(isin, "PPC", "Stock", None, "Technology", None, 3.76, 0.16) for isin in isins]
    return FakeReader(customers={"C1"}, assets=assets)


@pytest.fixture
def gateway(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    with AsgiClient(create_app(Gateway(publisher, reader))) as running:
        yield running


Use = Callable[[AsyncClient], Awaitable[Any]]


def use(gateway: AsgiClient, call: Use) -> Any:
    """Call the gateway with an AsyncClient."""

    async def called() -> Any:
        transport = httpx.ASGITransport(gateway.app)
        async with AsyncClient("http://127.0.0.1", limits=FAST, transport=transport) as client:
            return await call(client)

    return gateway.run(called)


def stored_list(items: str = "[]") -> ListRow:
    return ListRow(
        request_id=REQUEST_ID,
        model_version="v1",
        basis="history",
        items=items,
        is_stale=True,
        has_newer_interactions=False,
    )


def test_a_request_becomes_an_event_with_the_arguments(gateway: AsgiClient, publisher: FakePublisher) -> None:
    weights = RequestedWeights(collaborative=0.5, profitability=0.5)

    request_id = use(gateway, lambda client: client.request_recommendations("C1", "refresh_recs", weights=weights))

    [published] = publisher.published
    event = published.event
    assert isinstance(event, RecommendationRequested)
    assert (event.event_id, event.customer_id, event.action) == (request_id, "C1", "refresh_recs")
    assert event.weights is not None
    assert (event.weights.collaborative, event.weights.content) == (0.5, 0.0)


def test_the_same_key_gives_one_event(gateway: AsgiClient, publisher: FakePublisher) -> None:
    async def twice(client: AsyncClient) -> set[UUID]:
        return {await client.record_interaction("C1", "GRS434000000", idempotency_key="k") for _ in range(2)}

    assert len(use(gateway, twice)) == len(publisher.published) == 1


def test_interactions_orders_and_commands_become_events(gateway: AsgiClient, publisher: FakePublisher) -> None:
    async def all_of_them(client: AsyncClient) -> None:
        await client.record_interaction("C1", "GRS434000000", "dismiss")
        await client.record_transaction(
            "C1", "GRS434000000", type="Buy", units=45.0, total_value=580.5, executed_at=NOW, transaction_id="8061977"
        )
        await client.retrain("new data")
        await client.retrain()
        await client.cancel()

    use(gateway, all_of_them)

    interaction, order, training, plain, _ = [one.event for one in publisher.published]
    assert isinstance(interaction, InteractionRecorded)
    assert interaction.type == "dismiss"
    assert isinstance(order, TransactionRecorded)
    assert (order.units, order.executed_at, order.currency) == (45.0, NOW, None)
    assert isinstance(training, RetrainRequested)
    assert isinstance(plain, RetrainRequested)
    assert (training.reason, plain.reason) == ("new data", "requested")


def test_commands_about_a_version_become_events(
    gateway: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    empty = dict.fromkeys(set(ModelItem.model_fields) - {"version", "status", "active", "started_at", "pinned"})
    known = {"version": "v1", "status": "stored", "active": False, "started_at": NOW, "pinned": False}
    reader.models.append(ModelItem.model_validate({**empty, **known}))

    async def command(client: AsyncClient) -> None:
        for method in (client.activate, client.pin, client.unpin):
            await method("v1")

    use(gateway, command)

    events = [one.event for one in publisher.published]
    assert [type(event) for event in events] == [ModelActivated, ModelPinned, ModelUnpinned]


def test_a_broker_that_is_away_is_told_after_all_attempts(gateway: AsgiClient, publisher: FakePublisher) -> None:
    publisher.failure = broker_down()

    with pytest.raises(Unavailable) as caught:
        use(gateway, lambda client: client.request_recommendations("C1"))
    assert (caught.value.outcome, caught.value.retry_after_seconds) == ("unknown", 2.0)


def test_a_list_comes_with_what_its_headers_say(gateway: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list()

    newest = use(gateway, lambda client: client.recommendations("C1"))

    assert (newest.request_id, newest.model_version, newest.basis) == (REQUEST_ID, "v1", "history")
    assert newest.is_stale
    assert newest.recommendations == newest.components_unknown == ()


def test_a_customer_without_a_list_has_an_empty_one_and_an_unknown_one_none(gateway: AsgiClient) -> None:
    empty = use(gateway, lambda client: client.recommendations("C1"))

    assert (empty.recommendations, empty.request_id, empty.is_stale) == ((), None, False)
    with pytest.raises(NotFound, match="unknown"):
        use(gateway, lambda client: client.recommendations("nobody"))


def test_a_list_is_awaited(gateway: AsgiClient, reader: FakeReader) -> None:
    with pytest.raises(ListNotReady):
        use(gateway, lambda client: client.wait_for_list("C1", REQUEST_ID, timeout_seconds=0.0))

    reader.lists["C1"] = stored_list()
    reader.answered.add(("C1", REQUEST_ID))
    newest = use(gateway, lambda client: client.wait_for_list("C1", str(REQUEST_ID), timeout_seconds=5.0))
    assert newest.request_id == REQUEST_ID


def test_a_failed_request_is_an_error_of_its_own(gateway: AsgiClient, reader: FakeReader) -> None:
    reader.failed.add(("C1", REQUEST_ID))

    with pytest.raises(RequestFailed):
        use(gateway, lambda client: client.wait_for_list("C1", REQUEST_ID, timeout_seconds=5.0))


def test_all_pages_of_the_catalogue_are_read(gateway: AsgiClient, reader: FakeReader) -> None:
    async def read(client: AsyncClient) -> list[str]:
        return [asset.isin async for asset in client.assets(sector="Technology", page_size=2)]

    assert use(gateway, read) == [asset.isin for asset in reader.assets]


def test_a_field_that_is_not_valid_is_named(gateway: AsgiClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        use(gateway, lambda client: client.record_interaction("C1", "UNKNOWN", "click"))
    assert [fault.field for fault in caught.value.errors] == ["isin"]


def test_the_other_reads_are_answered(gateway: AsgiClient) -> None:
    async def read(client: AsyncClient) -> None:
        assert (await client.models()).models == ()
        assert (await client.ready()).status in ("ok", "unavailable")
        await client.live()
        assert (await client.request_status(REQUEST_ID)).state == "queued"

    use(gateway, read)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_a_proxy_of_the_environment_never_sees_requests_to_this_machine(
    url: str,
) -> None:
    assert not build_options(url, None).trust_env
    assert build_options("http://gateway.example", None).trust_env


def test_a_client_can_be_closed_without_a_call() -> None:
    Client("http://127.0.0.1:1").close()
