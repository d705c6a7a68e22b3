"""Explanations against three real processes: sentences, the effect on a portfolio, why an asset is listed or not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from far_trans_client import Client, ListedItem, NotFound
from tests.e2e.system import System

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def client(system: System) -> Iterator[Client]:
    with Client(system.url) as connected:
        yield connected


@pytest.fixture(scope="module")
def customer(system: System) -> str:
    [customer] = system.customers(1)
    return customer


@pytest.fixture(scope="module")
def listed(client: Client, customer: str) -> tuple[ListedItem, ...]:
    """The first places of a list, which is the customer's newest one."""
    request_id = client.request_recommendations(customer, "refresh_recs", k=5)
    return client.wait_for_list(customer, request_id).recommendations


def test_each_item_of_a_list_has_a_sentence_where_it_is_asked_for(
    client: Client, customer: str, listed: tuple[ListedItem, ...]
) -> None:
    assert [one.sentence for one in client.recommendations(customer).recommendations] == [None] * len(listed)
    for language, of_score in (("en", "of its score"), ("de", "der Bewertung")):
        items = client.recommendations(customer, explain=True, lang=language).recommendations
        assert [one.isin for one in items] == [one.isin for one in listed]
        assert all(of_score in (one.sentence or "") for one in items)


def test_a_list_has_an_effect_on_the_portfolio(client: Client, customer: str, listed: tuple[ListedItem, ...]) -> None:
    effect = client.portfolio(customer)
    assert effect.before is not None
    assert effect.after is not None
    assert effect.after.assets == effect.before.assets + len(listed)
    assert effect.after.volatility is not None
    assert effect.after.volatility > 0
    assert 0 < (effect.after.sector_hhi or 0.0) <= 1


def test_every_asset_of_the_list_is_explained_as_the_list_has_it(
    client: Client, customer: str, listed: tuple[ListedItem, ...]
) -> None:
    for item in listed[:2]:
        why = client.why(customer, item.isin, wait=WAIT_SECONDS)
        assert (why.state, why.current_rank) == ("listed", item.rank)
        assert why.candidate is not None
        assert why.candidate.place == item.rank
        assert 1 <= len(why.facts) <= 3
        assert why.sentence.startswith(f"It has place {item.rank} of the list.")
    newest = client.recommendations(customer)
    assert newest.recommendations == listed  # to ask changes no list


def test_an_asset_below_the_list_or_refused_says_so(
    client: Client, customer: str, listed: tuple[ListedItem, ...]
) -> None:
    others = [one.isin for one in client.assets() if one.isin not in {item.isin for item in listed}]
    states = {isin: client.why(customer, isin, wait=WAIT_SECONDS) for isin in others[:12]}
    for isin, why in states.items():
        assert why.state in ("below", "refused"), isin
        assert bool(why.refusals) == (why.state == "refused")
        assert (why.state == "below") == (why.ahead is not None)

    client.record_transaction(
        customer,
        others[0],
        type="Buy",
        units=1.0,
        total_value=10.0,
        executed_at=datetime.now(UTC),
        transaction_id=f"why-{uuid4()}",
    )
    held = client.why(customer, others[0], wait=WAIT_SECONDS)
    assert held.state == "refused"
    assert "held" in [one.rule for one in held.refusals]


def test_nothing_is_told_of_what_does_not_exist(client: Client, customer: str) -> None:
    for asked in ((customer, "XS0000000001"), ("nobody-at-all", "GRS434003000")):
        with pytest.raises(NotFound):
            client.why(*asked)
