"""Events: what decodes, what is refused and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import events
from shared.errors import ContractViolation


def encoded_request(**changes: object) -> bytes:
    body = {
        "event_id": "3f0c5a52-95b9-4a8a-9e0f-6c8f7f6f8a11",
        "occurred_at": "2026-01-02T03:04:05Z",
        "schema_version": 1,
        "event_type": "RecommendationRequested",
        "customer_id": "85583A768E48870A546D",
        "action": "refresh_recs",
    }
    return json.dumps(body | changes).encode()


def test_an_event_survives_the_wire() -> None:
    event = events.RecommendationRequested(
        customer_id="C1",
        action="request_recs",
        weights=events.RequestedWeights(collaborative=1.0),
    )

    assert events.decode(events.RECOMMENDATIONS_REQUESTED, events.encode(event)) == event


def test_decoding_reads_identity_and_time() -> None:
    event = events.decode(events.RECOMMENDATIONS_REQUESTED, encoded_request())

    assert event.event_id == UUID("3f0c5a52-95b9-4a8a-9e0f-6c8f7f6f8a11")
    assert event.occurred_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    event = events.decode(events.RECOMMENDATIONS_REQUESTED, encoded_request(added_later=1))

    assert isinstance(event, events.RecommendationRequested)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"action": "delete"}, "action"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "x" * 65}, "customer_id"),
        ({"customer_id": "a\u0000b"}, "customer_id"),
        ({"schema_version": 2}, "schema_version"),
        ({"occurred_at": "2026-01-02T03:04:05"}, "occurred_at"),
        ({"weights": {"collaborative": -1}}, "weights.collaborative"),
        ({"weights": {"collaborative": 0}}, "weights"),
        ({"weights": {"collaborative": 1, "luck": 1}}, "weights.luck"),
        ({"event_type": "InteractionRecorded"}, "event_type"),
    ],
)
def test_a_broken_contract_is_refused_and_names_the_field(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ContractViolation, match=named):
        events.decode(events.RECOMMENDATIONS_REQUESTED, encoded_request(**changes))


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "1e999"])
def test_weights_that_are_not_finite_are_refused(weight: str) -> None:
    payload = encoded_request().replace(
        b'"refresh_recs"', f'"refresh_recs", "weights": {{"content": {weight}}}'.encode()
    )

    with pytest.raises(ContractViolation):
        events.decode(events.RECOMMENDATIONS_REQUESTED, payload)


@pytest.mark.parametrize("payload", [None, b""])
def test_an_empty_message_is_refused(payload: bytes | None) -> None:
    with pytest.raises(ContractViolation, match="empty"):
        events.decode(events.INTERACTIONS_RECORDED, payload)


@given(st.binary(max_size=200), st.sampled_from(sorted(events.EVENTS_OF_TOPIC)))
def test_arbitrary_bytes_raise_nothing_but_contract_violations(payload: bytes, topic: str) -> None:
    with pytest.raises(ContractViolation):
        events.decode(topic, payload)


@pytest.mark.parametrize("missing", ["event_id", "occurred_at", "schema_version", "event_type"])
def test_an_event_must_say_who_it_is(missing: str) -> None:
    body = json.loads(encoded_request())
    del body[missing]

    with pytest.raises(ContractViolation, match=f"{missing}: missing"):
        events.decode(events.RECOMMENDATIONS_REQUESTED, json.dumps(body).encode())


def test_an_empty_object_is_no_command() -> None:
    with pytest.raises(ContractViolation):
        events.decode(events.MODELS_COMMANDS, b"{}")


def test_the_command_topic_tells_its_events_apart() -> None:
    activated = events.ModelActivated(version="20260101T000000Z-ease-1")
    retrain = events.RetrainRequested()

    assert events.decode(events.MODELS_COMMANDS, events.encode(activated)) == activated
    assert events.decode(events.MODELS_COMMANDS, events.encode(retrain)) == retrain
