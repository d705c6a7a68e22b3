"""The front of all points together, and what is said of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.benchmark.pareto import pareto

POINTS = 18


def report(ndcg: float, roi: float | None, *, noise: float = 0.0) -> dict[str, Any]:
    """Build what `pareto` reads: the same figures at every time point, but for noise of its own."""
    random = np.random.default_rng(round(1000 * ndcg))
    draws = random.normal(0.0, noise, (POINTS, 2)) if noise else np.zeros((POINTS, 2))
    draws -= draws.mean(axis=0)
    return {
        "by_time_point": [
            {"ndcg_at_10": ndcg + first, "roi_above_market": None if roi is None else roi + second}
            for first, second in draws
        ]
    }


def by_name(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {point["name"]: point for point in pareto(reports)["points"]}


def test_the_front_is_what_nothing_dominates_in_order_of_ndcg() -> None:
    reports = {
        "ease": report(0.40, -0.02),
        "hybrid": report(0.42, -0.03),
        "price-linear": report(0.05, 0.01),
        "popularity": report(0.32, -0.02),  # ease has the same return and a higher nDCG
        "random": report(0.01, 0.00),
    }

    assert pareto(reports)["front"] == ["price-linear", "ease", "hybrid"]
    points = by_name(reports)
    assert points["popularity"]["dominated_by"] == ["ease"]
    assert points["random"]["dominated_by"] == ["price-linear"]
    assert [name for name, point in points.items() if point["ours"]] == ["hybrid"]


def test_equal_points_do_not_dominate_each_other() -> None:
    assert pareto({"hybrid": report(0.4, 0.0), "hybrid@0.3": report(0.4, 0.0)})["front"] == ["hybrid", "hybrid@0.3"]


def test_ours_is_dominated_beyond_noise_only_when_both_differences_are() -> None:
    sure = by_name({"hybrid@0.7": report(0.40, -0.03), "blend-both@1": report(0.41, -0.02)})["hybrid@0.7"]
    assert sure["dominated_beyond_noise_by"] == ["blend-both@1"]
    assert sure["differences"]["blend-both@1"] == {"ndcg_at_10": [0.01, 0.01], "roi_above_market": [0.01, 0.01]}

    noisy = by_name({"hybrid@0.7": report(0.40, -0.03), "blend-both@1": report(0.41, -0.02, noise=0.2)})["hybrid@0.7"]
    assert noisy["dominated_by"] == ["blend-both@1"]
    assert noisy["dominated_beyond_noise_by"] == []

    one_axis = by_name({"hybrid@0.7": report(0.40, -0.02), "blend-both@1": report(0.41, -0.02)})["hybrid@0.7"]
    assert one_axis["dominated_by"] == ["blend-both@1"]
    assert one_axis["dominated_beyond_noise_by"] == []


def test_a_point_without_any_known_return_is_no_point() -> None:
    assert list(by_name({"hybrid": report(0.4, 0.0), "random": report(0.01, None)})) == ["hybrid"]
