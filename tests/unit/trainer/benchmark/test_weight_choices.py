"""How often and how far the choice moved, by hand-made choices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shared.recommender.configuration import ALGORITHMS, build_configuration
from trainer.benchmark.weight_choices import choice_sections, summarise_choices
from trainer.evaluation.weights import WeightChoice, weight_alternatives, with_profitability_share

DEFAULT = build_configuration(next(iter(ALGORITHMS)))
OTHER = next(one for one in weight_alternatives(DEFAULT) if one.collaborative != DEFAULT.collaborative)
MORE_CONTENT = next(one for one in weight_alternatives(DEFAULT) if one.weights.content > DEFAULT.weights.content)


def choice(chosen: Any, *, share: float = 0.0) -> dict[str, Any]:
    """Build what the manifest has of a choice."""
    costs = {0.0: 0.0, 0.05: 0.0012, 0.1: 0.0044}
    weights = with_profitability_share(chosen, share)
    made = WeightChoice(weights, DEFAULT, chosen, 0.0005, 0.0007, profitability_cost=costs, cutoffs=("2019-05-01",))
    return made.to_json()


def test_a_choice_that_stays_has_not_moved() -> None:
    summary = summarise_choices({"2020-01-01": choice(DEFAULT), "2019-12-01": choice(DEFAULT)})

    assert list(summary["by_time_point"]) == ["2019-12-01", "2020-01-01"]
    assert summary["other_than_default"] == summary["changes"] == 0
    assert set(summary["largest_change"].values()) == {0.0}


def test_another_share_of_profitability_is_a_change_and_no_other_alternative() -> None:
    summary = summarise_choices({"2019-12-01": choice(DEFAULT), "2020-01-01": choice(DEFAULT, share=0.1)})

    assert summary["other_than_default"] == 0
    assert summary["changes"] == 1
    assert summary["range"]["profitability"] == [0.0, 0.1]
    assert summary["largest_change"]["profitability"] == 0.1
    assert summary["largest_change"]["trend (signal)"] == 0.0


def test_another_signal_or_more_content_is_another_alternative() -> None:
    choices = {"2019-11-01": choice(DEFAULT), "2019-12-01": choice(OTHER), "2020-01-01": choice(MORE_CONTENT)}
    summary = summarise_choices(choices)

    assert summary["other_than_default"] == 2
    assert summary["changes"] == 2


def test_the_table_has_a_row_for_each_time_point_with_what_moves_and_what_it_costs() -> None:
    choices = {"2019-12-01": choice(DEFAULT), "2020-01-01": choice(OTHER, share=0.1)}
    table = choice_sections(summarise_choices(choices))[2].splitlines()

    assert len(table) == 4
    assert "cost of 0.05 | cost of 0.1" in table[0]
    assert table[2].endswith("| 0.0005 | 0.0007 | yes | 0.0012 | 0.0044 |")
    assert table[3].endswith("| no | 0.0012 | 0.0044 |")


def test_without_a_choice_there_is_no_table() -> None:
    assert choice_sections(summarise_choices({})) == []


def test_weights_that_were_not_compared_are_the_default() -> None:
    unchosen = replace(WeightChoice(DEFAULT, DEFAULT, DEFAULT), cutoffs=()).to_json()

    assert summarise_choices({"2019-08-01": unchosen})["other_than_default"] == 0
