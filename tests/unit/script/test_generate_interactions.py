"""Which assets the click generator chooses, and what it prints."""

from __future__ import annotations

from collections import Counter
from typing import cast
from uuid import UUID

import pytest
from rich.console import Console

from far_trans_client import Client, RecommendationItem, RecommendationList
from script.generate_interactions import Plan, click_and_compare, main, print_outcome, share_of, spread
from tests.client_answers import build_asset, build_list

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


def printed(before: RecommendationList, after: RecommendationList, sent: Counter[str]) -> str:
    screen = Console(width=120, no_color=True, record=True, quiet=False, highlight=False)
    with screen.capture() as capture:
        print_outcome(before, after, plan=Plan("CUSTOMER", "Technology", 3, sent=sent), screen=screen)
    return capture.get()


def test_the_outcome_shows_both_lists_with_the_share_and_how_often_each_asset_was_chosen() -> None:
    sent = Counter({"ISIN2": 2, "ISIN1": 1})
    text = printed(build_list("v1", "Energy", None), build_list("v1", "Technology", "Energy"), sent)

    assert "3 of 3 interactions (click)" in text
    assert "on 2 different assets" in text
    assert "2 x ISIN2" in text
    assert "Technology: 0% of the list before, 50% after (model v1, not retrained in between)" in text
    assert "* NAME 1 [AB] (ISIN1)" in text


def test_a_model_that_changed_in_between_is_named() -> None:
    text = printed(build_list("v1", "Energy"), build_list("v2", "Technology"), Counter({"ISIN1": 3}))

    assert "0% of the list before (model v1), 100% after (model v2)" in text


def test_a_click_on_an_asset_of_the_list_names_the_list_and_the_rank() -> None:
    before = build_list("v1", "Technology", None)
    sent: list[tuple[str, UUID | None, int | None]] = []

    class Api:
        def assets(self, *, sector: str) -> list[RecommendationItem]:
            return [*before.recommendations, build_asset(9, "Technology")]

        def request_recommendations(self, customer_id: str, action: str) -> UUID:
            return UUID(int=1)

        def wait_for_list(self, customer_id: str, request_id: UUID, *, timeout_seconds: float) -> RecommendationList:
            return before

        def record_interaction(
            self,
            customer_id: str,
            isin: str,
            type: str,  # noqa: A002  (the name that the client gives it)
            *,
            request_id: UUID | None,
            rank: int | None,
        ) -> None:
            sent.append((isin, request_id, rank))

    click_and_compare(cast(Client, Api()), plan(3), screen=Console(quiet=True))

    assert sorted(sent) == [("ISIN1", UUID(int=1), 1), ("ISIN2", UUID(int=1), 2), ("ISIN9", None, None)]


def test_the_share_of_a_sector_counts_assets() -> None:
    assert share_of("Technology", build_list("v1", "Technology", None, "Energy", "Technology")) == 0.5
    assert share_of("Technology", build_list("v1")) == 0.0
