"""User neighbours against the definition, and rows of neighbours that do not fit together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.recommender.pipeline import build_batch
from shared.recommender.signals.user_knn import UserKnn
from shared.recommender.training_data import TrainingData
from tests.builders import build_model
from tests.unit.recommender.small_data import data_of_purchases

ENTRY = [(0, 9, asset) for asset in range(5)]
ROWS = [*ENTRY, (10, 0, 0), (40, 0, 1), (10, 1, 0), (10, 1, 2), (60, 1, 3), (10, 2, 4), (12, 3, 0)]


def data() -> TrainingData:
    return data_of_purchases(*ROWS, assets=5, last_day=100)


def test_scores_are_the_weighted_purchases_of_similar_customers() -> None:
    signal = UserKnn(half_life_days=50.0, least_purchase_weight=0.25)
    arrays = signal.fit(data(), random_state=7)
    model = replace(build_model(assets=5), id_map=data().id_map)
    histories = data().histories()

    scores = signal.score(arrays, build_batch(model, histories, now=data().now))

    # The definition, dense: customers 0 and 1 are the neighbours, because each has a purchase that shows demand.
    holdings = np.zeros((10, 5))
    for _, customer, asset in ROWS:
        holdings[customer, asset] = 1.0
    rarity = np.log1p(5 / (1.0 + holdings.sum(axis=0)))
    unit = holdings * rarity
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    purchases = np.zeros((10, 5))
    purchases[0, 0], purchases[0, 1] = 0.25, 0.25 + 0.5 ** (60 / 50)
    purchases[1, 0], purchases[1, 2], purchases[1, 3] = 0.25, 0.25, 0.25 + 0.5 ** (40 / 50)
    np.testing.assert_allclose(scores, (unit @ unit.T) ** 2 @ purchases, rtol=1e-5, atol=1e-6)
    assert scores[3].argmax() == 1
    assert scores[3, 1] > scores[3, 4] == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"asset_index": np.array([0, 1, 0, 2, 5], np.int32)},
        {"row_ends": np.array([0, 9, 5], np.int32)},
        {"row_ends": np.array([0, 3, 2], np.int32)},
        {"row_ends": np.array([1, 2, 5], np.int32)},
        {"row_ends": np.zeros(0, np.int32)},
    ],
)
def test_rows_of_neighbours_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    arrays = dict(UserKnn().fit(data(), random_state=7))
    UserKnn().check(arrays, asset_count=5)

    with pytest.raises(ValueError, match=r".+"):
        UserKnn().check({**arrays, **changes}, asset_count=5)
