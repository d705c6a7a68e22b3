"""Why an asset is in a customer's list, or not: its rank, the rules that refuse it, the signals that moved it most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import (
    CatalogueView,
    accepted_risk_level,
    is_suitable,
    policy_of,
    remove_filtered,
)
from shared.recommender.components import measure_effects
from shared.recommender.configuration import COMPONENTS
from shared.recommender.history import dismissed_isins
from shared.recommender.list_rules import NO_ASSET, build_shape, equal_score_order, explores
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.pipeline import (
    BatchScores,
    ScoringRules,
    effective_weights,
    rank_assets,
    score_candidates,
    weigh,
)
from shared.recommender.policy.refusals import Refusal, find_refusals
from shared.recommender.types import NO_OPTIONS, Contributions, CustomerHistory, ListOptions, Weights

FACT_COUNT = 3

Ranking = NDArray[np.int64]


@dataclass(frozen=True)
class Fact:
    """How far a signal moved the score of an asset from that of the mean candidate; negative: down."""

    component: str
    signal: str
    effect: float


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate. rank: among all candidates, from 1. place: in the list, from 1; None where it is not there."""

    isin: str
    rank: int
    place: int | None
    score: float
    contributions: Contributions


@dataclass(frozen=True)
class Explanation:
    """What became of one asset. `refused`: a rule keeps it out. `below`: others have a higher score.

    candidate: None where it is no candidate. facts: FACT_COUNT at most, the largest effect first. last: the last asset
    of the list that is there for its score; None for an empty list.
    """

    state: Literal["listed", "refused", "below"]
    candidates: int
    candidate: RankedCandidate | None = None
    facts: tuple[Fact, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    last: RankedCandidate | None = None


def explain_asset(  # noqa: PLR0913 - the question of a list, and an asset
    model: Model,
    history: CustomerHistory,
    isin: str,
    *,
    k: int,
    now: datetime,
    weights: Weights,
    options: ListOptions = NO_OPTIONS,
    catalogue: CatalogueView | None = None,
) -> Explanation:
    """Return what becomes of the asset in the list that `rank_assets` gives for the same question."""
    top = rank_assets(model, [history], k=k, now=now, weights=weights, options=[options], catalogue=catalogue)
    listed: list[int] = [asset for asset in top.asset_indices[0].tolist() if asset != NO_ASSET]
    signals, candidates = score_candidates(model, [history], ScoringRules(now, catalogue=catalogue))
    batch = weigh(model.configuration, signals, candidates, weights=[weights])
    remove_filtered(batch.scores, [options], id_map=model.id_map, catalogue=catalogue)
    ranking = _rank_candidates(equal_score_order(model, policy_of(model, catalogue)), batch.scores[0])
    described = _Described(model, batch, ranking, listed)
    by_score = _listed_for_their_score(model, history, described, k)
    last = described.candidate(by_score[-1]) if by_score else None
    if isin not in model.id_map:
        unknown = Refusal("unknown", {"as_of": model.as_of.isoformat()}, "known to the model")
        return Explanation("refused", len(ranking), refusals=(unknown,), last=last)
    asset = model.id_map.asset_index(isin)
    if batch.scores[0, asset] == -np.inf:
        refusals = tuple(_no_candidate(model, history, asset, options, catalogue))
        return Explanation("refused", len(ranking), refusals=refusals, last=last)
    effective = effective_weights(weights, model.configuration.weights, signals.silent).normalised()
    effects = measure_effects(model.configuration, signals, candidates, asset, weights=effective)
    facts = sorted((Fact(*one) for one in effects), key=lambda fact: -abs(fact.effect))[:FACT_COUNT]
    candidate = described.candidate(asset)
    left_out = (
        ()
        if asset in listed
        else tuple(
            _left_out(
                model, history, described, candidate, k=k, options=options, catalogue=catalogue, by_score=by_score
            )
        )
    )
    state: Literal["listed", "refused", "below"] = "refused" if left_out else "below"
    return Explanation("listed" if asset in listed else state, len(ranking), candidate, tuple(facts), left_out, last)


@dataclass(frozen=True, eq=False)
class _Described:
    """The candidates of one customer, best first, and the list."""

    model: Model
    batch: BatchScores
    ranking: Ranking
    listed: Sequence[int]

    def candidate(self, asset: int) -> RankedCandidate:
        values = self.batch.contributions[:, 0, asset].tolist()
        silent = self.model.silent_components
        known = [None if name in silent else value for name, value in zip(COMPONENTS, values, strict=True)]
        return RankedCandidate(
            isin=self.model.id_map.isins[asset],
            rank=self.rank(asset),
            place=self.listed.index(asset) + 1 if asset in self.listed else None,
            score=float(self.batch.scores[0, asset]),
            contributions=Contributions._make(known),
        )

    def rank(self, asset: int) -> int:
        return int(np.flatnonzero(self.ranking == asset)[0]) + 1


def _rank_candidates(order: NDArray[np.int32], scores: NDArray[np.float64]) -> Ranking:
    """Return the positions of all candidates, best first, equal scores in `order`. scores, order: (A,)."""
    ordered = scores[order]
    best_first = np.argsort(-ordered, kind="stable")[: np.count_nonzero(ordered > -np.inf)]
    return np.asarray(order[best_first], dtype=np.int64)


def _listed_for_their_score(model: Model, history: CustomerHistory, described: _Described, k: int) -> Sequence[int]:
    """Return the list without a new asset that has the last place whatever its score."""
    listed = described.listed
    is_kept_place = len(listed) == k > 1 and explores(model, history.customer.customer_id)
    if is_kept_place and model.new[listed[-1]] and described.rank(listed[-1]) > k:
        return listed[:-1]
    return listed


def _no_candidate(
    model: Model, history: CustomerHistory, asset: int, options: ListOptions, catalogue: CatalogueView | None
) -> Iterator[Refusal]:
    """Yield every reason why this asset is no candidate; the rules are those of `candidate_mask`, `remove_filtered`."""
    isin = model.id_map.isins[asset]
    if policy_of(model, catalogue) is None:
        yield from _refused_by_table(model, history, asset, catalogue)
    else:
        yield from find_refusals(model, history, isin, catalogue=catalogue)
    if options.exclude and isin in options.exclude:
        yield Refusal("option_exclude", {"isin": isin}, list(options.exclude))
    if catalogue is not None:
        for name, asked, labels in (
            ("categories", options.categories, catalogue.categories),
            ("sectors", options.sectors, catalogue.sectors),
        ):
            if asked is not None and not labels.are_among(asked)[asset]:
                yield Refusal(f"option_{name}", {name: labels.name(asset)}, list(asked))


def _refused_by_table(
    model: Model, history: CustomerHistory, asset: int, catalogue: CatalogueView | None
) -> Iterator[Refusal]:
    """Yield the reasons of a list without a policy: the table of decision 4."""
    isin = model.id_map.isins[asset]
    is_listed = catalogue is None or bool(catalogue.listed[asset])
    if catalogue is not None and catalogue.suspended[asset]:
        yield Refusal("suspended", {"isin": isin}, "not suspended")
    elif not is_listed:
        yield Refusal("catalogue", {"isin": isin}, "in the catalogue")
    if not model.tradable[asset]:
        yield Refusal("tradable", {"as_of": model.as_of.isoformat()}, "tradable at this day")
    level = int(model.asset_risk_level[asset] if catalogue is None else catalogue.risk_level[asset])
    if is_listed and not is_suitable(level, history.customer):
        stated = history.customer.risk_level
        inputs = {"asset_level": level, "customer_level": None if stated is None else int(stated)}
        yield Refusal("risk_level", inputs, {"most": int(accepted_risk_level(history.customer))})
    if isin in history.owned:
        yield Refusal("held", {"isin": isin}, "not held")
    if isin in dismissed_isins(history):
        yield Refusal("dismissed", {"isin": isin}, "not dismissed")


def _left_out(  # noqa: PLR0913 - a candidate, and what its list is
    model: Model,
    history: CustomerHistory,
    described: _Described,
    candidate: RankedCandidate,
    *,
    k: int,
    options: ListOptions,
    catalogue: CatalogueView | None,
    by_score: Sequence[int],
) -> Iterator[Refusal]:
    """Yield the rules of the list that keep a candidate out whose score is high enough for it."""
    asset = model.id_map.asset_index(candidate.isin)
    if by_score and len(described.listed) == k and candidate.rank > described.rank(by_score[-1]):
        new = described.listed[-1]
        if candidate.rank == k and len(by_score) < k:
            yield Refusal("new_asset_place", {"new": model.id_map.isins[new]}, {"places": k - 1})
        return
    if catalogue is not None:
        for name, most, labels in (
            ("sector", options.per_sector, catalogue.sectors),
            ("category", options.per_category, catalogue.categories),
        ):
            count = _count_like(labels.numbers, asset, described.listed)
            if most is not None and labels.numbers[asset] >= 0 and count >= most:
                inputs = {name: labels.name(asset), "listed": count}
                yield Refusal(f"option_per_{name}", inputs, {"most": most})
    shape = build_shape(model, k, options, catalogue)
    count = _count_like(model.sector, asset, by_score)
    if shape.largest_sector_share is not None and model.sector[asset] != NO_SECTOR and count >= shape.most_of_sector:
        threshold = {"most": shape.most_of_sector, "share": shape.largest_sector_share}
        yield Refusal("largest_sector_share", {"listed": count}, threshold)
    policy = policy_of(model, catalogue)
    if policy is not None:
        listed = [model.id_map.isins[one] for one in described.listed]
        yield from find_refusals(model, history, candidate.isin, catalogue=catalogue, listed=listed)
        if policy.policy.leave_out_ties and len(listed) < k:
            tied: dict[str, Any] = {"score": candidate.score, "trades": int(policy.figures.trades[asset])}
            yield Refusal("equal_scores", tied, "told apart by score, liquidity or price freshness")


def _count_like(numbers: NDArray[np.integer[Any]], asset: int, listed: Sequence[int]) -> int:
    return int(np.count_nonzero(numbers[list(listed)] == numbers[asset]))
