"""What must hold for every signal. A signal's test is a subclass that sets `signal`: see test_signal_laws.py."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from functools import cache
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from shared.artifacts.format import ARRAYS_FILE, MANIFEST_FILE, decode_manifest, decode_model, encode_model
from shared.recommender.configuration import ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.id_map import AssetIdMap
from shared.recommender.model import Model
from shared.recommender.pipeline import build_batch, recommend
from shared.recommender.signal import Arrays, Signal, check_arrays
from shared.recommender.training_data import TrainingData, day_number, end_of_day
from shared.recommender.training_rows import TrainingRows, build_training_data
from shared.recommender.types import CustomerHistory
from tests.builders import build_histories, build_model
from tests.unit.recommender.planted import (
    AS_OF,
    NOW,
    build_interactions,
    build_prices,
    build_purchases,
    build_rows,
    customer_of,
    isin_of,
)
from tests.unit.recommender.small_data import data_of_purchases

CUTOFF = AS_OF - timedelta(days=200)
CUSTOMERS, ASSETS = 60, 12
DAYS_BETWEEN_PURCHASES = 30


@cache
def planted_rows() -> TrainingRows:
    clicks = [
        (customer_of(number % CUSTOMERS), isin_of(number % 9), "click", end_of_day(CUTOFF) + timedelta(hours=hours))
        for number, hours in enumerate(range(-400, 400, 20))
    ]
    rows = build_rows(customers=CUSTOMERS, assets=ASSETS, interactions=build_interactions(clicks))
    days_before = (day_number(CUTOFF) - rows.purchases["day"]).clip(lower=0)
    later = days_before % DAYS_BETWEEN_PURCHASES  # on fewer days, so that some baskets hold several assets
    return replace(rows, purchases=rows.purchases.assign(day=rows.purchases["day"] + later))


@cache
def planted_data() -> TrainingData:
    return build_training_data(planted_rows(), now=NOW).known_at(CUTOFF)


@cache
def wide_data() -> TrainingData:
    """Return data with so many assets that a dense product of a batch is rounded otherwise than one of a customer."""
    random = np.random.default_rng(3)
    columns = random.integers(0, (300, 50, 230), (900, 3)).tolist()
    return data_of_purchases(*((day, customer, asset) for day, customer, asset in columns), assets=230)


@cache
def model_of(id_map: AssetIdMap) -> Model:
    """Return a model of these assets, for batches and histories."""
    return replace(build_model(assets=len(id_map)), id_map=id_map)


class SignalLaws:
    """The laws; they are about `signal`, which a subclass sets."""

    signal: ClassVar[Signal]

    def fit(self, data: TrainingData) -> Arrays:
        """Fit on one thread and check the arrays against their specification."""
        with threadpool_limits(limits=1):
            arrays = self.signal.fit(data, random_state=7)
        asset_count = len(data.id_map)
        check_arrays(self.signal.name, self.signal.specs(asset_count), arrays, asset_count=asset_count)
        self.signal.check(arrays, asset_count=asset_count)
        return arrays

    def score(self, arrays: Arrays, data: TrainingData, histories: list[CustomerHistory]) -> Any:
        """Return the scores of these customers."""
        scores = self.signal.score(arrays, build_batch(model_of(data.id_map), histories, now=data.now))
        assert scores.shape == (len(histories), len(data.id_map))
        assert np.isfinite(scores).all()
        return scores

    def configuration(self) -> ModelConfiguration:
        """Return a configuration in which the signal is alone in its component."""
        base = build_configuration("trend" if self.signal.name != "trend" else "item_item")
        if self.signal.name == "segment_prior":
            return replace(base, cold_start=self.signal)
        alone: dict[str, Any] = {self.signal.component: (self.signal,)}
        return replace(base, **alone)

    def fit_model(self, configuration: ModelConfiguration | None = None) -> Model:
        """Fit a whole model on one thread."""
        with threadpool_limits(limits=1):
            return fit_model(planted_data(), configuration or self.configuration(), version="v1")

    def test_a_second_fit_gives_identical_arrays(self) -> None:
        again = build_training_data(planted_rows(), now=NOW).known_at(CUTOFF)

        assert identical(self.fit(planted_data()), self.fit(again))

    def test_a_customer_alone_scores_bit_for_bit_as_in_a_batch(self) -> None:
        data = wide_data()
        arrays = self.fit(data)
        histories = [*data.histories(), *build_histories(model_of(data.id_map), 40, now=data.now)]
        batch = self.score(arrays, data, histories)

        for history, row in zip(histories, batch, strict=True):
            assert self.score(arrays, data, [history])[0].tobytes() == row.tobytes()

    def test_no_row_after_the_cutoff_reaches_the_arrays(self) -> None:
        rows, day, moment = planted_rows(), day_number(CUTOFF), end_of_day(CUTOFF).timestamp()
        without = replace(
            rows,
            purchases=rows.purchases[rows.purchases["day"] <= day],
            close_prices=rows.close_prices[rows.close_prices["day"] <= day],
            interactions=rows.interactions[rows.interactions["occurred_at"] <= moment],
        )
        assert len(without.purchases) < len(rows.purchases)
        assert len(without.interactions) < len(rows.interactions)

        assert identical(self.fit(planted_data()), self.fit(build_training_data(without, now=NOW).known_at(CUTOFF)))

    def test_a_model_that_is_saved_and_loaded_gives_identical_arrays_and_lists(self) -> None:
        model = self.fit_model()
        files = encode_model(model)

        loaded = decode_model(decode_manifest(files[MANIFEST_FILE], version="v1"), files[ARRAYS_FILE])

        assert all(identical(loaded.signals[name], arrays) for name, arrays in model.signals.items())
        histories = planted_data().histories()
        assert recommend(loaded, histories, now=NOW) == recommend(model, histories, now=NOW)

    def test_a_refit_from_the_manifest_on_the_same_data_is_byte_identical(self) -> None:
        files = encode_model(self.fit_model())

        refit = self.fit_model(decode_manifest(files[MANIFEST_FILE], version="v1").configuration)

        assert encode_model(refit) == files

    def test_every_hyper_parameter_is_in_the_configuration(self) -> None:
        configuration = self.configuration().to_json()
        described = [*chain.from_iterable(configuration["components"].values()), configuration["cold_start"]]

        [of_signal] = [one for one in described if one["signal"] == self.signal.name]
        assert of_signal.keys() == {"signal", *(one.name for one in fields(self.signal))}
        assert ModelConfiguration.from_json(configuration) == self.configuration()

    @pytest.mark.parametrize("assets", [1, 200])
    def test_a_sparse_catalogue(self, assets: int) -> None:
        rows = [(0, 0, 0), (30, 0, 0), (40, 1, 0)]
        data = data_of_purchases(*rows, assets=assets)

        self.score(self.fit(data), data, data.histories())

    def test_a_dense_catalogue(self) -> None:
        rows = [(20 * asset + customer, customer, asset) for customer in range(15) for asset in range(6)]
        data = data_of_purchases(*rows, assets=6)

        self.score(self.fit(data), data, data.histories())

    def test_no_rows_at_all(self) -> None:
        empty = replace(
            planted_rows(),
            customers=(),
            purchases=build_purchases([]),
            close_prices=build_prices([]),
            interactions=build_interactions([]),
        )
        data = build_training_data(empty, now=NOW)

        self.score(self.fit(data), data, build_histories(model_of(data.id_map), 5, now=data.now))

    def test_no_customers(self) -> None:
        assert self.score(self.fit(planted_data()), planted_data(), []).size == 0


def identical(first: Arrays, second: Arrays) -> bool:
    """Return whether all arrays have the same names, dtypes and bytes."""
    same = {name: (array.dtype, array.shape, array.tobytes()) for name, array in first.items()}
    return same == {name: (array.dtype, array.shape, array.tobytes()) for name, array in second.items()}
