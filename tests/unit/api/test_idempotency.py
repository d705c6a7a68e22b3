"""One effect per Idempotency-Key."""

from __future__ import annotations

import asyncio
import hashlib
from uuid import UUID

import httpx
import pytest
from pydantic import BaseModel

from api.app import create_app
from api.errors import InvalidField
from api.gateway import Gateway
from api.idempotency import IdempotencyLedger, Publish, identify
from api.schemas.lists import RecommendationsBody
from shared.errors import PublishFailed
from shared.events import Event, InteractionRecorded, RecommendationRequested, RetrainRequested, TransactionRecorded
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down

KEY = {"Idempotency-Key": "order-66"}
REQUEST = {"customer_id": "C1", "action": "request_recs"}
CLICK = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}
ORDER = {
    **CLICK,
    "type": "Buy",
    "units": 45,
    "total_value": 580.5,
    "executed_at": "2026-01-02T10:30:00Z",
    "transaction_id": "8061977",
}
CALLS = [
    ("/recommendations", REQUEST, {**REQUEST, "action": "refresh_recs"}),
    ("/user_interactions", CLICK, {**CLICK, "type": "view"}),
    ("/transactions", ORDER, {**ORDER, "units": 46}),
    ("/models/retrain", {"reason": "a"}, {"reason": "b"}),
]


@pytest.mark.parametrize(("path", "body", "_other"), CALLS)
def test_the_same_key_and_body_are_one_event(
    client: AsgiClient, publisher: FakePublisher, path: str, body: dict[str, object], _other: dict[str, object]
) -> None:
    first, second = (client.post(path, json=body, headers=KEY) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["X-Request-ID"] == second.headers["X-Request-ID"]
    assert len(publisher.published) == 1
    assert publisher.published[0].event.fingerprint is not None


@pytest.mark.parametrize(("path", "body", "other"), CALLS)
def test_the_same_key_with_another_body_is_422(
    client: AsgiClient, publisher: FakePublisher, path: str, body: dict[str, object], other: dict[str, object]
) -> None:
    client.post(path, json=body, headers=KEY)
    answer = client.post(path, json=other, headers=KEY)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]
    assert len(publisher.published) == 1


def test_a_key_belongs_to_one_endpoint(client: AsgiClient, publisher: FakePublisher) -> None:
    assert client.post("/recommendations", json=REQUEST, headers=KEY).status_code == 200
    assert client.post("/user_interactions", json=CLICK, headers=KEY).status_code == 200
    assert len({published.event.event_id for published in publisher.published}) == 2


@pytest.mark.parametrize(("path", "body"), [("/recommendations", REQUEST), ("/user_interactions", CLICK)])
def test_a_key_belongs_to_one_customer(
    client: AsgiClient, publisher: FakePublisher, path: str, body: dict[str, object]
) -> None:
    for customer_id in ("C1", "C2", "C1", "C2"):
        assert client.post(path, json={**body, "customer_id": customer_id}, headers=KEY).status_code == 200
    assert [published.key for published in publisher.published] == ["C1", "C2"]
    assert len({published.event.event_id for published in publisher.published}) == 2


def test_identities_differ_where_endpoint_customer_or_key_differ() -> None:
    names = [("a", "b", "c"), ("a", "c", "b"), ("b", "a", "c"), ("a", "bc", "d"), ("a", "b", "cd"), ("a", None, "b")]
    ids = {identify(endpoint, key, _Body(), customer_id=customer)[0] for endpoint, customer, key in names}
    assert len(ids) == len(names)


def test_without_a_key_every_request_is_an_event_of_its_own(client: AsgiClient, publisher: FakePublisher) -> None:
    for _ in range(2):
        client.post("/recommendations", json=REQUEST)
    assert len({published.event.event_id for published in publisher.published}) == 2
    assert publisher.published[0].event.fingerprint is None


def test_spelling_a_body_differently_does_not_change_it(client: AsgiClient, publisher: FakePublisher) -> None:
    headers = {**KEY, "content-type": "application/json"}
    for content in (
        b'{"customer_id":"C1","action":"request_recs","weights":{"content":1}}',
        b'{ "weights": {"content": 1.0, "profitability": 0}, "action": "request_recs", "customer_id": "C1"}',
    ):
        assert client.post("/recommendations", content=content, headers=headers).status_code == 200
    assert len(publisher.published) == 1


def test_fifty_requests_at_once_with_one_key_are_one_event(client: AsgiClient, publisher: FakePublisher) -> None:
    publisher.gate = asyncio.Event()

    async def post_at_once() -> list[httpx.Response]:
        posts = [
            asyncio.create_task(client.http.post("/recommendations", json=REQUEST, headers=KEY)) for _ in range(50)
        ]
        async with asyncio.timeout(10):
            while len(publisher.waiting) < 1:
                await asyncio.sleep(0)
        assert publisher.gate is not None
        publisher.gate.set()
        return await asyncio.gather(*posts)

    answers = client.run(post_at_once)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 1
    assert len(publisher.published) == 1


def test_fifty_requests_at_once_with_one_key_and_two_bodies_have_one_winner(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    async def post_at_once() -> list[httpx.Response]:
        bodies = [REQUEST, {**REQUEST, "action": "refresh_recs"}] * 25
        posts = [client.http.post("/recommendations", json=body, headers=KEY) for body in bodies]
        return await asyncio.gather(*posts)

    answers = client.run(post_at_once)
    assert sorted(answer.status_code for answer in answers) == [200] * 25 + [422] * 25
    assert len(publisher.published) == 1


def test_a_key_whose_event_failed_may_be_tried_again(client: AsgiClient, publisher: FakePublisher) -> None:
    publisher.failure = broker_down()
    first = client.post("/recommendations", json=REQUEST, headers=KEY)
    publisher.failure = None
    second = client.post("/recommendations", json=REQUEST, headers=KEY)
    assert (first.status_code, second.status_code) == (503, 200)
    assert first.headers["X-Request-ID"] == second.headers["X-Request-ID"]
    assert len(publisher.published) == 1


@pytest.mark.parametrize(
    ("path", "event_type", "body", "other"),
    [
        ("/recommendations", RecommendationRequested, REQUEST, {**REQUEST, "action": "refresh_recs"}),
        ("/user_interactions", InteractionRecorded, CLICK, {**CLICK, "type": "view"}),
        ("/transactions", TransactionRecorded, ORDER, {**ORDER, "units": 46}),
    ],
)
def test_effects_of_before_this_process_count(
    client: AsgiClient,
    publisher: FakePublisher,
    reader: FakeReader,
    path: str,
    event_type: type[Event],
    body: dict[str, object],
    other: dict[str, object],
) -> None:
    event_id = UUID(client.post(path, json=body, headers=KEY).headers["X-Request-ID"])
    fingerprint = publisher.published.pop().event.fingerprint
    assert fingerprint is not None
    reader.effects[(event_type, event_id)] = fingerprint

    with AsgiClient(create_app(Gateway(publisher, reader))) as restarted:
        assert restarted.post(path, json=body, headers=KEY).status_code == 200
        assert publisher.published == []
        answer = restarted.post(path, json=other, headers=KEY)
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


def test_with_the_database_away_a_key_still_works(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    reader.unavailable = True
    assert client.post("/recommendations", json=REQUEST, headers=KEY).status_code == 200
    assert client.post("/recommendations", json=REQUEST, headers=KEY).status_code == 200
    other = {**REQUEST, "action": "refresh_recs"}
    assert client.post("/recommendations", json=other, headers=KEY).status_code == 422
    assert len(publisher.published) == 1


def test_identities_do_not_change_between_releases() -> None:
    body = RecommendationsBody(customer_id="C1", action="request_recs")
    digest = hashlib.sha256(b'{"customer_id":"C1","action":"request_recs"}').hexdigest()
    identity = identify("recommendations", "order-66", body, customer_id="C1")
    assert identity == (UUID("9e5c27e0-1c3d-5e82-8a08-52698b47250f"), digest)
    without = identify("recommendations", "order-66", body)
    assert without == (UUID("4746b894-27cc-5a4a-8d6e-4d6aa6afc485"), digest)


def test_only_so_many_keys_are_remembered() -> None:
    async def use_keys(keys: str) -> list[str]:
        ledger, published = IdempotencyLedger(FakeReader(), remembered_keys=2), []

        def publish(key: str) -> Publish:
            async def note() -> None:
                published.append(key)

            return note

        for key in keys:
            await ledger.run_once(_event(key), publish(key))
        return published

    assert asyncio.run(use_keys("abcbca")) == ["a", "b", "c", "a"]


def test_a_caller_that_goes_away_does_not_take_the_event_of_the_others() -> None:
    async def cancel_the_first() -> list[str]:
        ledger, gate, done = IdempotencyLedger(FakeReader()), asyncio.Event(), []

        async def publish() -> None:
            await gate.wait()
            done.append("published")

        first = asyncio.create_task(ledger.run_once(_event("k"), publish))
        second = asyncio.create_task(ledger.run_once(_event("k"), publish))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gate.set()
        await second
        return done

    assert asyncio.run(cancel_the_first()) == ["published"]


def test_requests_that_share_a_try_share_its_failure() -> None:
    async def share() -> list[BaseException | None]:
        ledger = IdempotencyLedger(FakeReader())

        async def fail() -> None:
            await asyncio.sleep(0)
            raise PublishFailed

        return await asyncio.gather(*(ledger.run_once(_event("k"), fail) for _ in range(3)), return_exceptions=True)

    assert [type(error) for error in asyncio.run(share())] == [PublishFailed] * 3


def test_another_fingerprint_is_refused_while_the_first_is_under_way() -> None:
    async def race() -> None:
        ledger, gate = IdempotencyLedger(FakeReader()), asyncio.Event()

        async def publish() -> None:
            await gate.wait()

        first = asyncio.create_task(ledger.run_once(_event("k"), publish))
        await asyncio.sleep(0)
        other = _event("k").model_copy(update={"fingerprint": "another"})
        with pytest.raises(InvalidField):
            await ledger.run_once(other, publish)
        gate.set()
        await first

    asyncio.run(race())


class _Body(BaseModel):
    text: str = "same"


def _event(key: str) -> Event:
    event_id, fingerprint = identify("test", key, _Body())
    return RetrainRequested(event_id=event_id, fingerprint=fingerprint)
