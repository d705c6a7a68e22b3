"""The rows that a model is fitted on, as the trainer reads them from the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from shared.recommender.types import Asset, Customer


@dataclass(frozen=True)
class TrainingRows:
    """One consistent reading of everything that a model is fitted on.

    purchases: customer_id, isin, day. close_prices: isin, day, close_price. interactions: customer_id, isin,
    interaction_type, occurred_at, in the order of the log. Days count from 1970-01-01, occurred_at is seconds since
    then (UTC). ignored: for each table, how many rows have a date that no row can have and were left out.
    """

    assets: tuple[Asset, ...]
    customers: tuple[Customer, ...]
    purchases: pd.DataFrame
    close_prices: pd.DataFrame
    interactions: pd.DataFrame
    ignored: Mapping[str, int] = field(default_factory=dict)
