"""Prices that no bank can mean do not reach a fit, whoever wrote them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from shared.artifacts.format import named_arrays
from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.training_rows import build_training_data
from tests.unit.recommender.planted import NOW, build_rows


@pytest.mark.parametrize("price", [1e308, 1.7e308, 1e-308, 5e-324, np.inf, np.nan, -1.0])
def test_a_price_out_of_range_changes_nothing_in_a_model(price: float) -> None:
    rows = build_rows(customers=80, assets=12)
    last = rows.close_prices.tail(3).assign(close_price=price)
    with_it = replace(rows, close_prices=pd.concat([rows.close_prices, last], ignore_index=True))
    models = []
    for each in (rows, with_it):
        data = build_training_data(each, now=NOW)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            models.append(fit_model(data, build_configuration("ease"), version="v1", metadata={}))

    without, with_price = (named_arrays(model) for model in models)
    for name, array in without.items():
        np.testing.assert_array_equal(array, with_price[name], err_msg=name)
