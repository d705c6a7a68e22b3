"""Whatever messages hold: each has its effect once or is a dead letter, and what was kept can be read back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import EventIdReused, describe_error
from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    REFERENCE_TOPICS,
    InteractionRecorded,
    RecommendationRequested,
    TransactionRecorded,
    content_digest,
    decode,
    encode,
)
from shared.ports import Message
from tests.builders import build_customer, build_model
from tests.fakes_store import FakeStore, FakeTransaction, display_of
from tests.hostile_messages import CUSTOMERS, LOGGED_AT, hostile_messages
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.handlers import Handled, handle_batch
from worker.message_buffer import Batch

MODEL = build_model(assets=12)
SCORING = Scoring(MODEL, k=10, now=lambda: LOGGED_AT)
REASONS = {"ContractViolation", "UnknownAsset", "EventIdReused", "IdempotencyKeyReused"}


def build_store() -> FakeStore:
    store = FakeStore()
    store.tables.displays = {isin: display_of(isin) for isin in MODEL.id_map.isins}
    store.tables.customers = {"C1": build_customer("C1")}
    return store


def handle(store: FakeStore, messages: Sequence[Message]) -> Handled:
    batch = Batch(
        tuple(one for one in messages if one.topic != RECOMMENDATIONS_REQUESTED),
        tuple(one for one in messages if one.topic == RECOMMENDATIONS_REQUESTED),
    )
    with store.begin() as transaction:
        return handle_batch(batch, transaction=transaction, catalogue=Catalogue(store), scoring=SCORING)


@given(st.lists(hostile_messages(MODEL.id_map.isins), min_size=1, max_size=3))
def test_every_message_has_its_effect_once_or_is_a_dead_letter(batches: list[list[Message]]) -> None:
    store = build_store()
    for messages in batches:
        handled = handle(store, messages)
        dead = [message for message, _ in handled.dead_letters]
        assert {type(error).__name__ for _, error in handled.dead_letters} <= REASONS
        assert max(Counter(dead).values(), default=1) == 1
        for message in messages:
            assert (message in dead) or is_kept(store, message)
        for message, error in handled.dead_letters:
            assert describe_error(error).isprintable()
            assert message in messages
    check_readable(store)


@given(hostile_messages(MODEL.id_map.isins))
def test_a_batch_that_comes_again_has_no_further_effect(messages: list[Message]) -> None:
    store = build_store()
    first = handle(store, messages)
    interactions, decisions = dict(store.tables.interactions), dict(store.tables.decisions)
    transactions, reference_events = dict(store.tables.transactions), dict(store.tables.reference_events)
    again = handle(store, messages)
    assert (again.interactions, again.transactions, again.reference_events, again.decisions) == (0, 0, 0, ())
    assert (store.tables.interactions, store.tables.decisions) == (interactions, decisions)
    assert (store.tables.transactions, store.tables.reference_events) == (transactions, reference_events)
    assert {message for message, _ in again.dead_letters} == {message for message, _ in first.dead_letters}


@given(hostile_messages(MODEL.id_map.isins), st.integers(0, 8))
def test_the_effects_do_not_depend_on_where_the_log_is_cut_into_batches(messages: list[Message], cut: int) -> None:
    whole, halves = build_store(), build_store()
    handle(whole, messages)
    handle(halves, messages[:cut])
    handle(halves, messages[cut:])
    assert {one: pair[1] for one, pair in whole.tables.interactions.items()} == {
        one: pair[1] for one, pair in halves.tables.interactions.items()
    }
    assert {one: pair[1] for one, pair in whole.tables.transactions.items()} == {
        one: pair[1] for one, pair in halves.tables.transactions.items()
    }
    for topic in REFERENCE_TOPICS:  # there is no order between topics
        assert whole.tables.events_of(topic) == halves.tables.events_of(topic)
    assert whole.tables.decisions.keys() == halves.tables.decisions.keys()
    assert whole.tables.dead_letters == halves.tables.dead_letters


@pytest.mark.parametrize(
    ("said", "kept"), [("a\x00b\x1f", "a\\x00b\\x1f"), ("\ud800", "\\ud800"), ("é\u2028", "é\\u2028")]
)
def test_a_reason_can_be_stored_and_shown(said: str, kept: str) -> None:
    assert describe_error(ValueError(said)) == f"ValueError: {kept}"
    assert len(describe_error(ValueError("x" * 5000))) == 2000


def test_an_event_is_judged_by_the_logs_time_or_by_now_if_that_is_later() -> None:
    store = build_store()
    now = datetime.now(UTC)
    late, early = click(occurred_at=now + timedelta(hours=25)), click(occurred_at=LOGGED_AT)
    recent = click(occurred_at=now + timedelta(hours=30))
    handled = handle(
        store,
        [message(late, 0), message(early, 1), message(recent, 2, logged_at=now + timedelta(hours=7))],
    )
    assert [one.offset for one, _ in handled.dead_letters] == [0]
    assert set(store.tables.interactions) == {early.event_id, recent.event_id}


def test_an_id_that_has_a_decision_is_compared_and_keeps_it() -> None:
    """Two customers lie in two partitions: another worker may have kept the id."""
    store = build_store()
    first = RecommendationRequested(customer_id="C1", action="refresh_recs", occurred_at=LOGGED_AT)
    again, other = first.model_copy(), first.model_copy(update={"customer_id": "C2"})
    handle(store, [message(first, 0)])

    for request, letters in ((again, []), (other, [EventIdReused])):
        transaction = FakeTransaction(store.tables, store.tick(), {})
        handled = handle_batch(
            Batch(requests=(message(request, 1),)), transaction=transaction, catalogue=Catalogue(store), scoring=SCORING
        )
        assert [type(error) for _, error in handled.dead_letters] == letters
        assert handled.decisions == ()
    assert store.tables.lists["C1"].request_id == first.event_id
    assert "C2" not in store.tables.lists


def click(**fields: Any) -> InteractionRecorded:
    return InteractionRecorded(**{"customer_id": "C1", "isin": MODEL.id_map.isins[0], "type": "click", **fields})


def message(
    event: InteractionRecorded | RecommendationRequested, offset: int, *, logged_at: datetime = LOGGED_AT
) -> Message:
    topic = INTERACTIONS_RECORDED if isinstance(event, InteractionRecorded) else RECOMMENDATIONS_REQUESTED
    return Message(topic, 0, offset, event.customer_id.encode(), encode(event), logged_at)


def is_kept(store: FakeStore, message: Message) -> bool:
    """Is exactly what this message says kept under its id?"""
    event = decode(message.topic, message.value, logged_at=message.logged_at)
    if isinstance(event, InteractionRecorded):
        _, kept, _ = store.tables.interactions[event.event_id]
        return content_digest(kept) == content_digest(event)
    if isinstance(event, TransactionRecorded):
        return content_digest(event) in {content_digest(kept) for _, kept in store.tables.transactions.values()}
    if message.topic in REFERENCE_TOPICS:
        return content_digest(store.tables.reference_events[message.topic, event.event_id]) == content_digest(event)
    return store.tables.decisions[event.event_id].content_digest == content_digest(event)


def check_readable(store: FakeStore) -> None:
    """Read everything back as scoring, the gateway and a training do."""
    with store.begin() as transaction:
        histories = transaction.fetch_histories(CUSTOMERS)
        transaction.fetch_fresh_lists(CUSTOMERS)
    for history in histories.values():
        for interaction in history.interactions:
            assert datetime.fromtimestamp(interaction.occurred_at.timestamp(), tz=UTC) == interaction.occurred_at
    for decision in store.tables.decisions.values():
        json.dumps([item.model_dump() for item in decision.answer.items], allow_nan=False)
