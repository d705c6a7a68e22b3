"""Lists under a policy: masks and reasons agree, caps hold on portfolio and list, nothing undistinguished is listed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from shared.policy_files import named_policy
from shared.recommender.alternatives import recommend_alternatives
from shared.recommender.candidates import asset_risk_level, build_catalogue_view, candidate_mask
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend, recommend_indices
from shared.recommender.policy.concentration import most_names
from shared.recommender.policy.refusals import count_refusals, find_refusals
from shared.recommender.policy.rules import Policy
from shared.recommender.policy.view import PolicyView
from shared.recommender.types import Asset, Basis, Customer, CustomerHistory, RiskLevel
from tests.builders import NOW, build_asset, build_histories, build_history, build_model
from tests.unit.recommender.policy.policies import BASE, EVERY_RULE, market_with, policy_with, view_with

COUNT = 60
KINDS = (("Stock", None), ("Bond", "Corporate"), ("Bond", "Government"))


def assets_of(count: int = COUNT) -> list[Asset]:
    return [
        build_asset(
            f"GRS{index:09d}",
            *KINDS[index % 3],
            sector=f"S{index % 5}" if index % 4 else None,
            name="ABCDEFG"[index % 7],
        )
        for index in range(count)
    ]


def view_of(policy: Policy, count: int = COUNT) -> PolicyView:
    random = np.random.default_rng(1)
    days, values = random.integers(0, 300, (count, 4)), random.lognormal(0, 0.2, (count, 4))
    rows = [(asset, int(days[asset, one]), float(values[asset, one])) for asset in range(count) for one in range(4)]
    return view_with(policy, assets_of(count), market_with(rows, [(a, 3) for a in range(count) if a % 11]))


def model_under(policy: Policy, count: int = COUNT, **fields: object) -> Model:
    return replace(build_model(assets=count), policy=view_of(policy, count), **fields)  # type: ignore[arg-type]


def customers(model: Model, count: int = 200) -> list[CustomerHistory]:
    random = np.random.default_rng(2)
    return [
        replace(history, customer=replace(history.customer, is_predicted=bool(random.random() < 0.3)))
        for history in build_histories(model, count)
    ]


@pytest.mark.parametrize("tolerance", ["strict", "one_band", "revealed"])
def test_what_is_no_candidate_has_a_reason_and_what_is_one_has_none(tolerance: str) -> None:
    model = model_under(policy_with(EVERY_RULE, tolerance=f'"{tolerance}"', least_trades="1"))
    histories = customers(model, 170)  # 170 customers and 60 assets: 10,200 pairs
    mask = candidate_mask(model, histories)
    assert mask.any()
    for history, row in zip(histories, mask, strict=True):
        for isin, candidate in zip(model.id_map.isins, row.tolist(), strict=True):
            reasons = find_refusals(model, history, isin, catalogue=None)
            assert candidate == (not reasons)


def test_a_reason_names_rule_inputs_and_threshold() -> None:
    model = model_under(policy_with(EVERY_RULE))
    history = build_history(Customer("C", RiskLevel.CONSERVATIVE))
    risky = find_refusals(model, history, "GRS000000000", catalogue=None)[-1]
    assert risky.rule.startswith("risk_")
    assert risky.threshold == {"ceiling": 1}
    assert risky.inputs["stated_level"] == 1
    assert set(risky.inputs["class_by"]) <= {"category", "sub_category", "volatility", "drawdown", "missing_prices"}
    [excluded] = [one for one in find_refusals(model, history, "GRS000000003", catalogue=None) if "isin" in one.rule]
    assert (excluded.rule, excluded.inputs) == ("excluded_isin", {"isin": "GRS000000003"})
    [unknown] = find_refusals(model, history, "nothing", catalogue=None)
    assert unknown.rule == "unknown"


def test_held_dismissed_and_missing_assets_have_reasons_too() -> None:
    model = model_under(policy_with())
    isins = model.id_map.isins
    levels = dict.fromkeys(isins[1:], RiskLevel.BALANCED)
    view = build_catalogue_view(model.id_map, levels, policy=model.policy)
    history = replace(build_history("C", owned=isins[4:5]), dismissed=isins[7:8])
    rules = {isin: [one.rule for one in find_refusals(model, history, isin, catalogue=view)] for isin in isins[:10]}
    assert rules[isins[0]] == ["catalogue"]
    assert "held" in rules[isins[4]]
    assert "dismissed" in rules[isins[7]]


def test_a_suspended_asset_is_no_candidate_and_has_a_reason_of_its_own() -> None:
    model = model_under(policy_with(), tradable=np.ones(COUNT, dtype=np.bool_))
    isins = model.id_map.isins
    levels = dict.fromkeys(isins, RiskLevel.BALANCED)
    view = build_catalogue_view(model.id_map, levels, suspended=isins[2:4], policy=model.policy)
    history = build_history(Customer("C", RiskLevel.AGGRESSIVE))
    assert not candidate_mask(model, [history], catalogue=view)[0, 2:4].any()
    assert [one.rule for one in find_refusals(model, history, isins[2], catalogue=view)] == ["suspended"]
    assert find_refusals(model, history, isins[4], catalogue=view) == []


@pytest.mark.parametrize("same_scores", [False, True])
def test_the_default_policy_gives_the_lists_of_decision_4(same_scores: bool) -> None:
    kinds = [("MTF", "Money Market"), ("MTF", "Bond"), ("MTF", "Other"), ("MTF", None), ("Warrant", None), *KINDS]
    assets = [build_asset(f"GRS{index:09d}", *kinds[index % 8]) for index in range(COUNT)]
    levels = {one.isin: asset_risk_level(one.asset_category, one.asset_sub_category) for one in assets}
    policy = view_with(named_policy("default"), assets)
    assert policy.asset_class.tolist() == [int(level) for level in levels.values()]
    model = build_model(assets=COUNT)
    order = np.random.default_rng(5).permutation(COUNT).astype(np.int32)
    model = replace(silenced(model) if same_scores else model, tie_order=order)
    histories = customers(model)
    views = [build_catalogue_view(model.id_map, levels, policy=one) for one in (None, policy)]
    before, after = (recommend(model, histories, now=NOW, catalogue=view) for view in views)
    assert [one.assets for one in after] == [one.assets for one in before]
    assert not policy.policy.needs_market


def test_alternatives_obey_the_policy_of_the_model() -> None:
    policy = policy_with(EVERY_RULE + "[ties]\nleave_out = true\n", least_trades="0")
    model = silenced(model_under(policy, tradable=np.ones(COUNT, dtype=np.bool_)))
    histories = customers(model, 150)
    configurations = [model.configuration]
    [lists] = recommend_alternatives(model, histories, configurations=configurations, now=NOW)
    assert lists.tolist() == recommend_indices(model, histories, now=NOW).tolist()


def test_caps_hold_on_portfolio_and_list_together() -> None:
    policy = policy_with(BASE + "[caps]\nsector = 0.3\nissuer = 0.25\ncategory = 0.6\n")
    model = model_under(policy, tradable=np.ones(COUNT, dtype=np.bool_))
    histories = customers(model)
    view = model.policy
    assert view is not None
    rankings = recommend(model, histories, now=NOW)
    without = recommend(replace(model, policy=view_of(policy_with())), histories, now=NOW)
    assert rankings != without
    for history, ranking in zip(histories, rankings, strict=True):
        held = model.id_map.known_indices(history.owned)
        listed = [model.id_map.asset_index(asset.isin) for asset in ranking.assets]
        for name, share in policy.caps.given().items():
            numbers = view.groups[name].numbers
            both = Counter(numbers[[*held, *listed]].tolist())
            for label in {*numbers[listed].tolist()} - {-1}:
                assert both[label] <= most_names(share, len(held) + 10)


def test_a_cap_is_a_reason_beside_a_list() -> None:
    model = model_under(policy_with(BASE + "[caps]\nissuer = 0.2\n"), tradable=np.ones(COUNT, dtype=np.bool_))
    history = build_history("C", owned=model.id_map.isins[:1])
    listed = [model.id_map.isins[index] for index in (7, 1, 2, 3, 4, 5, 6, 8, 9, 10)]
    assert find_refusals(model, history, model.id_map.isins[14], catalogue=None) == []
    [reason] = find_refusals(model, history, model.id_map.isins[14], catalogue=None, listed=listed)
    assert (reason.rule, reason.inputs) == ("cap_issuer", {"issuer": "A", "held": 1, "listed": 1})
    assert reason.threshold["most"] == 2


def test_nothing_suitable_is_an_answer() -> None:
    model = model_under(policy_with(not_available='"nothing"'))
    unknown, stated = build_history(Customer("C", None)), build_history(Customer("D", RiskLevel.AGGRESSIVE))
    refused, served = recommend(model, [unknown, stated], now=NOW)
    assert (refused.basis, refused.assets) == (Basis.NOTHING_SUITABLE, ())
    assert served.basis is not Basis.NOTHING_SUITABLE
    everything = replace(unknown, owned=model.id_map.isins)
    assert recommend(model, [everything], now=NOW)[0].basis is not Basis.NOTHING_SUITABLE


def silenced(model: Model) -> Model:
    """Every candidate has the same score."""
    signals = {
        name: {key: np.zeros_like(array) for key, array in arrays.items()} for name, arrays in model.signals.items()
    }
    return replace(model, signals=signals)


def silent_model(policy: Policy, trades: list[tuple[int, int]]) -> Model:
    """Every candidate has the same score, and every asset is a share."""
    model = silenced(build_model(assets=30, tradable=np.ones(30, dtype=np.bool_)))
    view = view_with(policy, [build_asset(isin) for isin in model.id_map.isins], market_with((), trades))
    return replace(model, policy=view)


def test_no_list_is_filled_with_what_the_model_does_not_tell_apart() -> None:
    liquid = BASE + "[liquidity]\nwindow_days = 365\n"
    history = build_history(Customer("C", RiskLevel.AGGRESSIVE))
    traded = [(asset, 1) for asset in range(4) for _ in range(asset + 1)]
    [ranking] = recommend(silent_model(policy_with(liquid), traded), [history], now=NOW)
    assert [asset.isin for asset in ranking.assets] == [f"GRS{index:09d}" for index in (3, 2, 1, 0)]
    [ranking] = recommend(silent_model(policy_with(liquid), []), [history], now=NOW)
    assert (ranking.assets, ranking.basis) == ((), Basis.NOTHING_SUITABLE)
    kept = policy_with(liquid + "[ties]\nleave_out = false\n")
    assert len(recommend(silent_model(kept, []), [history], now=NOW)[0].assets) == 10


def test_a_list_that_holds_all_of_a_tie_keeps_it() -> None:
    history = build_history(Customer("C", RiskLevel.AGGRESSIVE))
    [ranking] = recommend(silent_model(policy_with(BASE), []), [history], k=30, now=NOW)
    assert len(ranking.assets) == 30


def test_a_customer_alone_has_the_list_of_a_batch() -> None:
    model = model_under(policy_with(EVERY_RULE), tradable=np.ones(COUNT, dtype=np.bool_))
    histories = customers(model, 40)
    together = recommend(model, histories, now=NOW)
    assert together == [recommend(model, [history], now=NOW)[0] for history in histories]


def test_refusals_are_counted_by_rule() -> None:
    model = model_under(policy_with(EVERY_RULE), tradable=np.ones(COUNT, dtype=np.bool_))
    histories = customers(model, 30)
    counted: Counter[str] = Counter()
    for history in histories:
        for isin in model.id_map.isins:
            counted.update(
                {one.rule for one in find_refusals(model, history, isin, catalogue=None)} - {"held", "dismissed"}
            )
    counts = count_refusals(model, histories, catalogue=None)
    for rule in ("liquidity", "price_freshness", "excluded_isin"):
        assert counts[rule] == counted[rule]
    above = sum(count for rule, count in counts.items() if rule.startswith("risk_"))
    assert above >= sum(count for rule, count in counted.items() if rule.startswith("risk_"))


def test_without_a_policy_there_are_no_reasons() -> None:
    with pytest.raises(ValueError, match="policy"):
        find_refusals(build_model(), build_history("C"), "GRS000000000", catalogue=None)
