"""Suspensions: the commands about them, and what lists, waits and streams show meanwhile."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from api.gateway import Gateway
from api.ports import CurrentFacts
from api.schemas.suspensions import SuspendedSubject
from shared.events import SUSPENSIONS_CHANGED, SuspensionChanged
from shared.postgres.notifications import EVERYBODY
from shared.recommender.types import RiskLevel
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakePublisher, FakeReader
from tests.unit.api.test_catalogue_and_models import model_row
from tests.unit.api.test_recommendations import ITEM, stored_list
from tests.unit.api.test_waiting import gateway as gateway
from tests.unit.api.test_waiting import signed as signed
from tests.unit.api.test_waiting import waiting

ISIN = "GRS434003000"
REASON = {"reason": "the issuer stopped trading"}
SUITABLE = CurrentFacts(RiskLevel.AGGRESSIVE, {ISIN: RiskLevel.BALANCED}, frozenset(), frozenset())
SUSPENDED = replace(SUITABLE, suspended=frozenset({ISIN}))
STALE = replace(stored_list(ITEM), is_stale=True)  # a suspension makes every earlier list stale


@pytest.mark.parametrize(("command", "suspended"), [("suspend", True), ("resume", False)])
@pytest.mark.parametrize(
    ("path", "kind", "subject"),
    [(f"/assets/{ISIN}", "asset", ISIN), ("/categories/Stock", "category", "Stock"), ("/models/v1", "model", "v1")],
)
def test_a_command_is_an_event_under_its_subject(
    client: AsgiClient,
    publisher: FakePublisher,
    reader: FakeReader,
    *,
    path: str,
    kind: str,
    subject: str,
    command: str,
    suspended: bool,
) -> None:
    reader.models = [model_row("v1", status="promoted")]
    answer = client.post(f"{path}/{command}", json=REASON)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    [published] = publisher.published
    event = published.event
    assert isinstance(event, SuspensionChanged)
    assert (published.topic, published.key) == (SUSPENSIONS_CHANGED, subject)
    assert (event.kind, event.subject, event.suspended, event.reason) == (kind, subject, suspended, REASON["reason"])
    assert answer.headers["x-request-id"] == str(event.event_id)


@pytest.mark.parametrize("path", ["/assets/XX0000000000", "/categories/stock", "/models/v9"])
def test_what_does_not_exist_is_not_suspended_but_may_be_resumed(
    client: AsgiClient, publisher: FakePublisher, path: str
) -> None:
    assert client.post(f"{path}/suspend", json=REASON).status_code == 404
    assert publisher.published == []
    assert client.post(f"{path}/resume", json=REASON).status_code == 200


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 501}, {"reason": "two\nlines"}, {"reason": 1}])
@pytest.mark.parametrize("command", ["suspend", "resume"])
def test_a_reason_is_required(client: AsgiClient, publisher: FakePublisher, command: str, body: object) -> None:
    answer = client.post(f"/assets/{ISIN}/{command}", json=body)
    assert answer.status_code == 422
    assert "reason" in answer.json()["errors"][0]["field"]
    assert publisher.published == []


def test_what_is_suspended_can_be_read(client: AsgiClient, reader: FakeReader) -> None:
    assert client.get("/suspensions").json() == {"status": "ok", "suspensions": []}
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    reader.suspensions = [SuspendedSubject(kind="category", subject="Stock", reason="a test", suspended_at=since)]
    [suspension] = client.get("/suspensions").json()["suspensions"]
    assert suspension == {
        "kind": "category",
        "subject": "Stock",
        "reason": "a test",
        "suspended_at": "2026-01-02T03:04:05Z",
    }
    reader.unavailable = True
    assert client.get("/suspensions").status_code == 503


def test_a_stored_list_leaves_out_what_is_suspended_and_has_another_tag(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"], reader.facts = STALE, SUITABLE
    before = client.get("/recommendations/C1")
    assert [item["isin"] for item in before.json()["recommendations"]] == [ISIN]
    reader.facts = SUSPENDED
    after = client.get("/recommendations/C1", headers={"If-None-Match": before.headers["etag"]})
    assert (after.status_code, after.json()["recommendations"]) == (200, [])
    reader.facts = SUITABLE
    resumed = client.get("/recommendations/C1", headers={"If-None-Match": before.headers["etag"]})
    assert resumed.status_code == 304


def test_no_list_is_shown_while_the_database_cannot_say_what_is_suspended(
    client: AsgiClient, reader: FakeReader
) -> None:
    reader.lists["C1"], reader.facts, reader.unavailable = STALE, SUITABLE, True
    assert client.get("/recommendations/C1").status_code == 503


def test_a_stream_shows_its_list_again_when_a_suspension_changes_it_and_not_otherwise(
    signed: AsgiClient, gateway: Gateway, reader: FakeReader
) -> None:
    reader.lists["C1"], reader.facts = STALE, SUITABLE

    async def follow() -> list[dict[str, str]]:
        stream = StreamedGet(signed.app, "/recommendations/C1/events")
        events = [await stream.event()]
        await waiting(gateway, 1)
        reader.notify([EVERYBODY])  # a suspension of something else
        for _ in range(20):
            await asyncio.sleep(0)
        assert stream.chunks.empty()
        for facts in (SUSPENDED, SUITABLE):
            reader.facts = facts
            reader.notify([EVERYBODY])
            events.append(await stream.event())
        reader.facts = SUSPENDED
        reader.connect()  # a notification may have been missed
        events.append(await stream.event())
        stream.left.set()
        await stream.ended()
        return events

    events = signed.run(follow)
    assert [len(json.loads(event["data"])["recommendations"]) for event in events] == [1, 0, 1, 0]
    assert {event["id"] for event in events} == {str(STALE.request_id)}


def test_a_client_that_comes_again_after_a_suspension_gets_its_list_as_it_is_now(
    signed: AsgiClient, reader: FakeReader
) -> None:
    reader.lists["C1"], reader.facts = STALE, SUSPENDED

    async def follow() -> dict[str, str]:
        stream = StreamedGet(signed.app, "/recommendations/C1/events", {"last-event-id": str(STALE.request_id)})
        event = await stream.event()
        stream.left.set()
        await stream.ended()
        return event

    assert json.loads(signed.run(follow)["data"])["recommendations"] == []
