"""What each policy costs and refuses, by risk level: a section of the report, and a report of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from trainer.benchmark.tables import cells, figure

BANDS = ("conservative", "income", "balanced", "aggressive", "unknown")
_METRICS = ("ndcg_at_10", "roi_at_10", "roi_above_market", "profile_coherence", "unsuitable_place_share")
_OF_BAND = ("ndcg_at_10", "roi_at_10", "profile_coherence", "unsuitable_places")


def summarise_policy(report: Mapping[str, Any], points: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the figures of one policy: of all customers, and of each risk level.

    report: of `evaluate_lists`. points: what `PolicyHybrid.figures` returned at each time point, none without a policy.
    """
    sums: dict[str, Counter[str]] = {band: Counter() for band in BANDS}
    rules: dict[str, Counter[str]] = {band: Counter() for band in BANDS}
    for point in points:
        for band, values in point.items():
            sums[band].update({name: value for name, value in values.items() if name != "refusals"})
            rules[band].update(values["refusals"])
    bands = {
        band: {**_mean(report["by_risk_level"][band]["mean"], _OF_BAND), **_shares(sums[band], rules[band])}
        for band in BANDS
        if band in report["by_risk_level"]
    }
    total, of_all = sum(sums.values(), Counter()), sum(rules.values(), Counter())
    interval = report["interval_95"]["ndcg_at_10"]
    return {
        **_mean(report["mean"], _METRICS),
        "interval_95": interval["blocks"] or interval["independent"],
        **_shares(total, of_all),
        "by_risk_level": bands,
    }


def policy_sections(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the sections of the report."""
    heads = [
        *("policy", "nDCG@10", "95 %", "ROI@10", "above market", "coherence@10"),
        *("above level (table)", "above level (own)", "refused", "empty lists", "places"),
    ]
    rows = [cells(heads), "|---" * len(heads) + "|", *(_row(name, entry) for name, entry in policies.items())]
    return [
        "## Policies",
        "`hybrid` has no policy. Above level: share of places above the stated level, by the table of decision 4 and by"
        " the policy's own classes. Refused: share of available assets. Places: of a list, on average. A policy"
        " without a row refuses everything.",
        "\n".join(rows),
        *_band_tables(policies),
        "\n".join(
            ["Refusals by rule, share of available assets; an asset may be refused by several:", *_rules(policies)]
        ),
    ]


def _row(name: str, entry: Mapping[str, Any]) -> str:
    ends = entry["interval_95"]
    values = [
        name,
        figure(entry["ndcg_at_10"]),
        f"{figure(ends[0], 3)}-{figure(ends[1], 3)}" if ends else "-",
        figure(entry["roi_at_10"]),
        figure(entry["roi_above_market"]),
        figure(entry["profile_coherence"], 3),
        figure(entry["unsuitable_place_share"], 3),
        *(figure(entry[key], 3) for key in ("above_stated_share", "refused_share", "empty_share")),
        figure(entry["places"], 2),
    ]
    return cells(values)


def _band_tables(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    titles = {
        "ndcg_at_10": ("nDCG@10", 4),
        "roi_at_10": ("ROI@10", 4),
        "profile_coherence": ("Profile coherence@10", 3),
        "unsuitable_places": ("Share above the stated level (table)", 3),
        "refused_share": ("Refused share of available assets", 3),
        "empty_share": ("Empty lists", 3),
    }
    sections = []
    for key, (title, places) in titles.items():
        rows = [cells([title, *BANDS]), "|---" * (len(BANDS) + 1) + "|"]
        for name, entry in policies.items():
            values = [entry["by_risk_level"].get(band, {}).get(key) for band in BANDS]
            rows.append(cells([name, *(figure(value, places) for value in values)]))
        sections.append("\n".join(rows))
    return sections


def _rules(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = {name: entry["refusals"] for name, entry in policies.items() if entry["refusals"]}
    return [
        f"- {name}: {', '.join(f'{rule} {share:.3f}' for rule, share in sorted(rules.items()))}"
        for name, rules in found.items()
    ]


def _mean(mean: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: mean.get(name) for name in names}


def _shares(sums: Mapping[str, int], rules: Mapping[str, int]) -> dict[str, Any]:
    customers, available, places = (sums.get(name, 0) for name in ("customers", "available", "places"))
    return {
        "above_stated_share": sums["above_stated"] / places if places else None,
        "refused_share": 1.0 - sums["allowed"] / available if available else None,
        "empty_share": sums["empty"] / customers if customers else None,
        "places": places / customers if customers else None,
        "refusals": {rule: count / available for rule, count in sorted(rules.items())} if available else {},
    }
