"""Events: what decodes, what is refused and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
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
        customer_id="C1", action="request_recs", weights=events.RequestedWeights(collaborative=1.0)
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
        ({"customer_id": ".."}, "customer_id"),
        ({"customer_id": " C1"}, "customer_id"),
        ({"customer_id": "C1\n"}, "customer_id"),
        ({"customer_id": "E1/C4"}, "customer_id"),
        ({"fingerprint": "a\u0000b"}, "fingerprint"),
        ({"fingerprint": ""}, "fingerprint"),
        ({"weights": {"collaborative": 1e300}}, "weights.collaborative"),
        ({"occurred_at": "0001-01-01T05:00:00+05:30"}, "occurred_at"),
        ({"occurred_at": "1999-12-31T23:59:59Z"}, "occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "occurred_at"),
        ({"occurred_at": 1e18}, "occurred_at"),
        ({"occurred_at": -1}, "occurred_at"),
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


@pytest.mark.parametrize("logged_at", [None, datetime(2001, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
def test_a_broker_whose_clock_is_behind_refuses_no_event_of_today(logged_at: datetime | None) -> None:
    now = datetime.now(UTC)
    accepted = encoded_request(occurred_at=(now + timedelta(hours=23)).isoformat())
    refused = encoded_request(occurred_at=(now + timedelta(hours=25)).isoformat())

    assert events.decode(events.RECOMMENDATIONS_REQUESTED, accepted, logged_at=logged_at)
    with pytest.raises(ContractViolation, match="more than a day after the log's time"):
        events.decode(events.RECOMMENDATIONS_REQUESTED, refused, logged_at=logged_at)


def test_an_event_from_more_than_a_day_after_the_log_is_refused() -> None:
    logged_at = datetime(2126, 1, 2, tzinfo=UTC)  # later than now
    accepted = encoded_request(occurred_at="2126-01-03T00:00:00Z")
    refused = encoded_request(occurred_at="2126-01-03T00:00:00.000001Z")

    assert events.decode(events.RECOMMENDATIONS_REQUESTED, accepted, logged_at=logged_at)
    with pytest.raises(ContractViolation, match=r"occurred_at: .* more than a day after the log's time"):
        events.decode(events.RECOMMENDATIONS_REQUESTED, refused, logged_at=logged_at)


@pytest.mark.parametrize("text", ["a\u0000", "\u001b[2J", "a\nb", "\u0085", "\u2028"])
def test_text_with_control_characters_is_refused(text: str) -> None:
    body = json.loads(events.encode(events.RetrainRequested()))

    with pytest.raises(ContractViolation, match="reason"):
        events.decode(events.MODELS_COMMANDS, json.dumps({**body, "reason": text}).encode())


@given(
    st.dictionaries(
        st.sampled_from(["event_id", "occurred_at", "customer_id", "isin", "type", "fingerprint", "schema_version"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(lambda at: f"{at}Z"),
    )
)
def test_every_interaction_that_is_accepted_can_be_read_back(changes: dict[str, object]) -> None:
    body = json.loads(encoded_request(event_type="InteractionRecorded", isin="GRS434003000", type="click"))
    try:
        event = events.decode(events.INTERACTIONS_RECORDED, json.dumps({**body, **changes}).encode())
    except ContractViolation:
        return
    assert events.decode(events.INTERACTIONS_RECORDED, events.encode(event)) == event
    assert datetime.fromtimestamp(event.occurred_at.timestamp(), tz=UTC) == event.occurred_at
    assert "\x00" not in events.encode(event).decode()


@pytest.mark.parametrize("offset", ["+23:59", "-23:59", "+16:00", "+05:30"])
def test_a_time_is_kept_in_utc_whatever_its_offset(offset: str) -> None:
    event = events.decode(events.RECOMMENDATIONS_REQUESTED, encoded_request(occurred_at=f"2026-01-02T03:04:05{offset}"))

    assert event.occurred_at.utcoffset() == timedelta(0)
    assert event.occurred_at == datetime.fromisoformat(f"2026-01-02T03:04:05{offset}")


def test_the_digest_of_the_content_ignores_identity_alone() -> None:
    first = events.RecommendationRequested(customer_id="C1", action="request_recs")
    again = events.RecommendationRequested(customer_id="C1", action="request_recs", fingerprint="other")
    other = events.RecommendationRequested(customer_id="C1", action="refresh_recs", event_id=first.event_id)

    assert events.content_digest(first) == events.content_digest(again)
    assert events.content_digest(first) != events.content_digest(other)


PROFILE = {"event_type": "CustomerChanged", "customer_id": "C1", "changed_on": "2026-01-02"}
ASSET = {"event_type": "AssetChanged", "isin": "GRS1", "asset_category": "Stock", "changed_on": "2026-01-02"}
PRICE = {"event_type": "ClosePriceRecorded", "isin": "GRS1", "priced_on": "2026-01-02", "close_price": 12}


def encoded(fields: Mapping[str, object], **changes: object) -> bytes:
    identity = {
        "event_id": "3f0c5a52-95b9-4a8a-9e0f-6c8f7f6f8a11",
        "occurred_at": "2026-01-02T03:04:05Z",
        "schema_version": 1,
    }
    return json.dumps({**identity, **fields, **changes}).encode()


@pytest.mark.parametrize(
    ("topic", "fields", "key"),
    [
        (events.CUSTOMERS_CHANGED, PROFILE, b"C1"),
        (events.ASSETS_CHANGED, ASSET, b"GRS1"),
        (events.CLOSE_PRICES_RECORDED, PRICE, b"GRS1"),
    ],
)
def test_reference_events_need_few_fields_and_name_their_key(topic: str, fields: dict[str, object], key: bytes) -> None:
    assert events.decode(topic, encoded(fields)).key() == key


@pytest.mark.parametrize(
    ("topic", "fields", "changes", "named"),
    [
        *((events.CLOSE_PRICES_RECORDED, PRICE, {"close_price": price}, "close_price")
          for price in (0, -1, 1e-10, 1e12 + 1, "12", True, None)),
        *((events.CLOSE_PRICES_RECORDED, PRICE, {"priced_on": day}, "priced_on")
          for day in (20455, "1989-12-31", "2026-02-30", "2026-01-02T00:00:00", "2026-01-02Z", "", None, "9999-01-01")),
        (events.CLOSE_PRICES_RECORDED, PRICE, {"currency": "euro"}, "currency"),
        (events.ASSETS_CHANGED, ASSET, {"asset_category": "Fund"}, "asset_category"),
        (events.ASSETS_CHANGED, ASSET, {"asset_name": "a\u0000b"}, "asset_name"),
        (events.ASSETS_CHANGED, ASSET, {"sector": "x" * 201}, "sector"),
        (events.CUSTOMERS_CHANGED, PROFILE, {"risk_level": "Reckless"}, "risk_level"),
        (events.CUSTOMERS_CHANGED, PROFILE, {"risk_level": "Income\n"}, "risk_level"),
        (events.CUSTOMERS_CHANGED, PROFILE, {"investment_capacity": "30K"}, "investment_capacity"),
        (events.CUSTOMERS_CHANGED, PROFILE, {"last_questionnaire_date": "1899-12-31"}, "last_questionnaire_date"),
    ],
)  # fmt: skip
def test_reference_events_have_the_bounds_of_the_files(
    topic: str, fields: dict[str, object], changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ContractViolation, match=named):
        events.decode(topic, encoded(fields, **changes))


@pytest.mark.parametrize(
    ("topic", "fields", "name"),
    [
        (events.CLOSE_PRICES_RECORDED, PRICE, "priced_on"),
        (events.ASSETS_CHANGED, ASSET, "changed_on"),
        (events.CUSTOMERS_CHANGED, PROFILE, "changed_on"),
        (events.CUSTOMERS_CHANGED, PROFILE, "last_questionnaire_date"),
    ],
)
def test_a_day_is_at_most_the_one_after_that_of_the_log(topic: str, fields: dict[str, object], name: str) -> None:
    logged_at = datetime.now(UTC)
    days = [(logged_at + timedelta(days=ahead)).date().isoformat() for ahead in (1, 2)]
    events.decode(topic, encoded(fields, **{name: days[0]}), logged_at=logged_at)
    with pytest.raises(ContractViolation, match=name):
        events.decode(topic, encoded(fields, **{name: days[1]}), logged_at=logged_at)


@pytest.mark.parametrize("code", ["Income", "Predicted_Aggressive", "Not_Available", None])
def test_the_codes_of_the_files_are_those_of_the_events(code: str | None) -> None:
    event = events.decode(events.CUSTOMERS_CHANGED, encoded(PROFILE, risk_level=code))
    assert isinstance(event, events.CustomerChanged)
    assert event.risk_level == code
