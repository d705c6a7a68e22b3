"""One suite for the trainer's store, real and fake, and what only the real database can show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, insert, text

from shared.errors import StaleOffsets
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS
from shared.ports import Message, Pointer, StoredOffset
from shared.postgres import tables
from shared.recommender.types import Asset, Customer, InvestmentCapacity, RiskLevel
from tests.integration.trainer_process import postgres_store
from tests.unit.trainer.service.trainer_fakes import build_command
from trainer.service.ports import FinishedTraining, TrainerStore

CLICKS = (INTERACTIONS_RECORDED, 3)
COMMANDS = (MODELS_COMMANDS, 0)
DIGEST = "a" * 64


def finished(version: str, status: str = "promoted", **changes: Any) -> FinishedTraining:
    result = FinishedTraining(
        version=version,
        status=status,
        reason="a reason",
        algorithm="ease",
        manifest_sha256=DIGEST,
        metrics={"ndcg_at_10": 0.4, "ndcg_at_10_cold": None},
        champion_metrics=None,
        configuration={"algorithm": "ease"},
        watermark={"as_of": "2022-11-29"},
        next_offsets={CLICKS: 50},
    )
    return replace(result, **changes)


def test_a_training_ends_with_its_offsets_and_is_found_again_by_its_pointer(store: TrainerStore) -> None:
    assert store.fetch_last_finished_at() is None
    store.start_training("v1", triggered_by="no model yet")
    store.store_progress("v1", "reading")
    store.finish_training(finished("v1"))
    assert store.fetch_unpointed() == ["v1"]

    store.record_pointer(Pointer(1, "v1", DIGEST))

    active = store.fetch_active_version()
    assert active is not None
    assert (active.version, active.status, active.sequence, active.progress) == ("v1", "promoted", 1, "done")
    assert active.configuration == {"algorithm": "ease"}
    assert store.fetch_unpointed() == []
    assert store.fetch_offsets([CLICKS, COMMANDS]) == {CLICKS: StoredOffset(50)}
    last = store.fetch_last_finished_at()
    assert last is not None
    assert abs((datetime.now(UTC) - last).total_seconds()) < 60


def test_finishing_twice_is_finishing_once(store: TrainerStore) -> None:
    store.start_training("v1", triggered_by="x")
    store.finish_training(finished("v1"))
    store.finish_training(finished("v1"))

    assert store.fetch_offsets([CLICKS]) == {CLICKS: StoredOffset(50)}


def test_a_failed_training_leaves_the_offsets_and_cannot_be_finished_later(store: TrainerStore) -> None:
    store.start_training("v1", triggered_by="x")
    store.fail_training("v1", reason="a bug")

    with pytest.raises(StaleOffsets):
        store.finish_training(finished("v1"))
    assert store.fetch_offsets([CLICKS]) == {}
    assert store.fetch_last_finished_at() is None


def test_a_zombie_with_older_offsets_is_refused_and_changes_nothing(store: TrainerStore) -> None:
    store.start_training("v1", triggered_by="x")
    store.start_training("v2", triggered_by="x")
    store.finish_training(finished("v1", next_offsets={CLICKS: 60}))

    with pytest.raises(StaleOffsets):
        store.finish_training(finished("v2", next_offsets={CLICKS: 59}))

    assert store.fetch_offsets([CLICKS]) == {CLICKS: StoredOffset(60)}
    assert store.fetch_unpointed() == ["v1"]


def test_a_promotion_that_a_newer_version_has_overtaken_is_not_completed(store: TrainerStore) -> None:
    for version in ("v1", "v2", "v3"):
        store.start_training(version, triggered_by="x")
        store.finish_training(finished(version))
    store.record_pointer(Pointer(1, "v2", DIGEST))

    assert store.fetch_unpointed() == ["v3"]


def test_the_pointer_moves_the_mark_and_a_stored_version_becomes_promoted(store: TrainerStore) -> None:
    for version, status in (("v1", "promoted"), ("v2", "stored")):
        store.start_training(version, triggered_by="x")
        store.finish_training(finished(version, status))
    store.record_pointer(Pointer(1, "v1", DIGEST))

    store.record_pointer(Pointer(2, "v2", DIGEST), command=build_command(5))

    active = store.fetch_active_version()
    assert active is not None
    assert (active.version, active.sequence, active.status) == ("v2", 2, "promoted")
    assert store.fetch_offsets([COMMANDS]) == {COMMANDS: StoredOffset(5)}


def test_a_refusal_demotes_what_was_never_served(store: TrainerStore) -> None:
    store.start_training("v1", triggered_by="x")
    store.finish_training(finished("v1"))

    store.record_refusal("v1", reason="damaged")
    store.record_refusal("unknown", reason="missing", command=build_command(1))

    assert store.fetch_unpointed() == []
    assert store.fetch_offsets([COMMANDS]) == {COMMANDS: StoredOffset(1)}


def test_pins_are_kept_with_their_commands_and_only_of_what_is_servable(store: TrainerStore) -> None:
    for version in ("v1", "v2"):
        store.start_training(version, triggered_by="x")
        store.finish_training(finished(version))
    store.start_training("v3", triggered_by="x")
    store.record_servable(["v1"])

    wanted = enumerate(("v1", "v2", "v3", "v4"), start=1)
    pins = [store.store_pin(version, pinned=True, command=build_command(number)) for number, version in wanted]

    assert pins == [True, False, False, False]
    assert set(store.fetch_pinned()) == {"v1"}
    assert store.fetch_offsets([COMMANDS]) == {COMMANDS: StoredOffset(4)}
    store.record_servable([])
    assert store.store_pin("v1", pinned=False, command=build_command(5))  # also of what is gone
    assert not store.store_pin("v4", pinned=False, command=build_command(6))
    assert set(store.fetch_pinned()) == set()


def test_a_dead_letter_is_kept_once(store: TrainerStore) -> None:
    message = Message(MODELS_COMMANDS, 0, 7, b"key", None)
    for _ in range(2):
        store.insert_dead_letter(message, reason="nonsense", next_offsets={COMMANDS: 8})

    assert store.fetch_offsets([COMMANDS]) == {COMMANDS: StoredOffset(8)}


# --- what only the real database can show ---


@pytest.mark.postgres
def test_rows_of_the_published_traps_are_read_as_they_are_meant(engine: Engine) -> None:
    rows: dict[Any, list[dict[str, Any]]] = {
        tables.asset_information: [
            {"isin": "X1", "asset_category": "Bond", "sector": "new", "recorded_on": date(2020, 1, 2)},
            {"isin": "X1", "asset_category": "Stock", "sector": "last line", "recorded_on": date(2020, 1, 2)},
            {"isin": "X1", "asset_category": "MTF", "sector": "old", "recorded_on": date(2018, 1, 2)},
        ],
        tables.customer_information: [
            {
                "customer_id": "NA",  # looks like a missing value, and is none
                "risk_level": "Predicted_Income",
                "investment_capacity": "CAP_LT30K",
                "recorded_on": date(2021, 1, 1),
            },
            {"customer_id": "NA", "risk_level": "Aggressive", "recorded_on": date(2020, 1, 1)},
        ],
        tables.limit_prices: [{"isin": "X1", "min_date": date(2018, 1, 2), "max_date": date(2022, 11, 29)}],
        tables.close_prices: [{"isin": "X1", "priced_on": date(1990, 1, 3), "close_price": 1.5}],
        tables.transactions: [
            {
                "customer_id": "NA",
                "isin": "X1",
                "transaction_id": "t",
                "transaction_type": kind,
                "traded_on": date(1990, 1, 11),
            }
            for kind in ("Buy", "Buy", "Sell")
        ],
        tables.user_interactions: [
            {
                "event_id": uuid4(),
                "customer_id": 'a "quoted", name',
                "isin": "X1",
                "interaction_type": "click",
                "occurred_at": datetime(1990, 1, 1, 0, 0, 5, 250_000, tzinfo=UTC),
                "partition": 0,
                "event_offset": 0,
            }
        ],
    }
    with engine.begin() as connection:
        for table, values in rows.items():
            for value in values:
                connection.execute(insert(table).values(**value))

    read = postgres_store(engine).fetch_training_rows().rows

    limits = (date(2018, 1, 2), date(2022, 11, 29))
    assert read.assets == (Asset("X1", "Stock", None, None, "last line", None, *limits),)
    assert read.customers == (Customer("NA", RiskLevel.INCOME, InvestmentCapacity.LESS_THAN_30K),)
    assert read.purchases.to_dict("list") == {"customer_id": ["NA"] * 2, "isin": ["X1"] * 2, "day": [7315, 7315]}
    assert read.close_prices.to_dict("list") == {"isin": ["X1"], "day": [7307], "close_price": [1.5]}
    assert read.interactions["customer_id"].tolist() == ['a "quoted", name']
    assert read.interactions["occurred_at"].tolist() == [631152005.25]


@pytest.mark.postgres
def test_interactions_are_read_in_the_order_of_the_log(engine: Engine) -> None:
    row = {"customer_id": "C1", "interaction_type": "click", "partition": 0, "event_offset": 0}
    with engine.begin() as connection:
        for number in (2, 3, 1):  # the order of the rows in the table says nothing
            moment = datetime(2026, 1, 4 - number, tzinfo=UTC)
            values = {**row, "event_id": uuid4(), "isin": f"X{number}", "sequence": number, "occurred_at": moment}
            connection.execute(insert(tables.user_interactions).values(**values))

    assert postgres_store(engine).fetch_training_rows().rows.interactions["isin"].tolist() == ["X1", "X2", "X3"]


@pytest.mark.postgres
def test_rows_come_with_the_offsets_up_to_which_the_worker_has_stored_them(engine: Engine) -> None:
    store = postgres_store(engine, worker_group="workers")
    store.note_topic_ids({CLICKS: "the topic of today", (INTERACTIONS_RECORDED, 4): "the topic of today"})
    offsets = [
        ("cluster", "workers", *CLICKS, 7, "the topic of today"),
        ("cluster", "workers", INTERACTIONS_RECORDED, 4, 9, "the topic before"),
        ("cluster", "workers", INTERACTIONS_RECORDED, 5, 5, None),
        ("cluster", "workers", "recommendations.requested.v1", 3, 8, None),
        ("cluster", "trainer", *CLICKS, 99, None),
        ("another", "workers", *CLICKS, 99, None),
    ]
    names = ("cluster_id", "consumer_group", "topic", "partition", "next_offset", "topic_id")
    with engine.begin() as connection:
        connection.execute(insert(tables.consumer_offsets), [dict(zip(names, row, strict=True)) for row in offsets])

    expected = {CLICKS: 7, (INTERACTIONS_RECORDED, 5): 5}
    assert store.fetch_worker_offsets() == expected
    assert store.fetch_training_rows().worker_offsets == expected


@pytest.mark.postgres
def test_empty_tables_are_read_as_empty_columns(engine: Engine) -> None:
    read = postgres_store(engine).fetch_training_rows().rows

    assert read.assets == ()
    assert read.purchases["day"].dtype == "int32"
    assert len(read.close_prices) == len(read.interactions) == 0


@pytest.mark.postgres
def test_offsets_belong_to_their_group(engine: Engine) -> None:
    postgres_store(engine).queue_training("v1", command=build_command(4), reason="x")

    assert postgres_store(engine, "another").fetch_offsets([COMMANDS]) == {}


@pytest.mark.postgres
def test_rows_say_which_finished_versions_are_on_the_volume(engine: Engine) -> None:
    store = postgres_store(engine)
    for version in ("v1", "v2"):
        store.start_training(version, triggered_by="x")
        store.finish_training(finished(version))
    store.start_training("v3", triggered_by="x")

    def servable() -> dict[str, bool | None]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT version, servable FROM model_versions"))
            return {row.version: row.servable for row in rows}

    assert servable() == {"v1": None, "v2": None, "v3": None}
    store.record_servable(["v1", "unknown"])
    assert servable() == {"v1": True, "v2": False, "v3": None}
    store.record_servable([])
    assert servable() == {"v1": False, "v2": False, "v3": None}
