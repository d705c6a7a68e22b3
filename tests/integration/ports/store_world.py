"""The WorkerStore under test: a fake one, or one on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    TRANSACTIONS_RECORDED,
    InteractionRecorded,
    TransactionRecorded,
)
from shared.ports import (
    Message,
    Partition,
)
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel, Weights
from shared.served_list import Components, RecommendationItem
from tests.fakes_store import FakeStore, display_of
from worker.ports import Decision, ServedList, WorkerStore

REQUESTS: Partition = (RECOMMENDATIONS_REQUESTED, 0)
CLICKS: Partition = (INTERACTIONS_RECORDED, 0)
ORDERS: Partition = (TRANSACTIONS_RECORDED, 0)
NOW = datetime.now(UTC)


@dataclass
class StoreWorld:
    """A store, a second one on the same database, and a way to put reference data there."""

    store: WorkerStore
    other: WorkerStore
    add_customer: Callable[[str, str, str, str], None]  # id, risk level, capacity, recorded on
    add_buy: Callable[[str, str, str], None]  # id, isin, type
    load_transactions: Callable[[], None]
    add_asset: Callable[[str], None]
    list_request: Callable[[str], UUID]  # of the customer's list


def fake_database() -> StoreWorld:
    store = FakeStore()
    other = FakeStore(store.tables)
    levels = {"Aggressive": RiskLevel.AGGRESSIVE, "Income": RiskLevel.INCOME}
    capacities = {"CAP_LT30K": InvestmentCapacity.LESS_THAN_30K, "CAP_30K_80K": InvestmentCapacity.FROM_30K_TO_80K}

    def add_customer(customer_id: str, risk_level: str, capacity: str, _: str) -> None:
        store.tables.customers[customer_id] = Customer(customer_id, levels[risk_level], capacities[capacity])

    def add_buy(customer_id: str, isin: str, transaction_type: str) -> None:
        if transaction_type == "Buy":
            store.tables.owned.setdefault(customer_id, set()).add(isin)

    def load_transactions() -> None:
        store.tables.snapshots["transactions"] = store.tick()

    def add_asset(isin: str) -> None:
        store.tables.displays[isin] = display_of(isin)

    def list_request(customer_id: str) -> UUID:
        return store.tables.lists[customer_id].request_id

    return StoreWorld(store, other, add_customer, add_buy, load_transactions, add_asset, list_request)


def real_database(store: WorkerStore, other: WorkerStore, connection: Any) -> StoreWorld:
    def execute(statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def add_asset(isin: str) -> None:
        row = "INSERT INTO asset_information VALUES (%s, %s, 'short', %s, NULL, NULL, %s, %s, %s)"
        execute(row, isin, "An older name", "Bond", None, None, "2020-01-01")
        execute(row, isin, f"Name of {isin}", "Stock", "Technology", "Software", "2021-01-01")
        execute("INSERT INTO close_prices VALUES (%s, '2022-01-02', 3.76), (%s, '2021-01-02', 9)", isin, isin)
        execute("INSERT INTO limit_prices VALUES (%s, '2018-01-02', '2022-01-02', 3, 8, 0.160494)", isin)

    def list_request(customer_id: str) -> UUID:
        with connection.cursor() as cursor:
            cursor.execute("SELECT request_id::text FROM recommendations WHERE customer_id = %s", [customer_id])
            return UUID(cursor.fetchone()[0])

    return StoreWorld(
        store,
        other,
        lambda *row: execute("INSERT INTO customer_information VALUES (%s, 'Mass', %s, %s, NULL, %s)", *row),
        lambda *row: execute("INSERT INTO transactions VALUES (%s, %s, 'T1', %s, '2022-01-01')", *row),
        lambda: execute(
            "INSERT INTO reference_snapshots (table_name, row_count, rejected_count, source)"
            " VALUES ('transactions', 1, 0, 'test')"
            " ON CONFLICT (table_name) DO UPDATE SET loaded_at = now()"
        ),
        add_asset,
        list_request,
    )


def message(partition: Partition = CLICKS, offset: int = 0) -> Message:
    return Message(partition[0], partition[1], offset, b"C1", b"bytes")


def click(isin: str = "GR1", *, offset: int = 0, **fields: Any) -> tuple[Message, InteractionRecorded]:
    fields = {"customer_id": "C1", "type": "click", "occurred_at": NOW, **fields}
    return message(offset=offset), InteractionRecorded(isin=isin, **fields)


def order(isin: str = "GR1", *, offset: int = 0, **fields: Any) -> tuple[Message, TransactionRecorded]:
    """An executed order; each offset is another transaction."""
    known: dict[str, Any] = {
        "customer_id": "C1",
        "type": "Buy",
        "units": 10.0,
        "total_value": 100.0,
        "executed_at": NOW,
        "occurred_at": NOW,
        "transaction_id": f"T{offset}",
    }
    return message(ORDERS, offset), TransactionRecorded(isin=isin, **{**known, **fields})


def decision(customer_id: str = "C1", **fields: Any) -> Decision:
    known: dict[str, Any] = {
        "request_id": uuid4(),
        "customer_id": customer_id,
        "action": "refresh_recs",
        "answered_from": "scored",
        "answer": served_list(),
        "risk_level": 4,
        "fingerprint": None,
        "partition": 0,
        "event_offset": 0,
        "requested_at": NOW,
        "decided_at": NOW,
    }
    return Decision(**{**known, **fields})


def served_list(**fields: Any) -> ServedList:
    item = RecommendationItem(
        isin="GR1",
        assetname="Name of GR1",
        assetcategory="Stock",
        sector=None,
        industry="Software",
        current_price=3.76,
        profitability=None,
        recommendation_date="2025-11-30T22:00:00",
        score=0.1,
        rank=1,
        components=Components(collaborative=0.1, content=0.0, profitability=0.0),
    )
    known: dict[str, Any] = {"model_version": "v1", "basis": "history", "weights": Weights(0.5, 0.2, 0.3)}
    return ServedList(**{**known, "items": (item,), **fields})


def keep(store: WorkerStore, *interactions: tuple[Message, InteractionRecorded]) -> frozenset[UUID]:
    with store.begin() as transaction:
        return transaction.insert_interactions(interactions)


def keep_orders(store: WorkerStore, *orders: tuple[Message, TransactionRecorded]) -> frozenset[UUID]:
    with store.begin() as transaction:
        return transaction.insert_transactions(orders)


def decide(store: WorkerStore, *decisions: Decision) -> frozenset[UUID]:
    snapshot = store.fetch_snapshots()
    with store.begin() as transaction:
        return transaction.insert_decisions(decisions, reference_snapshot=snapshot)
