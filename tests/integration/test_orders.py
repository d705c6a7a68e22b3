"""Executed orders on the real broker and database: read by the next request, and beside what files load."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.events import RecommendationRequested
from tests.far_trans_files import write_folder
from tests.integration.loading import load, query, with_rows
from tests.integration.ports.store_world import keep_orders, order
from tests.integration.worker_process import WorkerWorld
from worker.store import PostgresWorkerStore

EVERY_ASSET: dict[str, Any] = {"recommendation_count": 60}
EXECUTED_AT = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
POSITIONS = "SELECT isin, held FROM positions ORDER BY isin"
ORIGINS = "SELECT transaction_id, origin FROM all_transactions ORDER BY transaction_id, origin"


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_list_knows_every_order_that_was_acknowledged_before_it_was_asked_for(world: WorkerWorld) -> None:
    suitable = [
        isin
        for index, isin in enumerate(world.model.id_map.isins)
        if world.model.tradable[index] and world.model.asset_risk_level[index] == 1
    ]
    held: dict[str, set[str]] = {}
    requests: list[RecommendationRequested] = []
    customers = [f"C{index}" for index in range(12)]

    def sell_two(customer_id: str) -> None:
        for isin in suitable[:2]:
            world.order(customer_id, isin, "Sell")

    def trade(customer_id: str) -> None:
        owned: set[str] = set()
        for isin in suitable[:4]:
            world.order(customer_id, isin)
            owned.add(isin)
            request = world.ask(customer_id)
            held[str(request.event_id)] = set(owned)
            requests.append(request)

    world.start(**EVERY_ASSET)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(trade, customers))
        answers = world.answers(requests)
        # A list may know later orders as well; every customer has the first four at the end, and sells two.
        assert all(held[event_id] <= set(suitable) - set(isins) for event_id, isins in answers.items())
        assert all(set(suitable[4:]) <= set(isins) for isins in answers.values())
        list(pool.map(sell_two, customers))
    last = world.answers([world.ask(customer_id) for customer_id in customers])
    assert all(set(suitable) - set(isins) == set(suitable[2:4]) for isins in last.values())
    assert world.count("recorded_transactions") == 12 * 6
    assert world.count("dead_letters") == 0


@pytest.mark.kafka
@pytest.mark.postgres
def test_an_order_that_nobody_can_store_is_a_dead_letter_and_holds_nothing_up(world: WorkerWorld) -> None:
    world.start()
    world.order("C1", "XX0000000000")
    first = world.order("C1", world.model.id_map.isins[0])
    world.order("C1", world.model.id_map.isins[0], event_id=first.event_id)
    world.answers([world.ask("C1")])
    reasons = [reason.partition(":")[0] for (reason,) in world.rows("SELECT reason FROM dead_letters ORDER BY 1")]
    assert reasons == ["EventIdReused", "UnknownAsset"]
    assert world.count("recorded_transactions") == 1


@pytest.mark.postgres
def test_a_load_keeps_newer_orders_and_doubles_none(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    same: dict[str, Any] = {"executed_at": EXECUTED_AT}
    keep_orders(store, *(order(isin, offset=number, **same) for number, isin in enumerate(("GRS1", "GRS2", "GRS1"))))
    store.close()
    folder = write_folder(tmp_path / "data", with_rows("transactions", "C1,GRS9,T9,Buy,2020-07-02,1,1,,"))
    assert load(folder, database_url) == 0
    assert query(database_url, ORIGINS) == [("T0", "event"), ("T1", "event"), ("T2", "event"), ("T9", "file")]
    # A newer snapshot has two of the orders, one of them with the units of a correction, and a sale of the other.
    newer = (
        "C1,GRS1,T0,Buy,2026-01-02,100,10,,",
        "C1,GRS2,T1,Buy,2026-01-02,100,7,,",
        "C1,GRS2,T5,Sell,2026-01-03,1,7,,",
    )
    write_folder(folder, with_rows("transactions", "C1,GRS9,T9,Buy,2020-07-02,1,1,,", *newer))
    assert load(folder, database_url) == 0
    expected = [("T0", "file"), ("T1", "file"), ("T2", "event"), ("T5", "file"), ("T9", "file")]
    assert query(database_url, ORIGINS) == expected
    assert query(database_url, POSITIONS) == [("GRS1", True), ("GRS2", False), ("GRS9", True)]
    write_folder(folder, with_rows("transactions", "C1,GRS9,T9,Buy,2020-07-02,1,1,,"))
    assert load(folder, database_url, "--max-shrink", "90%") == 0
    assert query(database_url, ORIGINS) == [("T0", "event"), ("T1", "event"), ("T2", "event"), ("T9", "file")]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("rows", "held"),
    [
        (["Buy,2018-01-02,,"], True),
        (["Buy,2018-01-02,,", "Sell,2020-07-02,1,3"], False),
        (["Buy,2018-01-02,,", "Sell,2020-07-02,1,3", "Buy,2020-07-03,,"], True),
        (["Sell,2020-07-02,1,3", "Buy,2020-07-01,1,3"], False),  # whatever the order of the file
        (["Sell,2020-07-02,1,3", "Buy,2020-07-02,1,3"], False),
        (["Buy,2020-07-02,1,3", "Sell,2020-07-03,1,2"], True),
        (["Buy,2020-07-02,1,3", "Sell,2020-07-03,,"], True),  # nobody knows how much was sold
        (["Buy,2020-07-02,0,0"], True),
        (["Buy,2018-01-02,,", "Buy,2020-07-02,1,5", "Sell,2020-07-03,1,5"], False),
        (["Buy,2018-01-02,,", "Buy,2020-07-02,1,5", "Sell,2020-07-03,1,4"], True),
    ],
)
def test_what_of_a_loaded_file_is_held(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, rows: list[str], held: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"C1,GRS1,T{number},{row},," for number, row in enumerate(rows)]
    assert load(write_folder(tmp_path / "data", with_rows("transactions", *lines)), database_url) == 0
    assert query(database_url, POSITIONS) == [("GRS1", held)]
