"""Messages that no gateway would send: poison, the same event twice, one Idempotency-Key many times at once."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shared import events
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded, RecommendationRequested, encode
from shared.recommender.types import InteractionType
from tests.chaos.campaign import Campaign
from tests.chaos.direct import CUSTOMER_TOPICS, DirectProducer, acknowledge, partition_count, place_of
from tests.chaos.services import wait_until

POISON_SECONDS = 3.0
DUPLICATES = 10  # customers of each kind
SAME_KEY_CALLS = 50
_EFFECT_SECONDS = 10.0


def poison_heads(campaign: Campaign) -> None:
    """A message that nobody can read is the first of every partition."""
    with DirectProducer(campaign) as producer:
        for topic in events.WORKER_TOPICS:
            for number in range(partition_count(campaign)):
                place = producer.send(topic, b"\xff\x00 not JSON", key="poison", partition=number)
                campaign.expect(place[2] == 0, f"{place} is not the head of its partition")
                campaign.poison.add(place)


def poison_stream(campaign: Campaign) -> None:
    """A hundredth of the campaign's events is poison, of every kind, among what customers do."""
    since = time.monotonic()
    reports: list[tuple[Any, Any]] = []
    count = campaign.lengths.poison_messages
    with DirectProducer(campaign) as producer:
        for number in range(count):
            topic = campaign.random.choice(CUSTOMER_TOPICS)
            value = _poison(campaign, topic, kind=number)
            partition = campaign.random.randrange(partition_count(campaign))
            producer.send_soon(topic, value, key="poison", partition=partition, reports=reports)
            time.sleep(POISON_SECONDS / count)
        producer.flush()
    delivered = [place_of(message) for error, message in reports if error is None]
    campaign.expect(len(delivered) == count, f"only {len(delivered)} of {count} poison messages were delivered")
    campaign.poison.update(delivered)
    campaign.notes["poison messages"] = len(campaign.poison)
    campaign.recover("poison", since=since)


def deliver_twice(campaign: Campaign) -> None:
    """Events that stand in the log twice: one right after the other, and again in a later batch."""
    with DirectProducer(campaign) as producer:
        for number in range(DUPLICATES):
            customer = f"twice-{uuid.UUID(int=campaign.random.getrandbits(128)).hex[:12]}"
            events: list[InteractionRecorded | RecommendationRequested] = [
                InteractionRecorded(
                    customer_id=customer, isin=campaign.random.choice(campaign.isins), type=InteractionType.VIEW
                ),
                RecommendationRequested(customer_id=customer, action="refresh_recs"),
            ]
            for event, topic, kind in zip(events, CUSTOMER_TOPICS, ("interaction", "request"), strict=True):
                _deliver_twice(campaign, producer, topic, event, kind, together=number % 2 == 0)


def one_key_at_once(campaign: Campaign) -> None:
    """Fifty calls with one Idempotency-Key and body at the same time; a further one with another body is refused."""
    customer, key = campaign.probe_customers[0], f"{campaign.random.getrandbits(96):024x}"
    isin, other = campaign.random.sample(campaign.isins, 2)
    body = {"customer_id": customer, "isin": isin, "type": "view"}
    calls = [campaign.ledger.begin(customer, "interaction", key=key) for _ in range(SAME_KEY_CALLS)]

    with ThreadPoolExecutor(SAME_KEY_CALLS) as pool:
        closed = list(pool.map(lambda call: campaign.make(call, "/user_interactions", body), calls))
    ids = {call.event_id for call in closed if call.outcome == "acknowledged"}
    campaign.expect(len(ids) == 1, f"one Idempotency-Key gave {len(ids)} event ids")
    status = campaign.http.post(
        "/user_interactions", json={**body, "isin": other}, headers={"Idempotency-Key": key}
    ).status_code
    campaign.expect(status == 422, f"a used Idempotency-Key with another body was answered with {status}, not 422")


def _deliver_twice(
    campaign: Campaign,
    producer: DirectProducer,
    topic: str,
    event: InteractionRecorded | RecommendationRequested,
    kind: Any,
    *,
    together: bool,
) -> None:
    call = campaign.ledger.begin(event.customer_id, kind)
    producer.send_event(topic, event, key=event.customer_id)
    if not together:
        wait_until(lambda: campaign.count_effects([str(event.event_id)]) > 0, seconds=_EFFECT_SECONDS)
    producer.send_event(topic, event, key=event.customer_id)
    acknowledge(campaign, call, event)


def _poison(campaign: Campaign, topic: str, *, kind: int) -> bytes | None:
    """Return a message that breaks the contract of its topic in one of several ways; its key is `poison`."""
    good: InteractionRecorded | RecommendationRequested
    if topic == INTERACTIONS_RECORDED:
        good = InteractionRecorded(customer_id="poison", isin="NOSUCHISIN", type=InteractionType.CLICK)
    else:
        good = RecommendationRequested(customer_id="somebody-else", action="refresh_recs")
    fields = json.loads(encode(good))
    ways: list[bytes | None] = [
        None,
        b"",
        b"{",
        b"\xc3\x28",
        b"[1, 2]",
        encode(good),  # an asset that does not exist; a key that is not the customer's
        json.dumps({**fields, "schema_version": 99}).encode(),
        json.dumps({**fields, "customer_id": "x" * 5000}).encode(),
        json.dumps({**fields, "event_type": "SomethingElse"}).encode(),
        json.dumps({**fields, "occurred_at": "yesterday"}).encode(),
        b"0" * 100_000,
    ]
    return ways[kind % len(ways)]
