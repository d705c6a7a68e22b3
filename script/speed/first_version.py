"""What people would use instead: one request at a time with pandas and scikit-learn, the first version's mixture."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
from numpy.typing import NDArray
from psycopg2.extras import Json
from sklearn.metrics.pairwise import cosine_similarity

from script.speed.legs import Leg
from script.speed.system import BenchSystem

_WEIGHTS = {"collaborative": 0.5, "content": 0.2, "profitability": 0.3}


def measure_first_version(system: BenchSystem, *, worker_rates: tuple[float, ...], requests: int = 200) -> Leg:
    """Return the leg of the worker's backlog beside the mixture that handles one request after the other."""
    rates = []
    with closing(psycopg2.connect(system.database_url)) as connection:
        mixture = FirstVersion(connection)
        for _ in worker_rates:
            started = time.perf_counter()
            for customer_id in system.customers[:requests]:
                mixture.answer(customer_id)
            rates.append(requests / (time.perf_counter() - started))
    limit = "one request at a time, pandas and scikit-learn"
    return Leg("worker, backlog, beside the first version", "lists/s", worker_rates, tuple(rates), limit)


class FirstVersion:
    """Similar customers, similar assets and published profitability, mixed by fixed weights; one INSERT a request."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        bought = self._read("SELECT customer_id, isin FROM transactions WHERE transaction_type = 'Buy'")
        self._matrix = pd.crosstab(bought["customer_id"], bought["isin"]).clip(upper=1)
        assets = self._read("SELECT isin, asset_category, sector, industry FROM asset_information").drop_duplicates(
            "isin"
        )
        features = pd.get_dummies(assets.set_index("isin")).reindex(self._matrix.columns, fill_value=0)
        self._similarity = cosine_similarity(features)
        profit = self._read("SELECT isin, profitability FROM limit_prices").drop_duplicates("isin").set_index("isin")
        self._profitability = profit["profitability"].reindex(self._matrix.columns).fillna(0).to_numpy()
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS bench_first_version (customer_id text, items jsonb)")

    def answer(self, customer_id: str) -> None:
        """Score all assets for the customer and store the best ten."""
        known = customer_id in self._matrix.index
        owned = np.asarray(self._matrix.loc[customer_id] if known else np.zeros(self._matrix.shape[1]), dtype=float)
        neighbours = cosine_similarity(owned[np.newaxis], self._matrix.to_numpy())[0]
        nearest = np.argsort(-neighbours)[:50]
        components = {
            "collaborative": neighbours[nearest] @ self._matrix.to_numpy()[nearest],
            "content": owned @ self._similarity,
            "profitability": self._profitability,
        }
        scores = np.sum([_WEIGHTS[name] * _scale(values) for name, values in components.items()], axis=0)
        scores[owned > 0] = -np.inf
        best = np.argsort(-scores)[:10]
        items = [{"isin": self._matrix.columns[index], "score": float(scores[index])} for index in best]
        with self._connection, self._connection.cursor() as cursor:
            cursor.execute("INSERT INTO bench_first_version VALUES (%s, %s)", (customer_id, Json(items)))

    def _read(self, statement: str) -> pd.DataFrame:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def _scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread else np.zeros_like(values)
