"""Golden events: each file is one event as it was once on Kafka. They are never edited, only added to."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest

from shared import events
from shared.events import (
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    CustomerErased,
    Event,
    InteractionRecorded,
    ModelActivated,
    ModelPinned,
    ModelPublished,
    ModelUnpinned,
    RecommendationRequested,
    RequestedWeights,
    RetrainCancelled,
    RetrainRequested,
    SuspensionChanged,
    TransactionRecorded,
    decode,
    encode,
)
from shared.recommender.types import InteractionType
from shared.requested_options import RequestedLimits

FOLDER = Path(__file__).parent / "events"
IDENTITY = {
    "event_id": UUID("0b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11"),
    "occurred_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
}
FINGERPRINT = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
GOLDEN: dict[str, tuple[str, Event]] = {
    "recommendation_requested.v1": (
        events.RECOMMENDATIONS_REQUESTED,
        RecommendationRequested(**IDENTITY, customer_id="85583A768E48870A546D", action="request_recs"),
    ),
    "recommendation_requested.with_weights.v1": (
        events.RECOMMENDATIONS_REQUESTED,
        RecommendationRequested(
            **IDENTITY,
            fingerprint=FINGERPRINT,
            customer_id="85583A768E48870A546D",
            action="refresh_recs",
            weights=RequestedWeights(collaborative=0.5, content=0.2, profitability=0.3),
        ),
    ),
    "recommendation_requested.with_options.v1": (
        events.RECOMMENDATIONS_REQUESTED,
        RecommendationRequested(
            **IDENTITY,
            fingerprint=FINGERPRINT,
            customer_id="85583A768E48870A546D",
            action="refresh_recs",
            preset="balanced",
            k=20,
            categories=("Stock", "Bond"),
            sectors=("Technology", "Technology", "Energy"),
            exclude=("GRS434003000", "GRS014003032"),
            limits=RequestedLimits(per_sector=3, per_category=12),
            save=False,
        ),
    ),
    "recommendation_requested.why.v1": (
        events.RECOMMENDATIONS_REQUESTED,
        RecommendationRequested(
            **IDENTITY, customer_id="85583A768E48870A546D", action="refresh_recs", save=False, why="GRS434003000"
        ),
    ),
    "interaction_recorded.v1": (
        events.INTERACTIONS_RECORDED,
        InteractionRecorded(
            **IDENTITY,
            fingerprint=FINGERPRINT,
            customer_id="85583A768E48870A546D",
            isin="GRS434003000",
            type=InteractionType.CLICK,
        ),
    ),
    "interaction_recorded.of_a_list.v1": (
        events.INTERACTIONS_RECORDED,
        InteractionRecorded(
            **IDENTITY,
            customer_id="85583A768E48870A546D",
            isin="GRS434003000",
            type=InteractionType.IMPRESSION,
            request_id=UUID("5d0d9b0a-2c55-4b5e-8d8e-0f6f2f1f7a10"),
            rank=3,
        ),
    ),
    "transaction_recorded.v1": (
        events.TRANSACTIONS_RECORDED,
        TransactionRecorded(
            **IDENTITY,
            fingerprint=FINGERPRINT,
            customer_id="85583A768E48870A546D",
            isin="GRS434003000",
            type="Buy",
            units=16.666666666666668,
            total_value=215.0,
            currency="EUR",
            executed_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
            transaction_id="8061980",
        ),
    ),
    "customer_changed.v1": (
        events.CUSTOMERS_CHANGED,
        CustomerChanged(
            **IDENTITY,
            customer_id="85583A768E48870A546D",
            customer_type="Premium",
            risk_level="Predicted_Income",
            investment_capacity="CAP_30K_80K",
            last_questionnaire_date=date(2025, 11, 30),
            changed_on=date(2026, 1, 2),
        ),
    ),
    "asset_changed.v1": (
        events.ASSETS_CHANGED,
        AssetChanged(
            **IDENTITY,
            isin="GRS434003000",
            asset_name="Public Power Corporation S.A.",
            asset_short_name="PPC",
            asset_category="Stock",
            market_id="XATH",
            sector="Utilities",
            industry="Utilities - Diversified",
            changed_on=date(2026, 1, 2),
        ),
    ),
    "close_price_recorded.v1": (
        events.CLOSE_PRICES_RECORDED,
        ClosePriceRecorded(
            **IDENTITY, isin="GRS434003000", priced_on=date(2026, 1, 2), close_price=12.35, currency="EUR"
        ),
    ),
    "suspension_changed.v1": (
        events.SUSPENSIONS_CHANGED,
        SuspensionChanged(
            **IDENTITY, kind="asset", subject="GRS434003000", suspended=True, reason="the issuer stopped trading"
        ),
    ),
    "customer_erased.v1": (
        events.CUSTOMERS_ERASED,
        CustomerErased(**IDENTITY, customer_id="85583A768E48870A546D", legal_hold=True),
    ),
    "retrain_requested.v1": (events.MODELS_COMMANDS, RetrainRequested(**IDENTITY, reason="new data was loaded")),
    "retrain_cancelled.v1": (events.MODELS_COMMANDS, RetrainCancelled(**IDENTITY)),
    "model_activated.v1": (events.MODELS_COMMANDS, ModelActivated(**IDENTITY, version="20260102T030405Z-1a2b3c4d")),
    "model_pinned.v1": (events.MODELS_COMMANDS, ModelPinned(**IDENTITY, version="20260102T030405Z-1a2b3c4d")),
    "model_unpinned.v1": (events.MODELS_COMMANDS, ModelUnpinned(**IDENTITY, version="20260102T030405Z-1a2b3c4d")),
    "model_published.v1": (
        events.MODELS_PUBLISHED,
        ModelPublished(**IDENTITY, version="20260102T030405Z-1a2b3c4d", sequence=7, manifest_sha256=FINGERPRINT),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_an_event_is_written_exactly_as_its_golden_file(name: str) -> None:
    assert encode(GOLDEN[name][1]) == (FOLDER / f"{name}.json").read_bytes().rstrip(b"\n")


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_file_is_read_as_the_event_that_it_was(name: str) -> None:
    topic, event = GOLDEN[name]
    assert decode(topic, (FOLDER / f"{name}.json").read_bytes()) == event


def test_every_golden_file_has_its_event_and_every_event_type_its_golden_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(GOLDEN)
    kinds = {json.loads(path.read_bytes())["event_type"] for path in FOLDER.glob("*.json")}
    assert kinds == {kind.__name__ for of_topic in events.EVENTS_OF_TOPIC.values() for kind in of_topic}
