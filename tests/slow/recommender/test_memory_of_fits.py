"""What a fit needs besides the rows does not grow with the number of customers (a ratio, no absolute figure)."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from shared.recommender.customer_sums import SummedSignal, fit_in_chunks
from shared.recommender.signals.basket import Basket
from shared.recommender.signals.edlae import Edlae
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.next_purchase import NextPurchase
from shared.recommender.signals.residual_next_purchase import ResidualNextPurchase
from shared.recommender.training_data import TrainingData
from shared.recommender.types import Customer
from tests.unit.recommender.small_data import data_of_purchases

FEW, MANY, CHUNK = 2_000, 20_000, 1_000
ASSETS, PURCHASES = 80, 8  # purchases of each customer
POSITIONS = 24  # bytes for each row: where the rows of each chunk are
SIGNALS = [ItemItem(), ItemItem(least_entry=0.3), Edlae(), Basket(), NextPurchase(), ResidualNextPurchase()]


def data_of(customers: int) -> TrainingData:
    random = np.random.default_rng(1)
    rows = random.integers(0, (100, 1, ASSETS), (customers * PURCHASES, 3))
    rows[:, 1] = np.repeat(np.arange(customers), PURCHASES)
    everybody = [Customer(f"C{number}") for number in range(customers)]
    return data_of_purchases(*map(tuple, rows.tolist()), assets=ASSETS, customers=everybody)


def peak_bytes(signal: SummedSignal, data: TrainingData, *, chunk_customers: int) -> int:
    tracemalloc.start()
    try:
        fit_in_chunks(signal, data, chunk_customers=chunk_customers)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_ten_times_the_customers_need_only_the_positions_of_their_rows_more(signal: SummedSignal) -> None:
    few, many = (peak_bytes(signal, data_of(count), chunk_customers=CHUNK) for count in (FEW, MANY))
    whole = peak_bytes(signal, data_of(MANY), chunk_customers=MANY)

    limit = 1.3 * few + POSITIONS * PURCHASES * MANY
    assert many < limit < whole
