"""What a signal is, and the registry that finds a signal by its name. docs/signals.md shows how to add one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.errors import ConfigurationInvalid
from shared.recommender.history import HistoryMatrix
from shared.recommender.id_map import AssetIdMap
from shared.recommender.training_data import TrainingData
from shared.recommender.types import CustomerHistory

ENTRY_POINT_GROUP = "far_trans_recommender.signals"

REGISTRY: dict[str, str] = {
    "edlae": "shared.recommender.signals.edlae:Edlae",
    "item_item": "shared.recommender.signals.item_item:ItemItem",
    "lightfm": "shared.recommender.signals.lightfm:LightFm",
    "basket": "shared.recommender.signals.basket:Basket",
    "next_purchase": "shared.recommender.signals.next_purchase:NextPurchase",
    "residual_next_purchase": "shared.recommender.signals.residual_next_purchase:ResidualNextPurchase",
    "portfolio_mix": "shared.recommender.signals.portfolio_mix:PortfolioMix",
    "trend": "shared.recommender.signals.trend:Trend",
    "popularity": "shared.recommender.signals.popularity:Popularity",
    "fund_preference": "shared.recommender.signals.fund_preference:FundPreference",
    "user_knn": "shared.recommender.signals.user_knn:UserKnn",
    "content": "shared.recommender.signals.content:Content",
    "profitability": "shared.recommender.signals.predicted_return:PredictedReturn",
    "segment_prior": "shared.recommender.signals.segment_prior:SegmentPrior",
}

# The largest absolute value of a float array: no float32 sum over the assets can overflow.
LARGEST_VALUE = 1e6

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Scores: TypeAlias = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class ArraySpec:
    """What a fitted array holds, its shape, dtype and least and largest value.

    An axis of the shape is a number, "assets" (as many as the model has), or another name: a length that the fit
    chooses, the same wherever the signal uses the name.
    """

    meaning: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    least: float = -LARGEST_VALUE
    largest: float = LARGEST_VALUE


@dataclass(frozen=True, eq=False)
class Batch:
    """B customers to score. history: (B, A) float32, 1 for an owned asset, less for one that they interacted with."""

    id_map: AssetIdMap
    histories: Sequence[CustomerHistory]
    history: HistoryMatrix

    def owned(self) -> list[list[int]]:
        """Return the positions of the assets that each customer owns or owned, as in a training."""
        return [self.id_map.known_indices(history.ever_owned) for history in self.histories]


@dataclass(frozen=True, kw_only=True)
class Signal(ABC):
    """One reason to recommend an asset. A subclass is a frozen dataclass; its fields are its hyper-parameters.

    name: its name in the registry. component: where a model uses it by default. weight: its factor within its
    component, after standardising. portfolio_power: for a customer who owns n assets, the weight is multiplied by
    (max(n, 1) / 4) ** portfolio_power, at least by 1/3 and at most by 3 (docs/decisions/0026). Both have no effect on
    the fit, and none in a component of one signal.
    """

    name: ClassVar[str]
    component: ClassVar[str] = "collaborative"
    arrays: ClassVar[Mapping[str, ArraySpec]]

    weight: float = 1.0
    portfolio_power: float = 0.0

    def specs(self, asset_count: int) -> Mapping[str, ArraySpec]:
        """Return what the arrays are for so many assets: `arrays`, unless the signal has another form for many."""
        return self.arrays

    @abstractmethod
    def fit(self, data: TrainingData, *, random_state: int) -> Arrays:
        """Return the arrays of `arrays`, fitted on all of `data`; deterministic on one thread."""

    @abstractmethod
    def score(self, arrays: Arrays, batch: Batch) -> Scores:
        """Return (B, A) scores, larger is better. A row depends on its customer alone, not on the batch."""

    def check(self, arrays: Arrays, *, asset_count: int) -> None:  # noqa: B027 - most signals need none
        """Raise ValueError when arrays of the right shapes do not fit together; they may come from a hostile file."""

    def has_opinion(self, arrays: Arrays) -> bool:
        """Return whether the scores say anything about any asset; False when the fit found nothing to say."""
        return True

    def figures(self, arrays: Arrays) -> dict[str, Any]:
        """Return what the fit measured of its own predictions, as plain JSON values for the manifest."""
        return {}

    @classmethod
    def is_available(cls) -> bool:
        """Return whether this installation can fit the signal."""
        return True


class FittingEngine(Protocol):
    """Where signals are fitted: another process, or other machines."""

    def fit_signals(self, signals: Sequence[Signal], data: TrainingData, *, random_state: int) -> Sequence[Arrays]:
        """Return the arrays of each signal, as its `fit` returns them up to rounding."""
        ...


def signal_class(name: str) -> type[Signal]:
    """Return the class of a registered signal; raises ConfigurationInvalid for an unknown name or a bad plugin."""
    if name in REGISTRY:
        entry = EntryPoint(name, REGISTRY[name], ENTRY_POINT_GROUP)
    else:
        plugins = entry_points(group=ENTRY_POINT_GROUP)
        if name not in plugins.names:
            known = ", ".join(sorted({*REGISTRY, *plugins.names}))
            raise ConfigurationInvalid(f"there is no signal {name!r:.80}; installed are {known}")
        entry = plugins[name]
    try:
        loaded = entry.load()
    except Exception as error:  # a plugin may raise anything when it is imported
        raise ConfigurationInvalid(f"signal {name!r} ({entry.value}) cannot be imported: {error!r:.200}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Signal) and is_dataclass(loaded)):
        raise ConfigurationInvalid(f"signal {name!r} ({entry.value}) does not derive from Signal, as a dataclass")
    if getattr(loaded, "name", None) != name:
        raise ConfigurationInvalid(f"signal {name!r} ({entry.value}) has the name {getattr(loaded, 'name', None)!r}")
    return loaded


def check_arrays(owner: str, specs: Mapping[str, ArraySpec], arrays: Arrays, *, asset_count: int) -> None:
    """Raise ValueError when arrays are not as specified: names, shapes, dtypes, C-contiguous, finite and in range."""
    if arrays.keys() != specs.keys():
        raise ValueError(f"{owner} has the arrays {sorted(arrays)}, expected {sorted(specs)}")
    lengths: dict[int | str, int] = {"assets": asset_count}
    for name, spec in specs.items():
        array, named = arrays[name], f"{owner}.{name}"
        axes = zip(spec.shape, array.shape, strict=False)
        fits = all(
            length == (axis if isinstance(axis, int) else lengths.setdefault(axis, length)) for axis, length in axes
        )
        if array.dtype != spec.dtype or array.ndim != len(spec.shape) or not fits:
            raise ValueError(f"{named} is {array.dtype} {array.shape}, expected {spec.dtype} {spec.shape}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{named} is not C-contiguous")
        if array.size and array.dtype != np.bool_ and not (spec.least <= array.min() and array.max() <= spec.largest):
            raise ValueError(f"{named} holds values that are not finite or outside [{spec.least:g}, {spec.largest:g}]")
