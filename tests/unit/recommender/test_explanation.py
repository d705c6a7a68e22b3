"""Why an asset is in a list or not: the same as what the scorer ranks, and effects that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from shared.recommender.candidates import CatalogueView, build_catalogue_view, candidate_mask
from shared.recommender.configuration import COMPONENTS
from shared.recommender.explanation import Explanation, explain_asset
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.pipeline import ScoringRules, TopAssets, rank_assets, score_candidates
from shared.recommender.policy.refusals import find_refusals
from shared.recommender.types import NO_OPTIONS, CustomerHistory, ListOptions, ListRules, RiskLevel, Weights
from tests.builders import NOW, build_customer, build_histories, build_history, build_isins, build_model
from tests.unit.recommender.policy.policies import EVERY_RULE, policy_with
from tests.unit.recommender.policy.test_lists_under_policy import customers, model_under

WEIGHTS = Weights(0.5, 0.2, 0.3)
SECTOR_NAMES = (None, "Banks", "Energy", "Utilities")


def random_model(seed: int) -> Model:
    """Return a model with sectors, assets that are new or without demand, and every rule of lists in force."""
    random = np.random.default_rng(seed)
    assets = int(random.integers(12, 60))
    bought = random.random(assets) < 0.85
    model = build_model(
        seed=seed,
        assets=assets,
        weights=Weights(*random.random(3)),
        bought=bought,
        new=~bought & (random.random(assets) < 0.5),
        sector=random.integers(-1, 3, assets).astype(np.int16),
        tie_order=random.permutation(assets).astype(np.int32),
    )
    rules = ListRules(largest_sector_share=float(random.choice([0.3, 0.5, 1.0])), exploration_share=0.5)
    return replace(model, configuration=replace(model.configuration, list_rules=rules))


def random_catalogue(model: Model, random: np.random.Generator) -> CatalogueView:
    isins = [isin for isin in model.id_map.isins if random.random() < 0.95]
    levels = {isin: RiskLevel(int(random.integers(1, 5))) for isin in isins}
    sectors = {isin: SECTOR_NAMES[random.integers(len(SECTOR_NAMES))] for isin in isins}
    categories = {isin: str(random.choice(["Bond", "MTF", "Stock"])) for isin in isins}
    return build_catalogue_view(model.id_map, levels, categories=categories, sectors=sectors)


def random_options(model: Model, random: np.random.Generator) -> ListOptions:
    if random.random() < 0.5:
        return NO_OPTIONS
    return ListOptions(
        categories=("Bond", "Stock") if random.random() < 0.3 else None,
        sectors=("Banks", "Energy") if random.random() < 0.2 else None,
        exclude=tuple(random.choice(model.id_map.isins, 3)) if random.random() < 0.3 else None,
        per_sector=int(random.integers(1, 4)) if random.random() < 0.3 else None,
        per_category=int(random.integers(1, 6)) if random.random() < 0.3 else None,
    )


def ranked(top: TopAssets, model: Model) -> dict[str, tuple[int, list[float]]]:
    """Return rank and contributions of each asset of a list, by ISIN."""
    assets = [int(asset) for asset in top.asset_indices[0] if asset != NO_ASSET]
    return {
        model.id_map.isins[asset]: (rank, top.contributions[:, 0, rank - 1].tolist())
        for rank, asset in enumerate(assets, start=1)
    }


def check_agreement(found: Explanation, isin: str, shown: dict[str, Any], every: dict[str, Any], *, k: int) -> None:
    """Compare an explanation with the list of k places and with the ranking of all candidates."""
    assert found.candidates == len(every)
    assert (found.state == "listed") == (isin in shown)
    assert (found.candidate is not None) == (isin in every)
    if found.candidate is None:
        assert found.state == "refused"
        assert found.refusals
        return
    rank, contributions = every[isin]
    assert (found.candidate.rank, list(found.candidate.contributions)) == (rank, contributions)
    assert found.candidate.score == sum(contributions[:2]) + contributions[2]
    assert found.candidate.place == shown.get(isin, (None,))[0]
    assert found.state == "listed" or bool(found.refusals) == (found.state == "refused")
    if found.state == "below":
        assert found.last is not None
        assert found.last.rank < rank
        assert found.last.place in (k, k - 1)
        assert found.last.score >= found.candidate.score


def agree(seeds: Iterable[int], *, histories: int, pairs: int) -> Counter[str]:
    """Check so many random pairs for each history of each model; return how many there were of each state and rule."""
    states: Counter[str] = Counter()
    for seed in seeds:
        model, random = random_model(seed), np.random.default_rng(seed)
        for history in build_histories(model, histories, seed=seed):
            catalogue, options = random_catalogue(model, random), random_options(model, random)
            weights, k = Weights(*random.random(3)), int(random.choice([1, 3, 10]))
            asked: dict[str, Any] = {"now": NOW, "weights": weights, "catalogue": catalogue}
            shown = ranked(rank_assets(model, [history], k=k, options=[options], **asked), model)
            unlimited = replace(options, per_sector=None, per_category=None)
            every = ranked(rank_assets(model, [history], k=len(model.id_map), options=[unlimited], **asked), model)
            for isin in random.choice(model.id_map.isins, pairs):
                found = explain_asset(model, history, str(isin), k=k, options=options, **asked)
                check_agreement(found, str(isin), shown, every, k=k)
                states[found.state] += 1
                states.update({one.rule for one in found.refusals})
    return states


def test_explanations_agree_with_the_scorer_on_random_pairs() -> None:
    states = agree(range(10), histories=10, pairs=4)
    assert sum(states[one] for one in ("listed", "refused", "below")) == 400
    assert min(states[one] for one in ("listed", "refused", "below")) > 30


def plain(**fields: Any) -> Model:
    return build_model(
        assets=30, **{"tradable": np.ones(30, np.bool_), "asset_risk_level": np.ones(30, np.int8), **fields}
    )


def explain(model: Model, isin: str, history: CustomerHistory | None = None, **options: Any) -> Explanation:
    asked = {"k": 10, "now": NOW, "weights": WEIGHTS, **options}
    return explain_asset(model, history or build_history(owned=build_isins(2)), isin, **asked)


def rules_of(found: Explanation) -> dict[str, tuple[Any, Any]]:
    return {one.rule: (dict(one.inputs), one.threshold) for one in found.refusals}


def test_every_rule_of_candidates_names_its_inputs_and_its_threshold() -> None:
    isins = build_isins(30)
    risky = np.ones(30, np.int8)
    risky[0] = 3
    tradable = np.ones(30, np.bool_)
    tradable[0] = False
    model = plain(asset_risk_level=risky, tradable=tradable)
    customer = build_customer("C1", RiskLevel.INCOME)
    history = CustomerHistory(customer, owned=(isins[0],), dismissed=(isins[0],))

    found = explain(model, isins[0], history, options=ListOptions(exclude=(isins[0],)))

    assert found.state == "refused"
    assert rules_of(found) == {
        "tradable": ({"as_of": "2022-11-29"}, "tradable at this day"),
        "risk_level": ({"asset_level": 3, "customer_level": 2}, {"most": 2}),
        "held": ({"isin": isins[0]}, "not held"),
        "dismissed": ({"isin": isins[0]}, "not dismissed"),
        "option_exclude": ({"isin": isins[0]}, [isins[0]]),
    }
    assert not candidate_mask(model, [history])[0, 0]
    assert rules_of(explain(model, "XS0000000001"))["unknown"] == ({"as_of": "2022-11-29"}, "known to the model")


def test_an_asset_outside_of_the_catalogue_or_of_what_was_asked_is_refused() -> None:
    model, isins = plain(), build_isins(30)
    levels = dict.fromkeys(isins[:20], RiskLevel.CONSERVATIVE)
    sectors: dict[str, str | None] = {**dict.fromkeys(isins[:10], "Banks"), **dict.fromkeys(isins[10:20], "Energy")}
    catalogue = build_catalogue_view(model.id_map, levels, categories=dict.fromkeys(isins, "Bond"), sectors=sectors)
    options = ListOptions(categories=("Stock",), sectors=("Banks",))
    cold = build_history()

    assert [*rules_of(explain(model, isins[25], cold, catalogue=catalogue))] == ["catalogue"]
    assert rules_of(explain(model, isins[15], cold, catalogue=catalogue, options=options)) == {
        "option_categories": ({"categories": "Bond"}, ["Stock"]),
        "option_sectors": ({"sectors": "Energy"}, ["Banks"]),
    }


def test_an_asset_whose_sector_has_its_share_is_refused_though_its_score_is_high_enough() -> None:
    model = plain(sector=np.array([0] * 18 + [NO_SECTOR] * 12, dtype=np.int16))
    model = replace(model, configuration=replace(model.configuration, list_rules=ListRules(0.2, 0.0)))
    found = [explain(model, isin) for isin in build_isins(30)[2:]]
    shares = [rules_of(one)["largest_sector_share"] for one in found if one.state == "refused"]
    assert shares
    assert all(one == ({"listed": 2}, {"most": 2, "share": 0.2}) for one in shares)


def test_what_the_new_asset_of_the_last_place_replaces_is_told_so() -> None:
    model = plain(new=np.arange(30) == 20, bought=np.arange(30) != 20)
    model = replace(model, configuration=replace(model.configuration, list_rules=ListRules(1.0, 1.0)))
    found = {isin: explain(model, isin) for isin in build_isins(30)[2:]}
    [replaced] = [one for one in found.values() if one.state == "refused"]
    assert replaced.candidate is not None
    assert replaced.candidate.rank == 10
    assert rules_of(replaced) == {"new_asset_place": ({"new": build_isins(30)[20]}, {"places": 9})}
    new = found[build_isins(30)[20]]
    assert (new.state, new.candidate and new.candidate.place) == ("listed", 10)
    assert all(one.last is not None and one.last.place == 9 for one in found.values())


@pytest.mark.parametrize("seed", range(6))
def test_the_effects_of_signals_sum_to_the_distance_from_the_mean_candidate(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.recommender.explanation.FACT_COUNT", 100)
    model = random_model(seed)
    for history in [*build_histories(model, 6, seed=seed), build_history()]:
        top = rank_assets(model, [history], k=len(model.id_map), now=NOW, weights=WEIGHTS)
        every = ranked(top, model)
        signals, _ = score_candidates(model, [history], ScoringRules(NOW))
        demand = {isin for isin, known in zip(model.id_map.isins, signals.demand[0], strict=True) if known}
        for isin in islice(every, 0, None, 3):
            found = explain_asset(model, history, isin, k=5, now=NOW, weights=WEIGHTS)
            for number, name in enumerate(COMPONENTS):
                known = [one[number] for other, (_, one) in every.items() if name != "collaborative" or other in demand]
                effects = [fact.effect for fact in found.facts if fact.component == name]
                if any(one[number] for _, one in every.values()):
                    assert sum(effects) == pytest.approx(every[isin][1][number] - np.mean(known), abs=1e-5)


def test_the_three_largest_effects_are_named_and_an_asset_without_demand_has_one_of_its_purchases() -> None:
    bought = np.ones(30, np.bool_)
    bought[20] = False
    model = plain(bought=bought)
    facts = explain(model, build_isins(30)[5]).facts
    assert len(facts) == 3
    assert [abs(one.effect) for one in facts] == sorted((abs(one.effect) for one in facts), reverse=True)
    without = explain(model, build_isins(30)[20]).facts
    assert [one.signal for one in without if one.component == "collaborative"] == ["no_demand"]


def test_a_customer_to_whom_nothing_may_be_recommended_gets_reasons_and_no_last_asset() -> None:
    model = plain(asset_risk_level=np.full(30, 4, np.int8))
    found = explain(model, build_isins(30)[0], CustomerHistory(build_customer("C1", None)))
    assert (found.state, found.candidates, found.last) == ("refused", 0, None)
    assert rules_of(found) == {"risk_level": ({"asset_level": 4, "customer_level": None}, {"most": 1})}


def test_the_rules_of_a_policy_are_named_as_it_names_them() -> None:
    model = model_under(policy_with(EVERY_RULE))
    names: Counter[str] = Counter()
    for history in customers(model, 12):
        shown = ranked(rank_assets(model, [history], k=10, now=NOW, weights=WEIGHTS), model)
        allowed = candidate_mask(model, [history])[0]
        for isin, is_candidate in zip(model.id_map.isins, allowed.tolist(), strict=True):
            found = explain(model, isin, history)
            assert (found.candidate is not None) == is_candidate
            assert (found.state == "listed") == (isin in shown)
            if not is_candidate:
                assert list(found.refusals) == find_refusals(model, history, isin, catalogue=None)
            assert bool(found.refusals) == (found.state == "refused")
            names.update({one.rule.partition("_")[0] for one in found.refusals})
    assert {"risk", "held", "cap", "excluded", "equal"} <= names.keys(), names
