"""Who clicks in the demo: somebody whose list the clicks change, also the second time."""

from __future__ import annotations

from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import pytest

from far_trans_client import Client, RecommendationList
from script.demo_answers import CLICKS, choose_clicks, find_clickers
from tests.client_answers import build_list


class Lists:
    """The lists of customers, by the sector of their assets."""

    def __init__(self, **sectors: str | None) -> None:
        self.sectors = sectors
        self.asked: list[str] = []

    def request_recommendations(self, customer_id: str, action: str) -> UUID:
        return uuid4()

    def wait_for_list(self, customer_id: str, request_id: UUID, *, timeout_seconds: float) -> RecommendationList:
        self.asked.append(customer_id)
        return build_list("v1", self.sectors[customer_id])


@pytest.mark.parametrize(
    ("sectors", "chosen"),
    [
        ({"A": None, "B": None}, "A"),
        ({"A": "Technology", "B": None}, "B"),
        ({"A": "Technology", "B": "Energy"}, "B"),
        ({"A": "Technology", "B": "Technology"}, "A"),
    ],
)
def test_the_first_customer_without_the_sector_clicks(sectors: dict[str, str | None], chosen: str) -> None:
    lists = Lists(**sectors)

    plan = choose_clicks(cast(Client, lists), ["A", "B"])

    assert (plan.customer_id, plan.sector, plan.count) == (chosen, CLICKS.sector, CLICKS.count)
    assert plan.sent is not CLICKS.sent


def test_customers_of_the_same_risk_level_follow_the_example_customer(tmp_path: Path) -> None:
    rows = ["customerID,riskLevel", "A,Income", f"{CLICKS.customer_id},Balanced", "B,Balanced", "C,", "D,Balanced"]
    (tmp_path / "customer_information.csv").write_text("\n".join(rows) + "\n")

    assert find_clickers(tmp_path) == [CLICKS.customer_id, "B", "D"]


def test_data_without_the_example_customer_or_risk_levels_have_a_clicker_too(tmp_path: Path) -> None:
    (tmp_path / "customer_information.csv").write_text("customerID\nA\nB\n")

    assert find_clickers(tmp_path) == [CLICKS.customer_id, "A", "B"]


def test_no_more_customers_are_asked_than_a_demo_has_time_for(tmp_path: Path) -> None:
    rows = "".join(f"C{number},Income\n" for number in range(5_000))
    (tmp_path / "customer_information.csv").write_text(f"customerID,riskLevel\n{CLICKS.customer_id},Income\n{rows}")

    assert len(find_clickers(tmp_path)) == 25
