"""Which signals a model has, with which hyper-parameters and weights: enough to fit it again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any

from shared.errors import ConfigurationInvalid, InvalidWeights
from shared.recommender.signal import Signal, signal_class
from shared.recommender.types import (
    DEFAULT_INTERACTION_WEIGHTS,
    DEFAULT_LIST_RULES,
    InteractionWeights,
    ListRules,
    Weights,
)

COLLABORATIVE, CONTENT, PROFITABILITY = "collaborative", "content", "profitability"
COMPONENTS = (COLLABORATIVE, CONTENT, PROFITABILITY)  # the order of every axis of three
DEFAULT_WEIGHTS = Weights(collaborative=0.9, content=0.1, profitability=0.0)
DEFAULT_SEED = 7
MOST_OF_SIGNAL = {"weight": 1e6, "portfolio_power": 10.0}  # in absolute value: no sum of signals can overflow

# Algorithm -> its collaborative signals, with the hyper-parameters that differ from the defaults (docs/decisions/0026).
# Content, profitability and the cold start are the same for all.
ALGORITHMS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "ease_next_purchase": {
        "edlae": {"popularity_power": 0.2, "portfolio_power": 0.4},
        "item_item": {"weight": 0.67, "least_entry": 0.3},
        "basket": {"weight": 0.3, "portfolio_power": 0.5},
        "next_purchase": {},
        "residual_next_purchase": {"weight": 0.25, "portfolio_power": 0.7},
        "portfolio_mix": {},
        "trend": {},
        "popularity": {"weight": -0.95},
        "fund_preference": {},
    },
    "ease": {"item_item": {}},
    "lightfm": {"lightfm": {}},
}


@dataclass(frozen=True, kw_only=True)
class ModelConfiguration:
    """All that decides what a model is, apart from the data.

    collaborative, content, profitability: the signals of each component, standardised and added where there are
    several. cold_start: stands in for the history of a customer without one, by their segment alone.
    weights: of the components. Raises ConfigurationInvalid.
    """

    algorithm: str
    collaborative: tuple[Signal, ...]
    content: tuple[Signal, ...]
    profitability: tuple[Signal, ...]
    cold_start: Signal
    weights: Weights = DEFAULT_WEIGHTS
    interaction_weights: InteractionWeights = DEFAULT_INTERACTION_WEIGHTS
    list_rules: ListRules = DEFAULT_LIST_RULES
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        names = [signal.name for signal in self.signals()]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationInvalid(f"signal {doubles[0]!r} is in the configuration twice")
        for signal, (field, most) in product(self.signals(), MOST_OF_SIGNAL.items()):
            if not abs(value := getattr(signal, field)) <= most:  # also true for NaN
                raise ConfigurationInvalid(f"signal {signal.name!r} has the {field} {value!r}, beyond {most:g}")
        for component in COMPONENTS:
            if not getattr(self, component):
                raise ConfigurationInvalid(f"component {component!r} has no signal")

    def signals(self) -> tuple[Signal, ...]:
        """Return all signals, in order of the components, then the one for the cold start."""
        return (*self.collaborative, *self.content, *self.profitability, self.cold_start)

    def without_weights(self) -> ModelConfiguration:
        """Return the same for all configurations whose fitted arrays, and scores of signals, are the same."""
        collaborative, content, profitability, cold_start = (
            tuple(replace(signal, weight=1.0, portfolio_power=0.0) for signal in signals)
            for signals in (self.collaborative, self.content, self.profitability, [self.cold_start])
        )
        return replace(
            self,
            collaborative=collaborative,
            content=content,
            profitability=profitability,
            cold_start=cold_start[0],
            weights=DEFAULT_WEIGHTS,
        )

    def is_available(self) -> bool:
        """Return whether this installation can fit all signals."""
        return all(signal.is_available() for signal in self.signals())

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        return {
            "algorithm": self.algorithm,
            "seed": self.seed,
            "weights": asdict(self.weights),
            "interaction_weights": asdict(self.interaction_weights),
            "list_rules": asdict(self.list_rules),
            "components": {name: [_to_json(signal) for signal in getattr(self, name)] for name in COMPONENTS},
            "cold_start": _to_json(self.cold_start),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelConfiguration:
        """Read what `to_json` wrote; raises ConfigurationInvalid for anything else, with the name of what is wrong."""
        _check_keys(
            "the configuration",
            values,
            ("algorithm", "seed", "weights", "interaction_weights", "list_rules", "components", "cold_start"),
        )
        _check_keys("components", values["components"], COMPONENTS)
        if not isinstance(values["algorithm"], str) or type(values["seed"]) is not int:
            raise ConfigurationInvalid("algorithm must be a text and seed a whole number")
        try:
            signals = {name: tuple(map(_from_json, values["components"][name])) for name in COMPONENTS}
            return cls(
                algorithm=values["algorithm"],
                collaborative=signals[COLLABORATIVE],
                content=signals[CONTENT],
                profitability=signals[PROFITABILITY],
                cold_start=_from_json(values["cold_start"]),
                weights=Weights(**values["weights"]),
                interaction_weights=InteractionWeights(**values["interaction_weights"]),
                list_rules=ListRules(**values["list_rules"]),
                seed=values["seed"],
            )
        except (TypeError, OverflowError, InvalidWeights) as error:
            raise ConfigurationInvalid(f"the configuration is malformed: {error}") from error


def build_configuration(
    algorithm: str,
    *,
    weights: Weights = DEFAULT_WEIGHTS,
    interaction_weights: InteractionWeights = DEFAULT_INTERACTION_WEIGHTS,
    seed: int = DEFAULT_SEED,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    **of_matrices: int,
) -> ModelConfiguration:
    """Return the configuration of an algorithm: names of ALGORITHMS or of signals, joined by "+".

    A signal joins its own component. `changes`: hyper-parameters that differ from the defaults, by signal.
    `of_matrices`: `dense_assets` and `neighbours` of every signal that has them.
    Raises ConfigurationInvalid for an unknown name.
    """
    changed = changes or {}
    described = [
        {"signal": name, **_known_of(name, of_matrices), **parameters, **changed.get(name, {})}
        for part in (*algorithm.split("+"), "content", "profitability")
        for name, parameters in ALGORITHMS.get(part.strip(), {part.strip(): {}}).items()
    ]
    signals = [_from_json(values) for values in described]
    collaborative, content, profitability = (
        tuple(signal for signal in signals if signal.component == name) for name in COMPONENTS
    )
    return ModelConfiguration(
        algorithm=algorithm,
        collaborative=collaborative,
        content=content,
        profitability=profitability,
        cold_start=_from_json({"signal": "segment_prior", **changed.get("segment_prior", {})}),
        weights=weights,
        interaction_weights=interaction_weights,
        seed=seed,
    )


def _known_of(name: str, parameters: Mapping[str, int]) -> dict[str, int]:
    """Return those of the hyper-parameters that the signal has."""
    known = {one.name for one in fields(signal_class(name))} if parameters else set()
    return {key: value for key, value in parameters.items() if key in known}


def _to_json(signal: Signal) -> dict[str, Any]:
    return {"signal": signal.name, **asdict(signal)}


def _from_json(values: Mapping[str, Any]) -> Signal:
    if not isinstance(values, Mapping) or not isinstance(name := values.get("signal"), str):
        raise ConfigurationInvalid(f"{values!r:.80} does not name a signal")
    signal = signal_class(name)
    given = {key: value for key, value in values.items() if key != "signal"}
    known = {one.name: one.default for one in fields(signal)}
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigurationInvalid(f"signal {name!r} has no hyper-parameter {unknown[0]!r}; it has {', '.join(known)}")
    try:
        return signal(**{key: _checked(value, known[key]) for key, value in given.items()})
    except (TypeError, ValueError) as error:
        raise ConfigurationInvalid(f"signal {name!r}: {error}") from error


def _checked(value: Any, default: Any) -> Any:
    """Return a hyper-parameter as the type of its default; a default of None accepts a number as well."""
    if isinstance(default, (bool, str)) or value is None:
        fits = type(value) is type(default)
    elif isinstance(default, int):
        fits = type(value) is int
    else:
        fits = type(value) in (int, float) and math.isfinite(value)
    if not fits:
        raise TypeError(f"{value!r:.80} is not of the type of the default, {default!r}")
    return float(value) if isinstance(default, float) else value


def _check_keys(what: str, values: Any, expected: Sequence[str]) -> None:
    if not isinstance(values, Mapping) or set(values) != set(expected):
        found = sorted(map(str, values)) if isinstance(values, Mapping) else values
        raise ConfigurationInvalid(f"{what} has {found!r:.200}, expected {', '.join(expected)}")
