"""Which assets the click generator chooses, and what it prints."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from script.api_client import ServedList
from script.generate_interactions import Plan, main, print_outcome, spread

ISINS = ["A", "B", "C", "D"]


def plan(count: int, *, seed: int = 7) -> Plan:
    return Plan("CUSTOMER", "Technology", count, seed=seed)


def test_clicks_are_spread_over_different_assets_and_then_go_round_again() -> None:
    chosen = spread(ISINS, plan(10))

    assert sorted(chosen[:4]) == ISINS
    assert sorted(Counter(chosen).values()) == [2, 2, 3, 3]


def test_fewer_clicks_than_assets_are_all_on_different_ones() -> None:
    assert len(set(spread(ISINS, plan(3)))) == 3


def test_the_choice_depends_on_the_seed_alone() -> None:
    assert spread(ISINS, plan(10)) == spread(ISINS[::-1], plan(10))
    assert len({tuple(spread(ISINS, plan(4, seed=seed))) for seed in range(20)}) > 1


@pytest.mark.parametrize("count", ["0", "-1", "100001", "ten", ""])
def test_a_count_that_makes_no_sense_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["CUSTOMER", "Technology", "--", count]) == 2
    assert "count" in capsys.readouterr().err.lower()


@pytest.mark.parametrize("customer_id", ["E1/C4", " C1", "C1 ", "", "..", "C" * 65])
def test_a_customer_that_no_request_can_name_is_refused(customer_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([customer_id, "Technology", "3"]) == 2
    assert "cannot name a customer" in capsys.readouterr().err


def served(version: str, *sectors: str | None) -> ServedList:
    items: list[dict[str, Any]] = [
        {"isin": f"ISIN{position}", "assetname": f"NAME {position} [AB]", "sector": sector}
        for position, sector in enumerate(sectors)
    ]
    return ServedList("request", version, "history", tuple(items))


def printed(before: ServedList, after: ServedList, sent: Counter[str]) -> str:
    screen = Console(width=120, no_color=True, record=True, quiet=False, highlight=False)
    with screen.capture() as capture:
        print_outcome(before, after, plan=Plan("CUSTOMER", "Technology", 3, sent=sent), screen=screen)
    return capture.get()


def test_the_outcome_shows_both_lists_with_the_share_and_how_often_each_asset_was_chosen() -> None:
    sent = Counter({"ISIN2": 2, "ISIN1": 1})
    text = printed(served("v1", "Energy", None), served("v1", "Technology", "Energy"), sent)

    assert "3 of 3 interactions (click)" in text
    assert "on 2 different assets" in text
    assert "2 x ISIN2" in text
    assert "Technology: 0% of the list before, 50% after (model v1, not retrained in between)" in text
    assert "* NAME 0 [AB] (ISIN0)" in text


def test_a_model_that_changed_in_between_is_named() -> None:
    text = printed(served("v1", "Energy"), served("v2", "Technology"), Counter({"ISIN1": 3}))

    assert "0% of the list before (model v1), 100% after (model v2)" in text
