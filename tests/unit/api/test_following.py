"""Following the lists of a customer as server-sent events, and reading what became of a request."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from uuid import uuid4

from api.gateway import Gateway
from api.ports import RequestRow
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list
from tests.unit.api.test_waiting import gateway as gateway
from tests.unit.api.test_waiting import request_list, waiting
from tests.unit.api.test_waiting import signed as signed

EVENTS = "/recommendations/C1/events"


def test_a_stream_begins_with_the_newest_list_and_goes_on_with_each_new_one(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    first = reader.lists["C1"] = stored_list(ITEM)

    async def follow() -> list[dict[str, str]]:
        stream = StreamedGet(signed.app, EVENTS)
        events = [await stream.event()]
        await waiting(gateway, 1)
        reader.notify(["C1"])  # a notification without a new list
        reader.lists["C1"] = second
        reader.notify(["C1"])
        events.append(await stream.event())
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        stream.left.set()
        await stream.ended()
        await waiting(gateway, 0)
        return events

    second = stored_list({**ITEM, "score": 0.9})
    events = signed.run(follow)
    assert [event["event"] for event in events] == ["list", "list"]
    assert [event["id"] for event in events] == [str(first.request_id), str(second.request_id)]
    data = [json.loads(event["data"]) for event in events]
    assert [one["recommendations"][0]["score"] for one in data] == [0.7, 0.9]
    assert {**data[0], "recommendations": []} == {
        "status": "ok",
        "recommendations": [],
        "request_id": str(first.request_id),
        "model_version": "v7",
        "basis": "history",
        "stale": False,
        "weights": None,
        "k": None,
    }


def test_a_client_that_comes_again_gets_only_what_it_does_not_have(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    row = reader.lists["C1"] = stored_list(ITEM)

    async def follow() -> str:
        stream = StreamedGet(signed.app, EVENTS, {"last-event-id": str(row.request_id)})
        await waiting(gateway, 1)
        assert stream.chunks.empty()
        reader.lists["C1"] = stored_list(ITEM)
        reader.notify(["C1"])
        event = await stream.event()
        stream.left.set()
        await stream.ended()
        return event["id"]

    assert signed.run(follow) == str(reader.lists["C1"].request_id) != str(row.request_id)


def test_a_slow_client_gets_the_newest_list_and_holds_no_older_ones(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    reader.lists["C1"] = stored_list(ITEM)

    async def follow() -> tuple[int, str]:
        stream = StreamedGet(signed.app, EVENTS)
        await waiting(gateway, 1)
        for _ in range(100):
            reader.lists["C1"] = stored_list(ITEM)
            reader.notify(["C1"])
            await asyncio.sleep(0.001)
        ids: list[str] = []
        while not ids or ids[-1] != str(reader.lists["C1"].request_id):
            ids.append((await stream.event())["id"])
        stream.left.set()
        await stream.ended()
        return len(ids), ids[-1]

    count, last = signed.run(follow)
    assert count < 10
    assert last == str(reader.lists["C1"].request_id)


def test_a_stream_goes_on_after_an_outage_of_the_database(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    reader.unavailable = True

    async def follow() -> str:
        stream = StreamedGet(signed.app, EVENTS)
        await waiting(gateway, 1)
        reader.lists["C1"] = stored_list(ITEM)
        reader.unavailable = False
        event = await stream.event()
        stream.left.set()
        await stream.ended()
        return event["id"]

    assert signed.run(follow) == str(reader.lists["C1"].request_id)


def test_a_stream_ends_at_a_stop(signed: AsgiClient, gateway: Gateway) -> None:
    async def follow() -> int:
        stream = StreamedGet(signed.app, EVENTS)
        await waiting(gateway, 1)
        gateway.begin_shutdown()
        await stream.ended()
        return stream.status

    assert signed.run(follow) == 200


def test_an_unreadable_event_id_is_422(signed: AsgiClient) -> None:
    assert signed.get(EVENTS, headers={"Last-Event-ID": "17"}).status_code == 422


def test_a_request_is_queued_then_answered_with_its_times(signed: AsgiClient, reader: FakeReader) -> None:
    request_id = request_list(signed)
    queued = signed.get(f"/requests/{request_id}").json()
    assert (queued["state"], queued["answered_at"], queued["reason"]) == ("queued", None, None)
    age = datetime.now(UTC) - datetime.fromisoformat(queued["requested_at"])
    assert abs(age.total_seconds()) < 60
    requested_at, answered_at = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    reader.requests[request_id] = RequestRow(requested_at=requested_at, answered_at=answered_at)
    assert signed.get(f"/requests/{request_id}").json() == {
        "status": "ok",
        "request_id": str(request_id),
        "state": "answered",
        "requested_at": "2026-01-01T00:00:00Z",
        "answered_at": "2026-01-02T00:00:00Z",
        "failed_at": None,
        "reason": None,
    }


def test_a_dead_letter_is_a_failed_request_with_its_reason(signed: AsgiClient, reader: FakeReader) -> None:
    request_id = request_list(signed)
    failed_at = datetime(2026, 1, 2, tzinfo=UTC)
    reader.requests[request_id] = RequestRow(failed_at=failed_at, reason="ValueError: a bug")
    progress = signed.get(f"/requests/{request_id}").json()
    assert (progress["state"], progress["failed_at"]) == ("failed", "2026-01-02T00:00:00Z")
    assert progress["reason"] == "ValueError: a bug"


def test_a_request_that_never_was_is_404(signed: AsgiClient) -> None:
    answer = signed.get(f"/requests/{uuid4()}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
