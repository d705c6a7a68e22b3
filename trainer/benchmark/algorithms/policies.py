"""The hybrid under each shipped policy, by the names `policy:NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shared.policy_files import shipped_policies
from shared.recommender.candidates import accepted_risk_level
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend_indices
from shared.recommender.policy.refusals import count_refusals
from shared.recommender.policy.rules import Policy
from shared.recommender.policy.view import view_of
from trainer.benchmark.algorithms.signals import fit_hybrid
from trainer.benchmark.known import KnownData, Lists, Split

PREFIX = "policy:"


@dataclass(frozen=True)
class PolicyHybrid:
    """The served hybrid under a policy, with the weights that the trainer would choose at the time point."""

    policy: Policy

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the lists; everything that the policy looks at is dated up to the time point."""
        model, histories = self._model(known, split), known.training.histories(known.customers_of(split).tolist())
        return recommend_indices(model, histories, now=known.training.now)

    def figures(self, known: KnownData, split: Split, lists: Lists) -> Mapping[str, Mapping[str, Any]]:
        """Return for each risk level: customers, empty lists, places, those above the stated level by the classes of
        the policy, and how often each rule refused an available asset.
        """
        model, histories = self._model(known, split), known.training.histories(known.customers_of(split).tolist())
        assert model.policy is not None
        found: dict[str, dict[str, Any]] = {}
        stated = np.array([accepted_risk_level(history.customer) for history in histories])
        above = (model.policy.asset_class[lists] > stated[:, np.newaxis]) & (lists != NO_ASSET)
        bands = np.array([_band(history.customer.risk_level) for history in histories])
        for band in sorted(set(bands.tolist())):
            rows = np.flatnonzero(bands == band)
            listed = lists[rows] != NO_ASSET
            found[band] = {
                "customers": len(rows),
                "empty": int((~listed.any(axis=1)).sum()),
                "places": int(listed.sum()),
                "above_stated": int(above[rows].sum()),
                "available": int(model.tradable.sum()) * len(rows),
                "allowed": int((model.policy.allowed([histories[row] for row in rows]) & model.tradable).sum()),
                "refusals": dict(count_refusals(model, [histories[row] for row in rows], catalogue=None)),
            }
        return found

    def _model(self, known: KnownData, split: Split) -> Model:
        return replace(fit_hybrid(known, split), policy=view_of(self.policy, known.training))


def policy_names() -> list[str]:
    """Return the name of every shipped policy as an algorithm."""
    return [f"{PREFIX}{name}" for name in shipped_policies()]


def policy_algorithm(name: str) -> PolicyHybrid:
    """Return the algorithm of one of these names; raises KeyError, PolicyInvalid."""
    return PolicyHybrid(shipped_policies()[name.removeprefix(PREFIX)])


def _band(level: Any) -> str:
    return level.name.lower() if level else "unknown"
