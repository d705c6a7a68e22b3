"""Clicks change the next list, at once: the click generator, and reading one's own clicks under interleaved load."""

from __future__ import annotations

import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from script.local.owned_process import free_port
from tests.e2e.system import CUSTOMER_ID, System, start_python

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    # Small batches: interactions queue up, and a request would overtake them if nothing held it back.
    return {"WORKER_BATCH_SIZE": "5"}


GENERATOR = "script/generate_interactions.py"


def run_generator(*arguments: str, api: str) -> tuple[int, str]:
    process = start_python(GENERATOR, *arguments, environment={**os.environ, "API_URL": api})
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def test_ten_clicks_on_a_sector_bring_visibly_more_of_it_without_a_retraining(system: System) -> None:
    code, output = run_generator(CUSTOMER_ID, "Technology", "10", api=system.url)

    assert code == 0, output
    assert "10 of 10 interactions (click)" in output
    shares = re.search(r"Technology: (\d+)% of the list before, (\d+)% after \(model \S+, not retrained", output)
    assert shares is not None, output
    before, after = map(int, shares.groups())
    assert after >= before + 20, output
    assert "\x1b" not in output
    clicks = system.query(
        "SELECT count(*), count(DISTINCT isin) FROM user_interactions WHERE customer_id = %s", CUSTOMER_ID
    )
    assert clicks[0][0] == 10
    assert f"on {clicks[0][1]} different assets" in output
    with system.client() as api:
        sectors = [item["sector"] for item in api.fetch_list(CUSTOMER_ID).items]
    assert round(100 * sectors.count("Technology") / len(sectors)) == after


def test_the_generator_lists_the_sectors_when_it_does_not_know_one(system: System) -> None:
    code, output = run_generator(CUSTOMER_ID, "Alchemy", "10", api=system.url)

    assert code == 2
    assert "'Alchemy'" in output
    assert "Technology" in output


def test_the_generator_says_that_nobody_answers() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    code, output = run_generator(CUSTOMER_ID, "Technology", "10", api=url)

    assert code == 2
    assert url in output
    assert "Traceback" not in output


def test_an_acknowledged_click_is_in_the_next_list_under_interleaved_load(system: System) -> None:
    """A dismissal is exact and visible: what was dismissed before a request was sent is not in its list."""
    customers = system.customers(24)

    with ThreadPoolExecutor(max_workers=12) as pool:
        lists = dict(
            zip(customers, pool.map(lambda name: dismiss_in_turn(system, name, rounds=6), customers), strict=True)
        )

    for customer, rounds in lists.items():
        for (_, dismissed_then), (served, _) in pairwise(rounds):
            assert not set(served) & dismissed_then, customer
    assert sum(len(rounds) for rounds in lists.values()) == 24 * 7


def dismiss_in_turn(system: System, customer: str, *, rounds: int) -> list[tuple[list[str], set[str]]]:
    """Each round: view some names of the list, dismiss one, wait for no more than the answers, ask again.

    Returns each list, with all that was dismissed when the next one was asked for.
    """
    choice, dismissed = random.Random(customer), set[str]()
    seen: list[tuple[list[str], set[str]]] = []
    with system.client() as api:
        for _ in range(rounds):
            isins = [item["isin"] for item in api.ask(customer, "request_recs").items]
            dismissed.add(isin := choice.choice(isins[:3]))
            for other in isins[3:]:
                api.record_interaction(customer, other, "view")
            api.record_interaction(customer, isin, "dismiss")
            seen.append((isins, set(dismissed)))
        seen.append(([item["isin"] for item in api.ask(customer, "refresh_recs").items], set(dismissed)))
    return seen
