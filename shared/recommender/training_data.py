"""What the trainer reads from the database and keeps there, as frozen records.

They lie here, not in `trainer/`, because the database adapter makes them and may not import a service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

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


@dataclass(frozen=True)
class Command:
    """A message of models.commands.v1 as it is kept with its effect: identity, content, and the offset after it."""

    event_id: UUID
    event_type: str
    content_digest: str
    next_offsets: Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class CancelledTrainings:
    """What a cancellation ended: the version that ran, and those that waited."""

    running: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionRow:
    """One row of model_versions, as far as the trainer decides by it."""

    version: str
    status: str
    active: bool
    triggered_by: str
    progress: str | None
    sequence: int | None
    configuration: Mapping[str, Any] | None
    watermark: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class FinishedTraining:
    """How a training ended: `status` is promoted or stored, `reason` says why, `next_offsets` what it covers."""

    version: str
    status: str
    reason: str
    algorithm: str
    manifest_sha256: str
    metrics: Mapping[str, Any]
    champion_metrics: Mapping[str, Any] | None
    configuration: Mapping[str, Any]
    watermark: Mapping[str, Any]
    next_offsets: Mapping[tuple[str, int], int]
