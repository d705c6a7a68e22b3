"""One trained model as plain arrays: all that an artifact holds and all that scoring needs. A = number of assets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.recommender.configuration import COMPONENTS, ModelConfiguration
from shared.recommender.history import HistoryMatrix
from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.view import PolicyView
from shared.recommender.signal import Arrays, ArraySpec, Batch, Scores, check_arrays
from shared.recommender.types import Customer, CustomerHistory, InvestmentCapacity, RiskLevel

CATALOGUE = "catalogue"  # the group of the arrays that belong to no signal
NO_SECTOR = -1
CATALOGUE_ARRAYS = {
    "risk_level": ArraySpec("least risk level of a customer who may buy the asset", ("assets",), "int8", 1, 4),
    "tradable": ArraySpec("whether the asset can be bought at as_of", ("assets",), "bool"),
    "bought": ArraySpec("whether any customer has bought the asset", ("assets",), "bool"),
    "new": ArraySpec("whether the asset appeared lately and nobody has bought it", ("assets",), "bool"),
    "sector": ArraySpec("number of the sector, -1 for none", ("assets",), "int16", NO_SECTOR, 2**15 - 1),
    "tie_order": ArraySpec("all positions, in the order that equal scores have", ("assets",), "int32", 0, 2**31 - 1),
}


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model.

    signals: the arrays of every signal of the configuration, by its name. asset_risk_level: (A,) int8, 1..4.
    tradable, bought, new, sector, tie_order: (A,) as CATALOGUE_ARRAYS says, at `as_of`. policy: of an evaluation, which
    knows no other catalogue; no artifact has it. Raises ValueError when an array is not as specified.
    """

    version: str
    as_of: date
    id_map: AssetIdMap
    configuration: ModelConfiguration
    signals: Mapping[str, Arrays]
    asset_risk_level: NDArray[np.int8]
    tradable: NDArray[np.bool_]
    bought: NDArray[np.bool_]
    new: NDArray[np.bool_]
    sector: NDArray[np.int16]
    tie_order: NDArray[np.int32]
    metadata: dict[str, Any] = field(default_factory=dict)  # metrics, watermark
    policy: PolicyView | None = None

    def __post_init__(self) -> None:
        asset_count = len(self.id_map)
        groups = self.array_groups()
        if groups.keys() != (specs := array_specs(self.configuration, asset_count)).keys():
            raise ValueError(f"arrays of the signals {sorted(groups)}, expected {sorted(specs)}")
        for name, arrays in groups.items():
            check_arrays(name, specs[name], arrays, asset_count=asset_count)
        if not np.array_equal(np.sort(self.tie_order), np.arange(asset_count)):
            raise ValueError("catalogue.tie_order does not hold every position once")
        for signal in self.configuration.signals():
            signal.check(self.signals[signal.name], asset_count=asset_count)

    def array_groups(self) -> dict[str, Arrays]:
        """Return all arrays: those of the signals, and those of the catalogue under CATALOGUE."""
        plain = {name: getattr(self, name) for name in CATALOGUE_ARRAYS if name != "risk_level"}
        return {CATALOGUE: {"risk_level": self.asset_risk_level, **plain}, **self.signals}

    @cached_property
    def silent_components(self) -> frozenset[str]:
        """The components none of whose signals says anything: they get no weight, and a list has no value of them."""
        return frozenset(
            name
            for name in COMPONENTS
            if not any(signal.has_opinion(self.signals[signal.name]) for signal in getattr(self.configuration, name))
        )

    @cached_property
    def segments(self) -> Mapping[str, list[Scores]]:
        """What a customer without history gets, by segment, for each signal of a component; (SEGMENT_COUNT, A) each.

        collaborative: the cold-start signal. content: the content signals, with that as the customer's history.
        """
        customers = [Customer("", level, capacity) for level in (None, *RiskLevel) for capacity in InvestmentCapacity]
        histories = [CustomerHistory(customer) for customer in customers]
        nothing: HistoryMatrix = sparse.csr_array(np.zeros((len(customers), len(self.id_map)), np.float32))
        cold_start = self.configuration.cold_start
        prior = cold_start.score(self.signals[cold_start.name], Batch(self.id_map, histories, nothing))
        batch = Batch(self.id_map, histories, sparse.csr_array(prior))
        content = [signal.score(self.signals[signal.name], batch) for signal in self.configuration.content]
        return {"collaborative": [prior], "content": content}


def array_specs(configuration: ModelConfiguration, asset_count: int) -> dict[str, Mapping[str, ArraySpec]]:
    """Return what the arrays of such a model are, by signal, those of the catalogue under CATALOGUE."""
    of_signals = {signal.name: signal.specs(asset_count) for signal in configuration.signals()}
    return {CATALOGUE: CATALOGUE_ARRAYS, **of_signals}
