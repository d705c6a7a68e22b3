"""The typed client against three real processes: lists, waiting, following, interactions, models, and errors."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from far_trans_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InvalidRequest,
    Limits,
    ListNotReady,
    NotFound,
    RecommendationList,
    RequestedWeights,
)
from script.local.service_processes import REPOSITORY
from tests.e2e.system import CUSTOMER_ID, System, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture
def client(system: System) -> Iterator[Client]:
    with Client(system.url) as connected:
        yield connected


def ask(client: Client, customer_id: str) -> RecommendationList:
    request_id = client.request_recommendations(customer_id, "refresh_recs")
    return client.wait_for_list(customer_id, request_id)


def isins(newest: RecommendationList) -> list[str]:
    return [asset.isin for asset in newest.recommendations]


def test_a_list_is_requested_awaited_and_read(client: Client) -> None:
    request_id = client.request_recommendations(CUSTOMER_ID, "refresh_recs")

    newest = client.wait_for_list(CUSTOMER_ID, request_id)

    assert newest.request_id == request_id
    assert [asset.rank for asset in newest.recommendations] == list(range(1, 11))
    assert newest.model_version == client.models().active
    assert not newest.is_stale
    assert client.recommendations(CUSTOMER_ID) == newest
    progress = client.request_status(request_id)
    assert (progress.state, progress.reason) == ("answered", None)
    assert progress.requested_at is not None
    assert progress.answered_at is not None
    assert progress.requested_at <= progress.answered_at


def test_weights_are_those_of_the_request(client: Client) -> None:
    weights = RequestedWeights(profitability=1.0)
    request_id = client.request_recommendations(CUSTOMER_ID, "refresh_recs", weights=weights)

    weighted = client.wait_for_list(CUSTOMER_ID, request_id)

    assert all(asset.components.collaborative == asset.components.content == 0 for asset in weighted.recommendations)


def test_what_is_dismissed_or_bought_is_not_in_the_next_list(system: System, client: Client) -> None:
    [customer] = system.customers(1)
    first, second, *_ = isins(ask(client, customer))

    client.record_interaction(customer, first, "dismiss")
    client.record_transaction(
        customer,
        second,
        type="Buy",
        units=1.0,
        total_value=10.0,
        currency="EUR",
        executed_at=datetime.now(UTC),
        transaction_id=f"client-{uuid4()}",
    )

    assert not {first, second} & {*isins(ask(client, customer))}


def test_the_same_key_counts_once(system: System, client: Client) -> None:
    [isin] = {asset.isin for asset in client.assets_page(limit=1).assets}
    key = str(uuid4())

    ids = {client.record_interaction(CUSTOMER_ID, isin, "view", idempotency_key=key) for _ in range(3)}

    ask(client, CUSTOMER_ID)
    [event_id] = ids
    assert system.query("SELECT count(*) FROM user_interactions WHERE event_id = %s", str(event_id)) == [(1,)]


def test_the_catalogue_is_read_page_by_page(system: System, client: Client) -> None:
    assets = list(client.assets(page_size=7))

    assert len(assets) == client.assets_page(limit=1).total > 7
    assert [asset.isin for asset in assets] == sorted({asset.isin for asset in assets})
    # The gateway may read prices and returns anew between the two, as after the first model.
    technology = [asset.isin for asset in client.assets(sector="Technology")]
    assert technology == [asset.isin for asset in assets if asset.sector == "Technology"]


def test_models_are_read_and_commanded(client: Client) -> None:
    models = client.models()
    active = models.active
    assert active is not None

    client.pin(active)
    wait_until(lambda: is_pinned(client, active), seconds=30, what="the version is pinned")
    client.unpin(active)
    wait_until(lambda: not is_pinned(client, active), seconds=30, what="the version is not pinned")
    client.activate(active)
    client.cancel()
    assert client.frontier(active).version == active
    with pytest.raises(NotFound):
        client.activate("no-such-version")


def is_pinned(client: Client, version: str) -> bool:
    return next(model.pinned for model in client.models().models if model.version == version)


def test_the_gateway_is_alive_and_ready(client: Client) -> None:
    client.live()

    ready = client.ready()
    assert (ready.status, ready.broker, ready.database, ready.shutting_down) == ("ok", True, True, False)


def test_errors_say_what_is_wrong(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.record_interaction(CUSTOMER_ID, "NOSUCHISIN")
    assert [fault.field for fault in caught.value.errors] == ["isin"]
    with pytest.raises(NotFound):
        client.recommendations("nobody")
    with pytest.raises(InvalidRequest):
        client.request_status("no-id")
    with pytest.raises(InvalidRequest):
        client.request_recommendations("not a customer")


def test_nobody_listening_is_told_with_the_address() -> None:
    with (
        Client("http://127.0.0.1:1", limits=Limits(first_delay_seconds=0.0)) as client,
        pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:1/models"),
    ):
        client.models()


def test_a_list_is_followed_by_both_clients(system: System, client: Client) -> None:
    [*_, customer] = system.customers(2)
    known = ask(client, customer).request_id

    async def follow_two() -> list[UUID]:
        async with AsyncClient(system.url) as follower, aclosing(follower.follow(customer)) as lists:
            seen = [(await anext(lists)).request_id]
            request_id = await follower.request_recommendations(customer, "refresh_recs")
            seen.append((await anext(lists)).request_id)
            assert seen[-1] == request_id
            return seen

    assert asyncio.run(follow_two())[0] == known

    with ThreadPoolExecutor(1) as pool:
        newest = client.recommendations(customer).request_id
        lists = client.follow(customer, last_event_id=newest)
        next_list = pool.submit(next, lists)
        request_id = client.request_recommendations(customer, "refresh_recs")
        assert next_list.result(timeout=30).request_id == request_id
        lists.close()


def test_many_customers_are_asked_for_at_once(system: System) -> None:
    customers = system.customers(10)

    async def ask_all() -> list[RecommendationList]:
        async with AsyncClient(system.url) as client:

            async def ask_one(customer: str) -> RecommendationList:
                request_id = await client.request_recommendations(customer, "refresh_recs")
                return await client.wait_for_list(customer, request_id)

            return await asyncio.gather(*map(ask_one, customers))

    assert all(newest.recommendations for newest in asyncio.run(ask_all()))


def test_a_list_that_the_worker_does_not_make_is_not_awaited_for_ever(system: System, client: Client) -> None:
    worker = system.services["worker"].pid
    os.kill(worker, signal.SIGSTOP)
    try:
        request_id = client.request_recommendations(CUSTOMER_ID, "refresh_recs")
        with pytest.raises(ListNotReady, match=str(request_id)):
            client.wait_for_list(CUSTOMER_ID, request_id, timeout_seconds=1.0)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert client.wait_for_list(CUSTOMER_ID, request_id).request_id == request_id


README = REPOSITORY / "client" / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_readme_run_as_printed(system: System, number: int, tmp_path: Path) -> None:
    assert len(EXAMPLES) == 3
    program = tmp_path / "example.py"
    program.write_text(EXAMPLES[number].replace("http://127.0.0.1:8000", system.url))

    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
