"""Customers, assets and prices on the real broker, through a real worker: lists, dead letters, replays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from shared.events import (
    ASSET_TOPICS,
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    TRANSACTIONS_RECORDED,
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    RecommendationRequested,
    encode,
)
from tests.integration.test_dead_letters import command, letters, wait_for_letters
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TODAY = datetime.now(UTC).date()
LEVELS = ("Aggressive", "Conservative", "Balanced", "Conservative")


def profile(customer_id: str, level: str, **fields: object) -> CustomerChanged:
    return CustomerChanged.model_validate(
        {"customer_id": customer_id, "risk_level": level, "changed_on": TODAY, **fields}
    )


def price(isin: str, close_price: float, day: date = TODAY) -> ClosePriceRecorded:
    return ClosePriceRecorded(isin=isin, priced_on=day, close_price=close_price)


def test_a_list_knows_every_profile_that_was_acknowledged_before_it_was_asked_for(world: WorkerWorld) -> None:
    levels = dict(zip(world.model.id_map.isins, world.model.asset_risk_level.tolist(), strict=True))
    expected: dict[str, int] = {}
    requests: list[RecommendationRequested] = []
    ranks = {"Conservative": 1, "Income": 2, "Balanced": 3, "Aggressive": 4}

    def change(customer_id: str) -> None:
        for level in LEVELS:
            world.publish(CUSTOMERS_CHANGED, profile(customer_id, level))
            request = world.ask(customer_id)
            expected[str(request.event_id)] = ranks[level]
            world.answers([request])  # a later profile must not be in this list
            requests.append(request)

    world.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, [f"C{index}" for index in range(6)]))
    answers = world.answers(requests)
    assert len(answers) == 6 * len(LEVELS)
    for event_id, isins in answers.items():
        assert isins
        assert max(levels[isin] for isin in isins) <= expected[event_id]
    known = world.rows("SELECT request_id::text, risk_level FROM decisions")
    assert {event_id: level for event_id, level in known if event_id in expected} == expected
    assert world.count("dead_letters") == 0


def test_an_order_about_an_asset_that_arrives_later_is_replayed_and_is_in_the_next_list(world: WorkerWorld) -> None:
    world.start()
    listed = world.answers([world.ask("C1")]).popitem()[1]
    # An asset of the model that the catalogue does not have: as before its first load.
    wanted = listed[0]
    world.rows("DELETE FROM asset_information WHERE isin = %s", wanted)
    world.rows("INSERT INTO reference_snapshots VALUES ('asset_information', 1, 0, 'test', clock_timestamp())")
    world.wait(lambda: wanted not in world.answers([world.ask("C1")]).popitem()[1], "the asset left the lists")
    order = world.order("C1", wanted)
    [letter] = wait_for_letters(world, 1)
    code, _, said = command(world, "replay", letter)
    assert code == 1
    assert "UnknownAsset" in said

    stock = AssetChanged(isin=wanted, asset_category="MTF", asset_sub_category="Money Market", changed_on=TODAY)
    world.publish(ASSETS_CHANGED, stock)
    world.wait(lambda: world.count("recorded_assets") == 1, "the asset arrived")
    world.wait(lambda: wanted in world.answers([world.ask("C2")]).popitem()[1], "the asset is in lists")
    code, output, said = command(world, "replay", letter)
    assert (code, output.splitlines()[-1:], said) == (0, ["1 replayed, 0 refused"], "")
    # The replay is acknowledged, so it counts in the next list.
    assert wanted not in world.answers([world.ask("C1")]).popitem()[1]
    assert world.rows("SELECT event_id::text FROM recorded_transactions") == [(str(order.event_id),)]
    assert letters(world) == []


def test_letters_of_the_new_topics_are_repaired_and_replayed(world: WorkerWorld) -> None:
    world.start()
    isin = world.model.id_map.isins[0]
    ahead = TODAY + timedelta(days=9)
    early = encode(price(isin, 5.0)).replace(f'"priced_on":"{TODAY}"'.encode(), f'"priced_on":"{ahead}"'.encode())
    wrong_level = encode(profile("C1", "Income")).replace(b"Income", b"Reckless")
    world.send(CLOSE_PRICES_RECORDED, key=isin, value=early)
    world.send(CUSTOMERS_CHANGED, key="C1", value=wrong_level)
    world.send(ASSETS_CHANGED, key=isin, value=None)  # a tombstone
    world.send(CUSTOMERS_CHANGED, key="C2", value=encode(profile("C1", "Income")))
    wait_for_letters(world, 4)
    found = {(one["topic"], str(one["reason"]).partition(":")[0]) for one in letters(world)}
    assert found == {(topic, "ContractViolation") for topic in (*ASSET_TOPICS, CUSTOMERS_CHANGED)}
    reasons = {str(one["topic"]): (one["dead_letter_id"], str(one["reason"])) for one in letters(world)}
    number, reason = reasons[CLOSE_PRICES_RECORDED]
    assert "priced_on" in reason
    assert "not before" in command(world, "replay", number)[2]

    [wrong] = [one["dead_letter_id"] for one in letters(world) if "risk_level" in str(one["reason"])]
    mended = world.folder / "value"
    mended.write_bytes(encode(profile("C1", "Income")))
    assert command(world, "replay", wrong, "--value", mended)[0] == 0
    world.wait(lambda: world.count("recorded_customers") == 1, "the repaired profile is stored")
    assert world.rows("SELECT risk_level, origin FROM latest_customers WHERE customer_id = 'C1'") == [
        ("Income", "event")
    ]


def test_a_letter_that_a_later_message_has_replaced_is_refused(world: WorkerWorld) -> None:
    world.start()
    isin = world.model.id_map.isins[0]
    broken = encode(price(isin, 5.0)).replace(b'"close_price":5.0', b'"close_price":"5.0"')
    world.send(CLOSE_PRICES_RECORDED, key=isin, value=broken)
    [letter] = wait_for_letters(world, 1)
    world.publish(CLOSE_PRICES_RECORDED, price(isin, 7.0, TODAY - timedelta(days=1)))
    world.wait(lambda: world.count("recorded_close_prices") == 1, "the price of another day is stored")
    mended = world.folder / "value"
    mended.write_bytes(encode(price(isin, 5.0)))
    show = command(world, "show", letter)[1]
    assert "superseded" not in show
    world.publish(CLOSE_PRICES_RECORDED, price(isin, 6.0))
    world.wait(lambda: world.count("recorded_close_prices") == 2, "the later price is stored")
    code, _, said = command(world, "replay", letter, "--value", mended)
    assert code == 1
    assert "superseded" in said
    assert command(world, "replay", letter, "--value", mended, "--force")[0] == 0
    world.wait(lambda: world.count("recorded_close_prices") == 3, "the replayed price is stored")
    current = world.rows("SELECT close_price FROM latest_close_prices WHERE isin = %s", isin)
    assert current == [(5.0,)]


def test_offsets_lag_and_metrics_have_the_new_topics(world: WorkerWorld) -> None:
    worker = world.start()
    isin, repeated = world.model.id_map.isins[0], uuid4()
    for _ in range(2):
        world.publish(CLOSE_PRICES_RECORDED, price(isin, 5.0).model_copy(update={"event_id": repeated}))
    world.publish(ASSETS_CHANGED, AssetChanged(isin=isin, asset_category="Stock", changed_on=TODAY))
    world.publish(CUSTOMERS_CHANGED, profile("C1", "Income"))
    world.order("C1", isin)
    topics = (CLOSE_PRICES_RECORDED, ASSETS_CHANGED, CUSTOMERS_CHANGED, TRANSACTIONS_RECORDED)

    def stored() -> dict[str, int]:
        return dict(world.rows("SELECT topic, sum(next_offset)::int FROM consumer_offsets GROUP BY topic"))

    expected = {topic: 2 if topic == CLOSE_PRICES_RECORDED else 1 for topic in topics}
    world.wait(lambda: {topic: stored().get(topic) for topic in topics} == expected, "every offset is stored")
    for topic, count in expected.items():
        assert worker.metric("messages_total", topic=topic, outcome="stored") == count
    assert worker.metric("assigned_partitions") == world.all_partitions
    assert [world.count(f"recorded_{name}") for name in ("close_prices", "assets", "customers")] == [1, 1, 1]
