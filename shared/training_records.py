"""What the trainer reads from the database and keeps there, as frozen records.

They lie here, not in `trainer/`, because the database adapter makes them and may not import a service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from shared.domain.types import Asset, Customer


@dataclass(frozen=True)
class TrainingRows:
    """One consistent reading of everything that a model is fitted on.

    purchases: customer_id, isin, traded_on. close_prices: isin, priced_on, close_price.
    interactions: customer_id, isin, interaction_type, occurred_at (UTC). Dates are datetime64.
    """

    assets: tuple[Asset, ...]
    customers: tuple[Customer, ...]
    purchases: pd.DataFrame
    close_prices: pd.DataFrame
    interactions: pd.DataFrame


@dataclass(frozen=True)
class VersionRow:
    """One row of model_versions, as far as the trainer decides by it."""

    version: str
    status: str
    active: bool
    triggered_by: str
    progress: str | None = None
    sequence: int | None = None
    configuration: Mapping[str, Any] | None = None
    manifest_sha256: str | None = None


@dataclass(frozen=True)
class FinishedTraining:
    """How a training ended; `status` is promoted or stored, `reason` says why."""

    version: str
    status: str
    reason: str
    algorithm: str
    manifest_sha256: str
    finished_at: datetime
    metrics: Mapping[str, Any] = field(default_factory=dict)
    champion_metrics: Mapping[str, Any] | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    watermark: Mapping[str, Any] = field(default_factory=dict)
