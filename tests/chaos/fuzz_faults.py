"""Events that look valid and mostly are not, beside what customers do: a few for a while, and half of a burst."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from shared.events import INTERACTIONS_RECORDED, InteractionRecorded
from shared.identifiers import is_isin
from shared.recommender.types import InteractionType
from tests.chaos.campaign import Campaign
from tests.chaos.direct import DirectProducer, acknowledge, partition_count, place_of
from tests.chaos.fuzzed_comparison import Delivered
from tests.chaos.fuzzed_events import (
    COMMANDS,
    INTERACTIONS,
    NAME_SPACE,
    PROFILES,
    REQUESTS,
    TRANSACTIONS,
    Fuzzed,
    Fuzzer,
    Stored,
)
from tests.chaos.liveness import Liveness, expect_passed, expect_served, staying_alive
from tests.chaos.services import wait_until

BURST_FACTOR = 3
MOST_MESSAGE_BYTES = 1_000_000  # of a producer with default settings
COMMANDS_EACH = 40  # customer messages to one command
MOST_TRAININGS = 1  # asked for by the commands of one fault: a training costs seconds of CPU
STORED_EVENTS = 50
AHEAD_CUSTOMERS = 5
AHEAD_SECONDS = 300
_FEW_SECONDS = 5.0
# One in twenty reuses an event_id for other content: a burst on a busy machine is longer, so that it has some of them.
LEAST_FUZZED = 150
MOST_LONGER_SECONDS = 60.0
_BATCH_OVERHEAD_BYTES = 500
_LIST_SECONDS = 30.0


def fuzz_1_percent(campaign: Campaign) -> None:
    """Beside the customers' calls a hundredth of the campaign's events is fuzzed."""
    count = campaign.lengths.poison_messages
    with _burst(campaign, "fuzz 1 %") as burst:
        for _ in range(count):
            burst.send()
            time.sleep(_FEW_SECONDS / count)


def fuzz_50_percent(campaign: Campaign) -> None:
    """More load than usual, and one fuzzed message for every event of a customer."""
    with _burst(campaign, "fuzz 50 %") as burst:
        before = campaign.ledger.count("acknowledged")
        deadline = time.monotonic() + campaign.lengths.burst_seconds
        latest = deadline + MOST_LONGER_SECONDS
        campaign.load.set_pace(campaign.calls_per_second * BURST_FACTOR)
        try:
            while time.monotonic() < deadline or (burst.sent < LEAST_FUZZED and time.monotonic() < latest):
                if burst.sent < campaign.ledger.count("acknowledged") - before:
                    burst.send()
                else:
                    time.sleep(0.005)
        finally:
            campaign.load.set_pace(campaign.calls_per_second)


def dated_ahead(campaign: Campaign) -> None:
    """A click that its sender dates five minutes ahead, then a dismissal of the same asset, then a request.

    The log's order counts, so the list has no such asset; the ledger compares it with the dismissals.
    """
    since = time.monotonic()
    with DirectProducer(campaign) as producer:
        for number in range(AHEAD_CUSTOMERS):
            customer = f"ahead-{campaign.random.getrandbits(32)}-{number}"
            listed = _request(campaign, customer)
            if not campaign.expect(listed, f"dated ahead: {customer} has no list"):
                return
            _click_ahead(campaign, producer, customer, listed[0])
            _dismiss(campaign, customer, listed[0])
            _request(campaign, customer)
    campaign.recover("dated ahead", since=since)


@dataclass
class _Burst:
    """Fuzzed messages on their way."""

    campaign: Campaign
    producer: DirectProducer
    liveness: Liveness
    fuzzer: Fuzzer
    stored: list[Stored]
    sent: int = 0
    _trainings: int = 0
    _reports: list[tuple[Fuzzed, list[tuple[Any, Any]]]] = field(default_factory=list)

    def send(self) -> None:
        """Send one to a customer topic, and now and then a command beside it."""
        self._send(self.fuzzer.customer_event(self.stored))
        self.sent += 1
        if self.sent % COMMANDS_EACH == 1:
            command = self.fuzzer.command(may_train=self._trainings < MOST_TRAININGS)
            self._trainings += command.event_type == "RetrainRequested" and command.verdict != "refused"
            self._send(command)
        self.liveness.check()

    def delivered(self) -> list[Delivered]:
        """Wait for the broker and return where every message stands."""
        self.producer.flush()
        return [
            Delivered(place_of(reports[0][1]), fuzzed)
            for fuzzed, reports in self._reports
            if reports and reports[0][0] is None
        ]

    def _send(self, fuzzed: Fuzzed) -> None:
        elsewhere = fuzzed.any_partition and fuzzed.topic != COMMANDS  # commands have one partition
        partition = self.campaign.random.randrange(partition_count(self.campaign)) if elsewhere else None
        reports: list[tuple[Any, Any]] = []
        self._reports.append((fuzzed, reports))
        self.producer.send_soon(fuzzed.topic, fuzzed.value, key=fuzzed.key, partition=partition, reports=reports)


@contextlib.contextmanager
def _burst(campaign: Campaign, name: str) -> Iterator[_Burst]:
    """Send in here; afterwards every message is accounted for and the customers' own ones were served."""
    began, since = time.time(), time.monotonic()
    with staying_alive(campaign, name) as liveness, DirectProducer(campaign) as producer:
        burst = _Burst(campaign, producer, liveness, _fuzzer(campaign), _stored_events(campaign))
        yield burst
        delivered = burst.delivered()
        campaign.fuzzed += delivered
        events = sum(each.place[0] != COMMANDS for each in delivered)
        campaign.expect(events == burst.sent, f"{name}: only {events} of {burst.sent} messages were delivered")
        passed = expect_passed(campaign, name, [each.place for each in delivered], liveness)
        longest = expect_served(campaign, name, since=began) if passed else None
    campaign.notes[name] = {
        "fuzzed events": events,
        "fuzzed commands": len(delivered) - events,
        "events of customers": _events_since(campaign, began),
        "longest wait for a list (s)": longest,
    }
    if passed:
        campaign.recover(name, since=since)


def _fuzzer(campaign: Campaign) -> Fuzzer:
    """Return the campaign's one fuzzer: it knows which event ids it used."""
    if campaign.fuzzer is None:
        campaign.fuzzer = Fuzzer(
            campaign.random.getrandbits(32),
            isins=[isin for isin in campaign.isins if is_isin(isin)],
            largest_bytes=_largest_message(campaign) - _BATCH_OVERHEAD_BYTES,
            now=lambda: datetime.now(UTC),
        )
    return campaign.fuzzer


def _largest_message(campaign: Campaign) -> int:
    """Return what both the topics and a producer with default settings let through."""
    admin = AdminClient({"bootstrap.servers": campaign.system.kafka.bootstrap_servers, "log_level": 0})
    topics = [
        ConfigResource(ResourceType.TOPIC, topic)
        for topic in (INTERACTIONS, REQUESTS, TRANSACTIONS, PROFILES, COMMANDS)
    ]
    settings = [future.result(30.0) for future in admin.describe_configs(topics).values()]
    return min(MOST_MESSAGE_BYTES, *(int(each["max.message.bytes"].value) for each in settings))


def _stored_events(campaign: Campaign) -> list[Stored]:
    """Return some events of customers that had their effect."""
    found = []
    for topic, table, column in (
        (INTERACTIONS, "user_interactions", "event_id"),
        (REQUESTS, "decisions", "request_id"),
        (TRANSACTIONS, "recorded_transactions", "event_id"),
        (PROFILES, "recorded_customers", "event_id"),
    ):
        rows = campaign.system.query(
            f"SELECT {column}::text FROM {table} WHERE NOT starts_with(customer_id, %s) LIMIT %s",
            NAME_SPACE,
            STORED_EVENTS,
        )
        found += [Stored(topic, event_id) for (event_id,) in rows]
    return found


def _events_since(campaign: Campaign, began: float) -> int:
    return sum(call.outcome == "acknowledged" and call.answered_at >= began for call in campaign.ledger.calls())


def _request(campaign: Campaign, customer: str) -> list[str]:
    """Ask for a list and return its assets once it is there; empty when it does not come."""
    request_id = campaign.ask(customer)
    if request_id is None:
        return []
    listed: list[str] = []

    def is_there() -> bool:
        listed[:] = campaign.read_list(customer, request_id) or []
        return bool(listed)

    wait_until(is_there, seconds=_LIST_SECONDS)
    return listed


def _click_ahead(campaign: Campaign, producer: DirectProducer, customer: str, isin: str) -> None:
    call = campaign.ledger.begin(customer, "interaction")
    ahead = datetime.now(UTC) + timedelta(seconds=AHEAD_SECONDS)
    event = InteractionRecorded(customer_id=customer, isin=isin, type=InteractionType.CLICK, occurred_at=ahead)
    producer.send_event(INTERACTIONS_RECORDED, event, key=customer)
    acknowledge(campaign, call, event)


def _dismiss(campaign: Campaign, customer: str, isin: str) -> None:
    call = campaign.ledger.begin(customer, "interaction", dismissed=isin)
    campaign.make(call, "/user_interactions", {"customer_id": customer, "isin": isin, "type": "dismiss"})
