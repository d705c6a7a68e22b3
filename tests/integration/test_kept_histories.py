"""Lists of a worker that keeps histories: each write and each load counts in the next list, on real servers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from shared.events import CUSTOMERS_CHANGED, CustomerChanged
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

CUSTOMERS = [f"C{number}" for number in range(6)]
LOAD = """
INSERT INTO transactions (customer_id, isin, transaction_id, transaction_type, traded_on, total_value, units)
VALUES (%s, %s, 'loaded', 'Buy', '2022-01-01', 10, 1)
"""
# As the loader ends: the snapshot has another time.
NOTE_LOAD = """
INSERT INTO reference_snapshots (table_name, row_count, rejected_count, source) VALUES ('transactions', 1, 0, 'test')
ON CONFLICT (table_name) DO UPDATE SET loaded_at = clock_timestamp()
"""


@pytest.mark.parametrize("batch_size", [500, 4])  # 4: most batches are full and stored in the other thread
def test_every_write_and_load_before_a_request_is_in_its_list(world: WorkerWorld, batch_size: int) -> None:
    model = world.model
    suitable = [
        isin
        for index, isin in enumerate(model.id_map.isins)
        if model.tradable[index] and model.asset_risk_level[index] == 1
    ]
    world.start(recommendation_count=60, worker_batch_size=batch_size, worker_history_mebibytes=64)
    dismissed, bought, loaded = suitable[:3]

    def lists() -> list[set[str]]:
        requests = [world.ask(customer_id) for customer_id in CUSTOMERS]
        return [set(isins) for isins in world.answers(requests).values()]

    def load(customer_id: str) -> None:
        world.rows(LOAD, customer_id, loaded)
        world.rows(NOTE_LOAD)

    def change(customer_id: str) -> None:
        event = CustomerChanged(customer_id=customer_id, risk_level="Aggressive", changed_on=datetime.now(UTC).date())
        world.publish(CUSTOMERS_CHANGED, event)

    assert all(set(suitable) <= isins for isins in lists())  # from now on every history is kept
    steps: list[tuple[Callable[[str], object], str]] = [
        (lambda customer_id: world.click(customer_id, dismissed, "dismiss"), dismissed),
        (lambda customer_id: world.order(customer_id, bought), bought),
        (load, loaded),
    ]
    gone: set[str] = set()
    for act, isin in steps:
        for customer_id in CUSTOMERS:
            act(customer_id)
        gone.add(isin)
        assert all(not isins & gone and set(suitable) - gone <= isins for isins in lists())
    before = lists()
    for customer_id in CUSTOMERS:
        change(customer_id)
    assert min(map(len, lists())) > max(map(len, before))
    assert world.count("dead_letters") == 0
