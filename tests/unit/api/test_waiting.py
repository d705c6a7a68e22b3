"""Waiting for a list over HTTP: what is answered, when, and what becomes of clients that leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest

from api.app import create_app
from api.gateway import Gateway
from api.ports import ListRow
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakePublisher, FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list

KEY = "a secret of sixteen or more characters"


@pytest.fixture
def gateway(publisher: FakePublisher, reader: FakeReader) -> Gateway:
    return Gateway(publisher, reader, max_waiters=3, request_id_key=KEY)


@pytest.fixture
def signed(gateway: Gateway) -> Iterator[AsgiClient]:
    """A gateway with a key for ids, where at most three clients may wait."""
    with AsgiClient(create_app(gateway)) as client:
        yield client


def request_list(client: AsgiClient, customer_id: str = "C1", **headers: str) -> UUID:
    body = {"customer_id": customer_id, "action": "request_recs"}
    answer = client.post("/recommendations", json=body, headers=headers)
    assert answer.status_code == 200
    return UUID(answer.headers["X-Request-ID"])


def answer_request(reader: FakeReader, request_id: UUID, customer_id: str = "C1") -> ListRow:
    """Store a list as the worker does, without its notification."""
    row = reader.lists[customer_id] = replace(stored_list(ITEM), request_id=request_id)
    reader.answered.add((customer_id, request_id))
    return row


async def waiting(gateway: Gateway, count: int) -> None:
    """Return when so many clients wait and none is due for its first check."""
    async with asyncio.timeout(5):
        while gateway.metrics.registry.get_sample_value("recommender_gateway_waiting_clients") != count:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)


def test_an_answered_request_is_its_list_at_once(signed: AsgiClient, reader: FakeReader) -> None:
    request_id = request_list(signed)
    answer_request(reader, request_id)
    for query in (f"request_id={request_id}", f"request_id={request_id}&wait=30", "wait=0", "wait=30"):
        answer = signed.get(f"/recommendations/C1?{query}")
        assert (answer.status_code, answer.headers["X-Request-ID"]) == (200, str(request_id))
        assert answer.json()["recommendations"] == [ITEM]


def test_a_later_list_of_the_customer_answers_an_earlier_request(signed: AsgiClient, reader: FakeReader) -> None:
    earlier, later = request_list(signed), request_list(signed)
    answer_request(reader, earlier)
    answer_request(reader, later)
    answer = signed.get(f"/recommendations/C1?request_id={earlier}")
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (200, str(later))


@pytest.mark.parametrize("customer_id", ["C1", "nobody"])
def test_a_request_that_is_under_way_is_202_never_404(signed: AsgiClient, customer_id: str) -> None:
    request_id = request_list(signed, customer_id)
    for query in (f"request_id={request_id}", f"request_id={request_id}&wait=0.01"):
        answer = signed.get(f"/recommendations/{customer_id}?{query}")
        assert (answer.status_code, answer.json()) == (202, {"status": "queued", "request_id": str(request_id)})
        assert answer.headers["Retry-After"].isdecimal()
    assert signed.get(f"/recommendations/{customer_id}?wait=0").json() == {"status": "queued", "request_id": None}


def test_an_old_list_does_not_answer_a_newer_request(signed: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(ITEM)
    request_id = request_list(signed)
    assert signed.get(f"/recommendations/C1?request_id={request_id}").status_code == 202


def test_a_repeated_post_has_the_same_id_and_it_is_recognised(signed: AsgiClient, publisher: FakePublisher) -> None:
    first, second = (request_list(signed, **{"Idempotency-Key": "once"}) for _ in range(2))
    assert first == second
    assert len(publisher.published) == 1
    assert signed.get(f"/recommendations/C1?request_id={first}").status_code == 202


def test_ids_that_were_never_given_out_and_those_of_other_customers_are_unknown_at_once(
    signed: AsgiClient, reader: FakeReader
) -> None:
    of_another = request_list(signed, "C2")
    answer_request(reader, of_another, "C2")
    started_at = time.monotonic()
    answers = [signed.get(f"/recommendations/C1?request_id={one}&wait=30") for one in (uuid4(), of_another)]
    assert time.monotonic() - started_at < 5
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()
    assert signed.get(f"/recommendations/C1?request_id={of_another}").status_code == 404


def test_an_id_from_before_the_key_was_set_is_known_once_it_is_answered(signed: AsgiClient, reader: FakeReader) -> None:
    old = uuid4()
    answer_request(reader, old)
    assert signed.get(f"/recommendations/C1?request_id={old}&wait=1").status_code == 200


def test_without_a_key_every_id_counts_as_queued(client: AsgiClient) -> None:
    assert client.get(f"/recommendations/C1?request_id={uuid4()}").status_code == 202
    assert client.get(f"/requests/{uuid4()}").json()["state"] == "queued"


def test_a_request_that_failed_is_409(signed: AsgiClient, reader: FakeReader) -> None:
    request_id = request_list(signed)
    reader.failed.add(("C1", request_id))
    for query in ("", "&wait=30"):
        answer = signed.get(f"/recommendations/C1?request_id={request_id}{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")


@pytest.mark.parametrize("wait", ["-1", "1e9", "nan", "inf", "-inf", "30.1", "soon", "", "1,5", "0x1"])
def test_a_wait_that_is_no_time_up_to_30_seconds_is_422(client: AsgiClient, wait: str) -> None:
    answer = client.get(f"/recommendations/C1?wait={wait}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "wait")


@pytest.mark.parametrize("path", ["/recommendations/C1?request_id=", "/requests/"])
def test_an_id_that_is_no_uuid_is_422(client: AsgiClient, path: str) -> None:
    for text in ("17", "0b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b1z"):
        answer = client.get(path + text)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "request_id")


def test_without_the_parameters_unknown_ones_are_ignored_as_before(client: AsgiClient, reader: FakeReader) -> None:
    reader.calls.clear()
    assert client.get("/recommendations/C1?k=3&waiting=5&requestid=1").status_code == 200
    assert client.get("/recommendations/nobody?k=3").status_code == 404
    assert reader.calls == ["fetch_lists", "fetch_lists"]


def test_a_waiting_client_is_answered_when_the_notification_comes(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    request_id = request_list(signed)

    async def wait_and_notify() -> httpx.Response:
        asking = asyncio.create_task(signed.http.get(f"/recommendations/C1?request_id={request_id}&wait=30"))
        await waiting(gateway, 1)
        assert not asking.done()
        answer_request(reader, request_id)
        reader.notify(["C0", "C1"])
        return await asyncio.wait_for(asking, 5)

    assert signed.run(wait_and_notify).headers["X-Request-ID"] == str(request_id)
    assert gateway.metrics.registry.get_sample_value("recommender_gateway_list_notifications_total") == 1
    route = {"method": "GET", "route": "/recommendations/{customer_id}?wait", "status": "200"}
    assert gateway.metrics.registry.get_sample_value("recommender_gateway_http_requests_total", route) == 1


def test_a_new_listening_connection_lets_every_waiter_check_once(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    requests = [request_list(signed, customer_id) for customer_id in ("C1", "C2")]

    async def wait_and_reconnect() -> list[httpx.Response]:
        paths = [f"/recommendations/C{i}?request_id={one}&wait=30" for i, one in enumerate(requests, start=1)]
        asking = [asyncio.create_task(signed.http.get(path)) for path in paths]
        await waiting(gateway, 2)
        answer_request(reader, requests[0], "C1")
        answer_request(reader, requests[1], "C2")
        reader.asked.clear()
        reader.connect()
        return [await asyncio.wait_for(one, 5) for one in asking]

    assert [answer.status_code for answer in signed.run(wait_and_reconnect)] == [200, 200]
    assert [len(questions) for questions in reader.asked] == [2]
    assert gateway.metrics.registry.get_sample_value("recommender_gateway_listener_connections_total") == 2


def test_while_the_database_is_away_a_waiter_stays_and_is_answered_afterwards(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    request_id = request_list(signed)

    async def wait_through_an_outage() -> httpx.Response:
        asking = asyncio.create_task(signed.http.get(f"/recommendations/C1?request_id={request_id}&wait=30"))
        await waiting(gateway, 1)
        answer_request(reader, request_id)
        reader.unavailable = True
        reader.notify(["C1"])
        await asyncio.sleep(0.05)
        reader.unavailable = False
        return await asyncio.wait_for(asking, 5)

    assert signed.run(wait_through_an_outage).status_code == 200


def test_a_wait_that_begins_while_the_database_is_away_is_503(signed: AsgiClient, reader: FakeReader) -> None:
    reader.unavailable = True
    answer = signed.get("/recommendations/C1?wait=30")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


def test_over_the_limit_a_client_gets_503_and_leaving_makes_room(signed: AsgiClient, gateway: Gateway) -> None:
    async def fill_and_leave() -> list[int]:
        asking = [StreamedGet(signed.app, f"/recommendations/C{one}?wait=30") for one in range(3)]
        await waiting(gateway, 3)
        refused = await signed.http.get("/recommendations/C9?wait=1")
        streaming = await signed.http.get("/recommendations/C9/events")
        asking[0].left.set()
        await waiting(gateway, 2)
        after = await signed.http.get("/recommendations/C9?wait=0.01")
        for one in asking[1:]:
            one.left.set()
        await waiting(gateway, 0)
        await asyncio.gather(*(one.ended() for one in asking))
        assert refused.headers["Retry-After"] == streaming.headers["Retry-After"] == "2"
        return [refused.status_code, streaming.status_code, after.status_code]

    assert signed.run(fill_and_leave) == [503, 503, 202]


def test_at_a_stop_waiting_clients_and_new_ones_get_503(signed: AsgiClient, gateway: Gateway) -> None:
    async def stop() -> list[httpx.Response]:
        asking = asyncio.create_task(signed.http.get("/recommendations/C1?wait=30"))
        await waiting(gateway, 1)
        gateway.begin_shutdown()
        return [await asyncio.wait_for(asking, 5), await signed.http.get("/recommendations/C1?wait=30")]

    for answer in signed.run(stop):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


def test_many_waiters_with_one_question_ask_it_once(signed: AsgiClient, gateway: Gateway, reader: FakeReader) -> None:
    async def wait_together() -> list[int]:
        asking = [asyncio.create_task(signed.http.get("/recommendations/C1?wait=30")) for _ in range(3)]
        await waiting(gateway, 3)
        reader.asked.clear()
        reader.lists["C1"] = stored_list(ITEM)
        reader.notify(["C1"])
        return [(await asyncio.wait_for(one, 5)).status_code for one in asking]

    assert signed.run(wait_together) == [200, 200, 200]
    assert [len(questions) for questions in reader.asked] == [1]


def test_the_parameters_of_a_wait_are_described(client: AsgiClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/recommendations/{customer_id}"]["get"]
    schemas = {one["name"]: one["schema"] for one in operation["parameters"]}
    assert list(schemas) == ["customer_id", "request_id", "wait", "explain", "lang"]
    assert schemas["request_id"] == {"type": "string", "format": "uuid"}
    assert schemas["wait"] == {"type": "number", "minimum": 0, "maximum": 30}
    assert "Retry-After" in operation["responses"]["202"]["headers"]
