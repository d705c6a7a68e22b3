"""EASE against its optimisation problem, LightFM for repeatability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shared.recommender.asset_matrix import with_largest_diagonal
from shared.recommender.history import HistoryMatrix
from shared.recommender.signal import Signal
from shared.recommender.signals.edlae import Edlae
from shared.recommender.signals.item_item import ItemItem, fit_autoencoder
from shared.recommender.signals.lightfm import LightFm
from shared.recommender.signals.next_purchase import solve_ridge
from tests.unit.recommender.small_data import data_of_history, data_of_purchases

EASE = ItemItem(l2=2.0)
LIGHTFM = LightFm(factors=8, epochs=3)
BOTH = [EASE, pytest.param(LIGHTFM, marks=pytest.mark.lightfm)]


def fit_similarity(history: HistoryMatrix, signal: Signal, *, seed: int = 7) -> np.ndarray:
    return np.asarray(signal.fit(data_of_history(history), random_state=seed)["similarity"])


def build_history(seed: int = 3, customers: int = 60, assets: int = 7) -> HistoryMatrix:
    random = np.random.default_rng(seed)
    return sparse.csr_array((random.random((customers, assets)) < 0.3).astype(np.float32))


def ease_column(history: np.ndarray, column: int, l2: float) -> np.ndarray:
    """Solve one column as ridge regression on the other assets: the definition, without the closed form."""
    others = [index for index in range(history.shape[1]) if index != column]
    x, y = history[:, others], history[:, column]
    solution = np.zeros(history.shape[1])
    solution[others] = np.linalg.solve(x.T @ x + l2 * np.eye(len(others)), x.T @ y)
    return solution


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix[~np.eye(len(matrix), dtype=np.bool_)]


def test_ease_is_the_ridge_regression_of_every_asset_on_the_others() -> None:
    history = build_history()
    dense = history.toarray().astype(np.float64)

    similarity = fit_similarity(history, EASE)

    expected = np.stack([ease_column(dense, column, 2.0) for column in range(7)], axis=1)
    np.testing.assert_allclose(off_diagonal(similarity), off_diagonal(expected), atol=1e-5)


def test_ease_of_two_assets_that_everybody_owns_together_is_the_value_worked_out_by_hand() -> None:
    # X'X = [[4, 4], [4, 4]]; regressing one on the other gives 4 / (4 + 2).
    history = sparse.csr_array(np.ones((4, 2), dtype=np.float32))

    np.testing.assert_allclose(off_diagonal(fit_similarity(history, EASE)), [2 / 3, 2 / 3], atol=1e-6)


@pytest.mark.parametrize("signal", BOTH)
def test_every_algorithm_gives_a_finite_float32_matrix_in_which_an_asset_is_nearest_to_itself(signal: Signal) -> None:
    similarity = fit_similarity(build_history(), signal)

    assert similarity.shape == (7, 7)
    assert similarity.dtype == np.float32
    assert similarity.flags.c_contiguous
    assert np.isfinite(similarity).all()
    assert (np.diag(similarity) == off_diagonal(similarity).max()).all()


@pytest.mark.parametrize("signal", BOTH)
def test_without_any_history_nothing_says_anything(signal: Signal) -> None:
    empty = sparse.csr_array(np.zeros((5, 4), dtype=np.float32))

    assert not fit_similarity(empty, signal).any()


@pytest.mark.lightfm
def test_lightfm_repeats_itself_for_a_seed_and_only_for_that() -> None:
    history = build_history()

    first, again = (fit_similarity(history, LIGHTFM) for _ in range(2))
    other = fit_similarity(history, LIGHTFM, seed=8)

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.lightfm
def test_lightfm_counts_a_fraction_of_an_interaction_less_than_a_purchase() -> None:
    history = build_history()
    halved = history.copy()
    halved.data[::2] = 0.1

    assert not np.array_equal(fit_similarity(history, LIGHTFM), fit_similarity(halved, LIGHTFM))


def test_edlae_shrinks_by_the_owners_of_one_asset_and_divides_by_a_power_of_those_of_the_other() -> None:
    owned = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (4, 1)]  # asset 0: 4 owners, asset 1: 3, both: 2
    data = data_of_purchases(*((0, customer, asset) for customer, asset in owned), assets=2)

    plain = Edlae(l2=6.0, dropout=0.2).fit(data, random_state=7)["similarity"]
    by_popularity = Edlae(l2=6.0, dropout=0.2, popularity_power=0.5).fit(data, random_state=7)["similarity"]

    assert plain[0, 1] == pytest.approx(2 / (4 / 0.8 + 6), rel=1e-6)
    assert plain[1, 0] == pytest.approx(2 / (3 / 0.8 + 6), rel=1e-6)
    assert by_popularity[0, 1] == pytest.approx(plain[0, 1] / 3**0.5, rel=1e-6)
    assert by_popularity[1, 0] == pytest.approx(plain[1, 0] / 4**0.5, rel=1e-6)
    assert (np.diag(by_popularity) == max(by_popularity[0, 1], by_popularity[1, 0])).all()


def test_assets_without_entries_change_no_solution() -> None:
    features = np.random.default_rng(7).random((30, 6)) * np.array([1, 1, 0, 1, 0, 1])
    gram, penalty, target = features.T @ features, np.arange(1.0, 7.0), features.T @ features[:, ::-1]
    precision = np.linalg.inv(gram + np.diag(penalty))
    expected = with_largest_diagonal(precision / -np.diag(precision))

    np.testing.assert_allclose(fit_autoencoder(gram, penalty=penalty), expected, rtol=1e-6)
    np.testing.assert_allclose(solve_ridge(gram, penalty, target), precision @ target, atol=1e-12)
