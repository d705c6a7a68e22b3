"""Signals above the threshold: the sparse form of a matrix of assets by assets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from shared.errors import ConfigurationInvalid
from shared.recommender.asset_matrix import MatrixSignal, with_largest_diagonal, with_largest_sparse_diagonal
from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.neighbour_ridge import nearest_features, with_itself
from shared.recommender.pipeline import build_batch
from shared.recommender.signal import Arrays
from shared.recommender.signals.basket import Basket
from shared.recommender.signals.content import Content
from shared.recommender.signals.edlae import Edlae
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.lightfm import LightFm
from shared.recommender.signals.next_purchase import NextPurchase
from shared.recommender.signals.residual_next_purchase import ResidualNextPurchase
from shared.recommender.training_data import TrainingData
from tests.unit.recommender.signal_laws import model_of, planted_data
from tests.unit.recommender.small_data import data_of_purchases

OF_NEIGHBOURS = [
    ItemItem(l2=20.0),
    Edlae(l2=20.0, popularity_power=0.3),
    Basket(l2=5.0),
    NextPurchase(l2=5.0),
    ResidualNextPurchase(l2=5.0),
]
OF_FACTORS = [Content(), pytest.param(LightFm(factors=4, epochs=2), marks=pytest.mark.lightfm)]
every_matrix_signal = pytest.mark.parametrize("signal", [*OF_NEIGHBOURS, *OF_FACTORS], ids=lambda signal: signal.name)
every_signal_of_neighbours = pytest.mark.parametrize("signal", OF_NEIGHBOURS, ids=lambda signal: signal.name)


def random_data(assets: int, *, rows: int, customers: int) -> TrainingData:
    random = np.random.default_rng(5)
    columns = random.integers(0, (400, customers, assets), (rows, 3)).tolist()
    return data_of_purchases(*((day, customer, asset) for day, customer, asset in columns), assets=assets)


def dense_data() -> TrainingData:
    """Return data in which every asset was owned, and bought next, together with every other one."""
    return random_data(6, rows=900, customers=60)


def scores(signal: MatrixSignal, arrays: Arrays, data: TrainingData) -> Any:
    return signal.score(arrays, build_batch(model_of(data.id_map), data.histories(), now=data.now))


@every_matrix_signal
def test_with_as_many_neighbours_as_assets_the_sparse_form_scores_as_the_dense_one(signal: MatrixSignal) -> None:
    above, data = replace(signal, dense_assets=0, neighbours=6), dense_data()

    dense, found = (one.fit(data, random_state=3) for one in (signal, above))

    np.testing.assert_allclose(scores(above, found, data), scores(signal, dense, data), atol=1e-4)


@pytest.mark.parametrize("signal", OF_FACTORS, ids=lambda signal: signal.name)
def test_factors_score_as_the_matrix_with_clicks_and_prices(signal: MatrixSignal) -> None:
    above, data = replace(signal, dense_assets=0), planted_data()

    dense, found = (one.fit(data, random_state=3) for one in (signal, above))

    np.testing.assert_allclose(scores(above, found, data), scores(signal, dense, data), atol=1e-4)


@every_matrix_signal
def test_the_form_changes_with_one_asset_more_than_the_threshold(signal: MatrixSignal) -> None:
    at, above = replace(signal, dense_assets=6), replace(signal, dense_assets=5)

    assert at.fit(dense_data(), random_state=3).keys() == at.arrays.keys()
    assert above.fit(dense_data(), random_state=3).keys() == above.specs(6).keys() != above.arrays.keys()


@every_matrix_signal
def test_the_sparse_form_grows_with_the_assets_and_not_with_their_square(signal: MatrixSignal) -> None:
    def entries(assets: int) -> int:
        data = random_data(assets, rows=30 * assets, customers=40)
        arrays = replace(signal, dense_assets=0, neighbours=5).fit(data, random_state=3)
        return sum(array.size for array in arrays.values())

    assert [entries(assets) // (20 * assets) for assets in (30, 240)] == [0, 0]


def test_the_threshold_of_a_model_is_in_its_configuration_and_decides_its_arrays() -> None:
    configuration = build_configuration("ease_next_purchase", dense_assets=11, neighbours=4)

    model = fit_model(planted_data(), configuration, version="v1")

    assert "row_ends" in model.signals["edlae"]
    assert "similarity" not in model.signals["content"]
    described = configuration.to_json()["components"]
    assert {one["dense_assets"] for one in described["collaborative"] if "dense_assets" in one} == {11}
    assert described["content"][0]["dense_assets"] == 11


@pytest.mark.parametrize("changes", [{"neighbours": 0}, {"dense_assets": -1}])
def test_an_impossible_form_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigurationInvalid, match="neighbours"):
        build_configuration("ease", changes={"item_item": changes})


def test_the_nearest_features_are_the_largest_values_of_a_column_equal_ones_by_position() -> None:
    together = sparse.csr_array(np.array([[0, 2, 1], [5, 0, 1], [3, -1, 0], [9, 9, 9]], dtype=np.float64))

    nearest = nearest_features(together, 2, always=[3])

    assert nearest.tolist() == [[1, 2, 3], [0, -1, 3], [0, 1, 3]]
    assert with_itself(nearest).tolist() == [[1, 2, 3, 0], [0, -1, 3, 1], [0, 1, 3, 2]]


def test_the_diagonal_of_both_forms_is_the_same() -> None:
    matrix = np.array([[7, 1, 0], [-2, 0, 0], [0, 3, 1]], dtype=np.float64)
    arrays = with_largest_sparse_diagonal(sparse.csr_array(matrix))

    dense = sparse.csr_array((arrays["values"], arrays["columns"], arrays["row_ends"]), shape=(3, 3)).toarray()
    np.testing.assert_array_equal(dense, with_largest_diagonal(matrix))


@pytest.mark.parametrize("signal", [*OF_NEIGHBOURS, Content()], ids=lambda signal: signal.name)
@pytest.mark.parametrize(("name", "value"), [("columns", 99), ("row_ends", 10_000), ("row_ends", -1)])
def test_arrays_that_make_no_matrix_are_refused(signal: MatrixSignal, name: str, value: int) -> None:
    above = replace(signal, dense_assets=0)
    arrays = {key: array.copy() for key, array in above.fit(dense_data(), random_state=3).items()}
    above.check(arrays, asset_count=6)
    arrays[name][1] = value

    with pytest.raises(ValueError, match="ind"):
        above.check(arrays, asset_count=6)


@every_signal_of_neighbours
def test_rows_of_another_number_of_assets_are_refused(signal: MatrixSignal) -> None:
    above = replace(signal, dense_assets=0)
    arrays = above.fit(dense_data(), random_state=3)

    with pytest.raises(ValueError, match="row_ends"):
        above.check({**arrays, "row_ends": arrays["row_ends"][:-1]}, asset_count=6)
