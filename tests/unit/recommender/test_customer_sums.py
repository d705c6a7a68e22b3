"""Sums over customers: whole, in chunks, or in any order."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from shared.recommender.customer_sums import SummedSignal, Sums, add, add_all, chunks_of, fit_in_chunks
from shared.recommender.signal import REGISTRY, signal_class
from shared.recommender.signals.basket import Basket
from shared.recommender.signals.edlae import Edlae
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.next_purchase import NextPurchase
from shared.recommender.signals.residual_next_purchase import ResidualNextPurchase
from shared.recommender.training_data import TrainingData
from tests.unit.recommender.signal_laws import planted_data
from tests.unit.recommender.small_data import data_of_purchases

SIGNALS: list[SummedSignal] = [
    ItemItem(l2=20.0),
    ItemItem(l2=20.0, least_entry=0.3, row_half_life_days=120.0),
    Edlae(l2=20.0, popularity_power=0.2),
    Basket(l2=5.0),
    NextPurchase(l2=5.0),
    ResidualNextPurchase(l2=5.0, kernel_days=9.0),
]
every_summed_signal = pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)


def prepared_and_sums(signal: SummedSignal, data: TrainingData, *, customers: int) -> tuple[Sums, Sums]:
    counts = add_all(signal.count_customers(chunk) for chunk in chunks_of(data, customers))
    prepared = signal.prepare(counts)
    return counts, add_all(signal.sum_customers(chunk, prepared) for chunk in chunks_of(data, customers))


def test_every_summed_signal_of_the_registry_is_tested_here() -> None:
    summed = {name for name in REGISTRY if issubclass(signal_class(name), SummedSignal)}

    assert summed == {signal.name for signal in SIGNALS}


@every_summed_signal
@pytest.mark.parametrize("customers", [1, 7, 59])
def test_the_sums_of_chunks_are_those_of_all_customers(signal: SummedSignal, customers: int) -> None:
    data = planted_data()

    whole, chunked = (prepared_and_sums(signal, data, customers=size) for size in (10_000, customers))

    for one, other in zip(whole, chunked, strict=True):
        assert one.keys() == other.keys()
        for name, matrix in one.items():
            np.testing.assert_allclose(other[name].toarray(), matrix.toarray(), rtol=1e-6, atol=1e-9, err_msg=name)


@every_summed_signal
def test_a_fit_in_chunks_gives_the_arrays_of_a_fit_of_all(signal: SummedSignal) -> None:
    whole, chunked = (fit_in_chunks(signal, planted_data(), chunk_customers=size) for size in (10_000, 7))

    assert whole.keys() == chunked.keys()
    for name, array in whole.items():
        np.testing.assert_allclose(chunked[name], array, atol=1e-6, err_msg=name)


@every_summed_signal
def test_one_chunk_that_holds_everybody_gives_the_bytes_of_fit(signal: SummedSignal) -> None:
    data = planted_data()

    fitted = signal.fit(data, random_state=1)

    chunked = fit_in_chunks(signal, data, chunk_customers=len(data.customers))
    assert {name: array.tobytes() for name, array in chunked.items()} == {
        name: array.tobytes() for name, array in fitted.items()
    }


@every_summed_signal
def test_chunks_can_be_added_in_any_order_and_in_another_process(signal: SummedSignal) -> None:
    data = planted_data()
    counts = [signal.count_customers(chunk) for chunk in chunks_of(data, 7)]
    prepared = signal.prepare(add_all(counts))
    elsewhere = pickle.loads(pickle.dumps(signal))

    sums = [signal.sum_customers(chunk, prepared) for chunk in chunks_of(data, 7)]
    others = [elsewhere.sum_customers(chunk, prepared) for chunk in reversed(list(chunks_of(data, 7)))]

    for name, matrix in add_all(sums).items():
        np.testing.assert_allclose(add_all(others)[name].toarray(), matrix.toarray(), rtol=1e-6, atol=1e-9)


@every_summed_signal
def test_a_chunk_without_any_row_adds_nothing(signal: SummedSignal) -> None:
    data = planted_data()
    idle = replace(data, customers=(*data.customers, *data.customers))  # the second half did nothing
    whole, halves = (prepared_and_sums(signal, of, customers=len(data.customers)) for of in (data, idle))

    for one, other in zip(whole, halves, strict=True):
        for name, matrix in one.items():
            assert other[name].toarray().tobytes() == matrix.toarray().tobytes()


def test_a_chunk_knows_the_first_purchase_of_each_asset_by_anybody() -> None:
    data = data_of_purchases((0, 0, 0), (5, 1, 0), (30, 1, 1), (40, 0, 1), assets=2)

    chunks = list(chunks_of(data, 1))

    assert [len(chunk.customers) for chunk in chunks] == [1, 1]
    demand = [chunk.first_purchases(entry_days=8).shows_demand.tolist() for chunk in chunks]
    assert demand == [[False, True], [False, False]]


def test_sums_of_two_signals_cannot_be_added() -> None:
    gram = Basket().sum_customers(planted_data(), {})

    with pytest.raises(ValueError, match="cannot be added"):
        add(gram, NextPurchase().sum_customers(planted_data(), {}))
