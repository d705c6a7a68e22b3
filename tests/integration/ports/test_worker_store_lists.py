"""The WorkerStore: interactions, histories, decisions and lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.ports import (
    KeptEvent,
)
from shared.recommender.history import dismissed_isins
from shared.recommender.types import (
    INTERACTION_WINDOW,
    Customer,
    InvestmentCapacity,
    ListOptions,
    RiskLevel,
    Weights,
)
from tests.integration.ports.store_world import (
    NOW,
    StoreWorld,
    click,
    decide,
    decision,
    keep,
    message,
    served_list,
)


def test_an_interaction_is_kept_once(database: StoreWorld) -> None:
    first, same = click(fingerprint="a"), click("GR2", offset=1)
    again = (message(offset=2), first[1])
    assert keep(database.store, first, again, same) == {first[1].event_id, same[1].event_id}
    assert keep(database.store, again) == frozenset()
    assert keep(database.store) == frozenset()
    with database.store.begin() as transaction:
        fields = {"customer_id": "C1", "isin": "GR1", "type": "click", "request_id": None, "rank": None}
        kept = KeptEvent(fields, "a")
        assert transaction.fetch_kept([first[1].event_id, uuid4()]) == {first[1].event_id: kept}
        assert [kept.isin for kept in transaction.fetch_histories(["C1"])["C1"].interactions] == ["GR1", "GR2"]


def test_a_history_is_what_was_bought_and_done_in_the_order_of_the_log(database: StoreWorld) -> None:
    database.add_customer("C1", "Income", "CAP_LT30K", "2020-01-01")
    database.add_customer("C1", "Aggressive", "CAP_30K_80K", "2022-01-01")
    for isin, kind in (("GR2", "Buy"), ("GR1", "Buy"), ("GR2", "Buy"), ("GR3", "Sell")):
        database.add_buy("C1", isin, kind)
    hours = [timedelta(hours=hour) for hour in (3, 1, 2)]
    keep(database.store, *(click(f"GR{n}", offset=n, occurred_at=NOW - ago) for n, ago in enumerate(hours)))
    keep(database.store, click("GR9", customer_id="C2"))
    with database.store.begin() as transaction:
        histories = transaction.fetch_histories(["C1", "stranger", "C1"])
    assert set(histories) == {"C1", "stranger"}
    assert histories["C1"].customer == Customer("C1", RiskLevel.AGGRESSIVE, InvestmentCapacity.FROM_30K_TO_80K)
    assert histories["C1"].owned == ("GR1", "GR2")
    assert [interaction.isin for interaction in histories["C1"].interactions] == ["GR0", "GR1", "GR2"]
    assert histories["C1"].interactions[0].occurred_at == NOW - hours[0]
    assert histories["stranger"].customer == Customer("stranger")


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=-400)])
def test_the_last_interaction_of_the_log_counts_whatever_the_senders_clock_says(
    database: StoreWorld, ahead: timedelta
) -> None:
    keep(database.store, click("GR1", offset=0, occurred_at=NOW + ahead), click("GR2", offset=1, type="dismiss"))
    keep(database.store, click("GR1", offset=2, type="dismiss", occurred_at=NOW - ahead))
    keep(database.store, click("GR2", offset=3, occurred_at=NOW - abs(ahead)))
    with database.store.begin() as transaction:
        history = transaction.fetch_histories(["C1", "C2"])["C1"]
        assert transaction.fetch_histories(["C2"])["C2"].dismissed == ()
    assert [interaction.isin for interaction in history.interactions] == ["GR1", "GR2", "GR1", "GR2"]
    assert history.dismissed == ("GR1",)
    assert dismissed_isins(history) == {"GR1"}


def test_a_dismissal_stays_however_much_follows_and_however_old_it_is(database: StoreWorld) -> None:
    keep(database.store, click("GR1", type="dismiss", occurred_at=NOW - timedelta(days=3650)))
    keep(database.store, click("GR2", type="dismiss", offset=1), click("GR0", type="dismiss", offset=2))
    keep(database.store, *(click("GR2", type="view", offset=3 + number) for number in range(INTERACTION_WINDOW + 1)))
    keep(database.store, click("GR3", type="dismiss", customer_id="C2"))
    with database.store.begin() as transaction:
        histories = transaction.fetch_histories(["C1", "C2"])
    assert {interaction.isin for interaction in histories["C1"].interactions} == {"GR2"}
    assert len(histories["C1"].interactions) == INTERACTION_WINDOW
    assert (histories["C1"].dismissed, histories["C2"].dismissed) == (("GR0", "GR1"), ("GR3",))


def test_the_window_holds_the_newest_of_the_log(database: StoreWorld) -> None:
    many = [click(f"GR{number:04}", offset=number, occurred_at=NOW - timedelta(hours=number)) for number in range(1005)]
    keep(database.store, *many)
    with database.store.begin() as transaction:
        history = transaction.fetch_histories(["C1"])["C1"]
    assert [interaction.isin for interaction in history.interactions] == [event.isin for _, event in many[5:]]


def test_interactions_of_the_same_transaction_are_in_the_history(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.insert_interactions([click()])
        assert len(transaction.fetch_histories(["C1"])["C1"].interactions) == 1


def test_a_decision_is_kept_once_and_becomes_the_list(database: StoreWorld) -> None:
    first = decision(fingerprint="a", content_digest="d" * 64)
    changed = replace(first, answer=served_list(items=(), model_version="v2"), content_digest="e" * 64)
    assert decide(database.store, first) == {first.request_id}
    assert decide(database.store, changed) == frozenset()
    with database.store.begin() as transaction:
        kept = KeptEvent({"customer_id": "C1", "action": "refresh_recs"}, "a", "d" * 32)
        assert transaction.fetch_decided([first.request_id, uuid4()]) == {first.request_id: kept}
        stored = transaction.fetch_fresh_lists(["C1", "C2"])["C1"]
    assert database.list_request("C1") == first.request_id
    assert (stored.model_version, stored.basis) == ("v1", "history")
    assert (stored.items, stored.weights) == (first.answer.items, first.answer.weights)


def test_the_last_scored_decision_of_a_customer_is_their_list(database: StoreWorld) -> None:
    rows = [decision(), decision("C2"), decision(answer=served_list(model_version="v2"))]
    decide(database.store, *rows)
    with database.store.begin() as transaction:
        lists = transaction.fetch_fresh_lists(["C1", "C2"])
    assert {name: stored.model_version for name, stored in lists.items()} == {"C1": "v2", "C2": "v1"}
    assert {name: database.list_request(name) for name in lists} == {
        "C1": rows[2].request_id,
        "C2": rows[1].request_id,
    }


def test_a_list_that_is_made_again_has_everything_of_the_new_decision(database: StoreWorld) -> None:
    decide(database.store, decision())
    keep(database.store, click())
    database.load_transactions()
    weights = Weights(0.0, 0.25, 0.75)
    again = decision(answer=served_list(items=(), model_version="v2", basis="segment_prior", weights=weights))
    decide(database.store, again)
    with database.store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {"C1": again.answer}
    assert database.list_request("C1") == again.request_id


@pytest.mark.parametrize("same_transaction", [False, True])
def test_a_list_that_answers_once_more_names_that_request(database: StoreWorld, same_transaction: bool) -> None:
    scored, answered = decision(), decision(answered_from="stored")  # with the same list
    if same_transaction:
        decide(database.store, scored, answered)
    else:
        decide(database.store, scored)
        decide(database.store, answered)
    with database.store.begin() as transaction:
        stored = transaction.fetch_fresh_lists(["C1"])["C1"]
    assert database.list_request("C1") == answered.request_id
    assert (stored.items, stored.model_version) == (scored.answer.items, "v1")


def test_a_list_is_fresh_until_a_later_interaction(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.insert_interactions([click(occurred_at=NOW + timedelta(hours=5))])  # a clock that is wrong
        transaction.insert_decisions([decision()], reference_snapshot=database.store.fetch_snapshots())
    with database.store.begin() as transaction:
        assert set(transaction.fetch_fresh_lists(["C1"])) == {"C1"}
    with database.store.begin() as transaction:
        transaction.insert_interactions([click(customer_id="C2")])
        assert set(transaction.fetch_fresh_lists(["C1"])) == {"C1"}
        transaction.insert_interactions([click(occurred_at=NOW - timedelta(hours=5))])
        assert transaction.fetch_fresh_lists(["C1"]) == {}


def test_a_list_is_fresh_until_transactions_are_loaded(database: StoreWorld) -> None:
    database.load_transactions()
    decide(database.store, decision())
    with database.store.begin() as transaction:
        assert set(transaction.fetch_fresh_lists(["C1"])) == {"C1"}
    database.load_transactions()
    with database.store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {}


@pytest.mark.parametrize(
    "options",
    [
        ListOptions(),
        ListOptions(("Bond", "Stock"), ("Technology",), ("GR1", "GR2"), 3, 5),
        ListOptions(per_category=1),
    ],
)
def test_a_list_keeps_what_its_request_asked(database: StoreWorld, options: ListOptions) -> None:
    made = decision(answer=served_list(k=20, options=options))
    decide(database.store, made)
    with database.store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {"C1": made.answer}
    again = decision(answered_from="stored", answer=made.answer)
    decide(database.store, again)
    with database.store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {"C1": made.answer}
    assert database.list_request("C1") == again.request_id


@pytest.mark.parametrize("same_transaction", [False, True])
def test_a_preview_changes_no_list(database: StoreWorld, same_transaction: bool) -> None:
    made = decision()
    preview = decision(answer=served_list(items=(), model_version="v2"), is_preview=True)
    if same_transaction:
        stored = decide(database.store, made, preview)
    else:
        stored = decide(database.store, made) | decide(database.store, preview)
    assert stored == {made.request_id, preview.request_id}
    with database.store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {"C1": made.answer}
        assert set(transaction.fetch_decided([preview.request_id])) == {preview.request_id}
    assert database.list_request("C1") == made.request_id


def test_a_preview_alone_is_no_list(database: StoreWorld) -> None:
    preview = decision(is_preview=True)
    assert decide(database.store, preview) == {preview.request_id}
    with database.store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1"]) == {}
