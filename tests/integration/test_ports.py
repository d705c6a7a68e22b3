"""One suite for the ports: fakes and real adapters keep the same promises."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg2
import pytest
from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy.exc import DataError

from shared.artifacts.publication import FileArtifacts
from shared.errors import (
    ArtifactInvalid,
    ArtifactMissing,
    BrokerUnavailable,
    DatabaseUnavailable,
    OffsetOutOfRange,
    StaleOffsets,
    TopicReplaced,
)
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED, InteractionRecorded
from shared.kafka.client_settings import ConsumerSettings, producer_settings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import fetch_cluster_id
from shared.kafka.topics import TopicDurability, create_topics
from shared.ports import (
    ArtifactStore,
    Decision,
    EventConsumer,
    KeptEvent,
    Message,
    Partition,
    Pointer,
    StoredOffset,
    WorkerStore,
)
from shared.postgres.dead_letter_store import DeadLetterBox, LetterFilter
from shared.recommender.history import INTERACTION_WINDOW, dismissed_isins
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel, Weights
from tests.builders import build_model
from tests.fakes import FakeArtifacts, FakeBroker, FakeConsumer
from tests.fakes_store import FakeStore, display_of
from worker.store import PostgresWorkerStore

REAL_DATABASE = pytest.param("real", marks=pytest.mark.postgres)
REAL_BROKER = pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.postgres])
REQUESTS: Partition = (RECOMMENDATIONS_REQUESTED, 0)
CLICKS: Partition = (INTERACTIONS_RECORDED, 0)
NOW = datetime.now(UTC)


# --- WorkerStore ---


@dataclass
class StoreWorld:
    """A store, a second one on the same database, and a way to put reference data there."""

    store: WorkerStore
    other: WorkerStore
    add_customer: Callable[[str, str, str, str], None]  # id, risk level, capacity, recorded on
    add_buy: Callable[[str, str, str], None]  # id, isin, type
    load_transactions: Callable[[], None]
    add_asset: Callable[[str], None]


@pytest.fixture(params=["fake", REAL_DATABASE])
def database(request: pytest.FixtureRequest) -> Iterator[StoreWorld]:
    if request.param == "fake":
        yield _fake_database()
        return
    url = request.getfixturevalue("database_url")
    stores = [PostgresWorkerStore(url, cluster_id="cluster", consumer_group="worker") for _ in range(2)]
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield _real_database(stores[0], stores[1], connection)
    connection.close()
    for store in stores:
        store.close()


def _fake_database() -> StoreWorld:
    store = FakeStore()
    other = FakeStore(store.tables)
    levels = {"Aggressive": RiskLevel.AGGRESSIVE, "Income": RiskLevel.INCOME}
    capacities = {"CAP_LT30K": InvestmentCapacity.LESS_THAN_30K, "CAP_30K_80K": InvestmentCapacity.FROM_30K_TO_80K}

    def add_customer(customer_id: str, risk_level: str, capacity: str, _: str) -> None:
        store.tables.customers[customer_id] = Customer(customer_id, levels[risk_level], capacities[capacity])

    def add_buy(customer_id: str, isin: str, transaction_type: str) -> None:
        if transaction_type == "Buy":
            store.tables.owned.setdefault(customer_id, set()).add(isin)

    def load_transactions() -> None:
        store.tables.snapshots["transactions"] = store.tick()

    def add_asset(isin: str) -> None:
        store.tables.displays[isin] = display_of(isin)

    return StoreWorld(store, other, add_customer, add_buy, load_transactions, add_asset)


def _real_database(store: WorkerStore, other: WorkerStore, connection: Any) -> StoreWorld:
    def execute(statement: str, *parameters: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def add_asset(isin: str) -> None:
        row = "INSERT INTO asset_information VALUES (%s, %s, 'short', %s, NULL, NULL, %s, %s, %s)"
        execute(row, isin, "An older name", "Bond", None, None, "2020-01-01")
        execute(row, isin, f"Name of {isin}", "Stock", "Technology", "Software", "2021-01-01")
        execute("INSERT INTO close_prices VALUES (%s, '2022-01-02', 3.76), (%s, '2021-01-02', 9)", isin, isin)
        execute("INSERT INTO limit_prices VALUES (%s, '2018-01-02', '2022-01-02', 3, 8, 0.160494)", isin)

    return StoreWorld(
        store,
        other,
        lambda *row: execute("INSERT INTO customer_information VALUES (%s, 'Mass', %s, %s, NULL, %s)", *row),
        lambda *row: execute("INSERT INTO transactions VALUES (%s, %s, 'T1', %s, '2022-01-01')", *row),
        lambda: execute(
            "INSERT INTO reference_snapshots (table_name, row_count, rejected_count, source)"
            " VALUES ('transactions', 1, 0, 'test')"
            " ON CONFLICT (table_name) DO UPDATE SET loaded_at = now()"
        ),
        add_asset,
    )


def message(partition: Partition = CLICKS, offset: int = 0) -> Message:
    return Message(partition[0], partition[1], offset, b"C1", b"bytes")


def click(isin: str = "GR1", *, offset: int = 0, **fields: Any) -> tuple[Message, InteractionRecorded]:
    fields = {"customer_id": "C1", "type": "click", "occurred_at": NOW, **fields}
    return message(offset=offset), InteractionRecorded(isin=isin, **fields)


def decision(customer_id: str = "C1", **fields: Any) -> Decision:
    known: dict[str, Any] = {
        "request_id": uuid4(),
        "customer_id": customer_id,
        "action": "refresh_recs",
        "answered_from": "scored",
        "model_version": "v1",
        "basis": "history",
        "weights": Weights(0.5, 0.2, 0.3),
        "risk_level": 4,
        "items": [{"isin": "GR1", "score": 0.1, "sector": None}],
        "fingerprint": None,
        "partition": 0,
        "event_offset": 0,
        "requested_at": NOW,
        "decided_at": NOW,
    }
    return Decision(**{**known, **fields})


def keep(store: WorkerStore, *interactions: tuple[Message, InteractionRecorded]) -> frozenset[UUID]:
    with store.begin() as transaction:
        return transaction.insert_interactions(interactions)


def decide(store: WorkerStore, *decisions: Decision) -> frozenset[UUID]:
    snapshot = store.fetch_snapshots()
    with store.begin() as transaction:
        return transaction.insert_decisions(decisions, reference_snapshot=snapshot)


def test_stored_offsets_are_found_again(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0, CLICKS: 7})
        transaction.store_offsets({REQUESTS: 5, CLICKS: 9})
    found = database.other.fetch_offsets([REQUESTS, CLICKS, ("recommendations.requested.v1", 1)])
    assert found == {REQUESTS: StoredOffset(5), CLICKS: StoredOffset(9)}


def test_a_start_that_is_not_the_stored_offset_is_refused(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        transaction.store_offsets({REQUESTS: 5})
    for start in (0, 4, 6):
        with pytest.raises(StaleOffsets), database.other.begin() as transaction:
            transaction.lock_offsets({CLICKS: 0, REQUESTS: start})
    assert database.store.fetch_offsets([REQUESTS, CLICKS]) == {REQUESTS: StoredOffset(5)}


def test_an_offset_is_stored_with_the_topic_that_was_read(database: StoreWorld) -> None:
    database.store.note_topic_ids({REQUESTS: "first"})
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0, CLICKS: 0})
        transaction.store_offsets({REQUESTS: 5, CLICKS: 5})
    assert database.other.fetch_offsets([REQUESTS, CLICKS]) == {
        REQUESTS: StoredOffset(5, "first"),
        CLICKS: StoredOffset(5),
    }
    # One that knows no ids keeps what is there; a row without an id gets one with the next offset.
    database.store.note_topic_ids({CLICKS: "second"})
    with database.other.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 5})
        transaction.store_offsets({REQUESTS: 6})
    with database.store.begin() as transaction:
        transaction.lock_offsets({CLICKS: 5})
        transaction.store_offsets({CLICKS: 7})
    assert database.other.fetch_offsets([REQUESTS, CLICKS]) == {
        REQUESTS: StoredOffset(6, "first"),
        CLICKS: StoredOffset(7, "second"),
    }


def test_a_batch_of_another_topic_of_that_name_is_refused(database: StoreWorld) -> None:
    database.store.note_topic_ids({REQUESTS: "first"})
    database.other.note_topic_ids({REQUESTS: "second"})
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        transaction.store_offsets({REQUESTS: 5})
    with pytest.raises(StaleOffsets), database.other.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 5})
    assert database.store.fetch_offsets([REQUESTS]) == {REQUESTS: StoredOffset(5, "first")}


def test_a_transaction_that_fails_leaves_nothing(database: StoreWorld) -> None:
    def fail_at_the_end() -> None:
        with database.store.begin() as transaction:
            transaction.lock_offsets({REQUESTS: 0})
            transaction.insert_interactions([click()])
            transaction.insert_decisions([decision()], reference_snapshot="")
            transaction.insert_dead_letters([(message(), "reason")])
            transaction.store_offsets({REQUESTS: 5})
            raise KeyError

    with pytest.raises(KeyError):
        fail_at_the_end()
    assert database.store.fetch_offsets([REQUESTS]) == {}
    with database.store.begin() as transaction:
        assert transaction.fetch_histories(["C1"])["C1"].interactions == ()
        assert transaction.fetch_fresh_lists(["C1"]) == {}


def test_what_fails_within_a_savepoint_is_undone_and_the_transaction_goes_on(database: StoreWorld) -> None:
    good, bad = click("GR1"), click("GR2", offset=1)
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        with transaction.savepoint():
            transaction.insert_interactions([good])
        with contextlib.suppress(KeyError), transaction.savepoint():
            transaction.insert_interactions([bad])
            raise KeyError
        transaction.store_offsets({REQUESTS: 2})
    assert database.store.fetch_offsets([REQUESTS]) == {REQUESTS: StoredOffset(2)}
    with database.store.begin() as transaction:
        assert [kept.isin for kept in transaction.fetch_histories(["C1"])["C1"].interactions] == ["GR1"]


@pytest.mark.postgres
def test_a_statement_that_the_database_refuses_within_a_savepoint_is_a_messages_fault(database_url: str) -> None:
    store = PostgresWorkerStore(database_url, cluster_id=str(uuid4()), consumer_group="worker")
    refused = replace(decision(), event_offset=2**70)
    with store.begin() as transaction:
        with pytest.raises(DataError), transaction.savepoint():
            transaction.insert_decisions([refused], reference_snapshot="")
        transaction.insert_dead_letters([(message(offset=0), "DataError: refused")])
    store.close()


@pytest.mark.postgres
def test_a_connection_that_breaks_within_a_savepoint_is_no_messages_fault(database_url: str) -> None:
    store = PostgresWorkerStore(database_url, cluster_id=str(uuid4()), consumer_group="worker")

    def lose_the_connection() -> None:
        with store.begin() as transaction:
            transaction.lock_offsets({REQUESTS: 0})
            with psycopg2.connect(database_url) as other, other.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            with transaction.savepoint():
                transaction.insert_interactions([click()])

    with pytest.raises(DatabaseUnavailable):
        lose_the_connection()
    store.close()


def test_an_interaction_is_kept_once(database: StoreWorld) -> None:
    first, same = click(fingerprint="a"), click("GR2", offset=1)
    again = (message(offset=2), first[1])
    assert keep(database.store, first, again, same) == {first[1].event_id, same[1].event_id}
    assert keep(database.store, again) == frozenset()
    assert keep(database.store) == frozenset()
    with database.store.begin() as transaction:
        kept = KeptEvent({"customer_id": "C1", "isin": "GR1", "type": "click"}, "a")
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
    first = decision(fingerprint="a", content_digest="d")
    changed = replace(first, items=[], model_version="v2", content_digest="e")
    assert decide(database.store, first) == {first.request_id}
    assert decide(database.store, changed) == frozenset()
    with database.store.begin() as transaction:
        kept = KeptEvent({"customer_id": "C1", "action": "refresh_recs"}, "a", "d")
        assert transaction.fetch_decided([first.request_id, uuid4()]) == {first.request_id: kept}
        stored = transaction.fetch_fresh_lists(["C1", "C2"])["C1"]
    assert (stored.request_id, stored.model_version, stored.basis) == (first.request_id, "v1", "history")
    assert (stored.items, stored.weights) == (first.items, first.weights)


def test_the_last_scored_decision_of_a_customer_is_their_list(database: StoreWorld) -> None:
    rows = [decision(), decision("C2"), decision(model_version="v2")]
    decide(database.store, *rows)
    with database.store.begin() as transaction:
        lists = transaction.fetch_fresh_lists(["C1", "C2"])
    assert {name: stored.request_id for name, stored in lists.items()} == {
        "C1": rows[2].request_id,
        "C2": rows[1].request_id,
    }


@pytest.mark.parametrize("same_transaction", [False, True])
def test_a_list_that_answers_once_more_names_that_request(database: StoreWorld, same_transaction: bool) -> None:
    scored, answered = decision(), decision(answered_from="stored", items=[], model_version="never")
    if same_transaction:
        decide(database.store, scored, answered)
    else:
        decide(database.store, scored)
        decide(database.store, answered)
    with database.store.begin() as transaction:
        stored = transaction.fetch_fresh_lists(["C1"])["C1"]
    assert stored.request_id == answered.request_id
    assert (stored.items, stored.model_version) == (scored.items, "v1")


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


def test_a_dead_letter_is_kept_once_with_any_bytes(database: StoreWorld) -> None:
    poison = Message(RECOMMENDATIONS_REQUESTED, 3, 4, None, b"\x00\xff")
    for _ in range(2):
        with database.store.begin() as transaction:
            transaction.insert_dead_letters([(poison, "reason"), (message(), "another")])


def test_what_lists_show_is_the_latest_version_and_price(database: StoreWorld) -> None:
    database.add_asset("GR1")
    assert database.store.fetch_asset_displays() == {"GR1": display_of("GR1")}


def test_snapshots_change_when_a_table_is_loaded(database: StoreWorld) -> None:
    before = database.store.fetch_snapshots()
    database.load_transactions()
    first = database.store.fetch_snapshots()
    database.load_transactions()
    assert before != first != database.store.fetch_snapshots()


def test_a_database_that_cannot_be_reached_is_unavailable() -> None:
    store = PostgresWorkerStore("postgresql://nobody@127.0.0.1:1/none", cluster_id="cluster", consumer_group="worker")
    with pytest.raises(DatabaseUnavailable):
        store.fetch_offsets([REQUESTS])
    with pytest.raises(DatabaseUnavailable), store.begin():
        pass


@pytest.mark.postgres
def test_a_database_without_tables_is_unavailable_and_no_message_is_blamed(empty_database_url: str) -> None:
    store = PostgresWorkerStore(empty_database_url, cluster_id="cluster", consumer_group="worker")
    with pytest.raises(DatabaseUnavailable), store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
    store.close()


@pytest.mark.postgres
@pytest.mark.parametrize("stored_before", [False, True])
def test_two_consumers_of_the_same_partition_meet_at_its_row(database_url: str, stored_before: bool) -> None:
    stores = [PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker") for _ in range(2)]
    if stored_before:
        with stores[0].begin() as transaction:
            transaction.lock_offsets({REQUESTS: 0})
    outcomes: list[str] = []

    def second() -> None:
        try:
            with stores[1].begin() as transaction:
                transaction.lock_offsets({REQUESTS: 0})
                transaction.store_offsets({REQUESTS: 3})
            outcomes.append("stored")
        except StaleOffsets:
            outcomes.append("refused")

    with stores[0].begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        assert outcomes == []
        transaction.store_offsets({REQUESTS: 5})
    thread.join()
    assert outcomes == ["refused"]
    assert stores[0].fetch_offsets([REQUESTS]) == {REQUESTS: StoredOffset(5)}
    for store in stores:
        store.close()


@pytest.mark.postgres
def test_a_letter_of_a_topic_that_was_made_anew_is_kept_beside_the_one_at_its_place(database_url: str) -> None:
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    box = DeadLetterBox(database_url)
    for topic_id, value in (("first", b"old"), ("first", b"old"), ("second", b"new")):
        store.note_topic_ids({REQUESTS: topic_id})
        with store.begin() as transaction:
            transaction.insert_dead_letters([(replace(message(REQUESTS), value=value), "reason")])
    kept = list(box.find(LetterFilter(), limit=10, value_bytes=10))
    assert [(one.topic_id, one.value) for one in kept] == [("first", b"old"), ("second", b"new")]
    with box.replaying(kept[0].dead_letter_id) as letter:
        assert letter is not None
    assert [one.value for one in box.find(LetterFilter(), limit=10, value_bytes=10)] == [b"new"]
    box.close()
    store.close()


@pytest.mark.postgres
def test_offsets_of_another_cluster_or_group_are_not_ours(database_url: str) -> None:
    ours = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    with ours.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        transaction.store_offsets({REQUESTS: 5})
    for cluster_id, group in (("cluster", "trainer"), ("another", "worker")):
        theirs = PostgresWorkerStore(database_url, cluster_id=cluster_id, consumer_group=group)
        assert theirs.fetch_offsets([REQUESTS]) == {}
        theirs.close()
    ours.close()


# --- EventConsumer ---


class Offsets:
    """Stored offsets, and whether the database answers."""

    def __init__(self) -> None:
        self.stored: dict[Partition, int] = {}
        self.topic_ids: dict[Partition, str] = {}  # of the stored offsets
        self.noted: dict[Partition, str] = {}
        self.available = True

    def fetch_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, StoredOffset]:
        if not self.available:
            raise DatabaseUnavailable
        return {p: StoredOffset(self.stored[p], self.topic_ids.get(p)) for p in partitions if p in self.stored}

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self.noted.update(topic_ids)


@dataclass
class BrokerWorld:
    """Topics with two partitions, a way to publish, and consumers of one group that look at topics all the time."""

    publish: Callable[[Partition, bytes], None]
    start: Callable[[Offsets], EventConsumer]
    replace_topic: Callable[[str], None]


@pytest.fixture(params=["fake", REAL_BROKER])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerWorld]:
    if request.param == "fake":
        fake = FakeBroker(partitions=2, clock=lambda: datetime.now(UTC))
        yield BrokerWorld(
            lambda partition, value: cast(None, fake.append(*partition, key=b"k", value=value)),
            lambda offsets: FakeConsumer(fake, offsets),
            fake.replace_topic,
        )
        return
    servers, prefix = request.getfixturevalue("kafka_bootstrap_servers"), request.getfixturevalue("topic_prefix")
    create_topics(servers, prefix=prefix, partitions=2)
    producer = Producer({**producer_settings(servers, client_id="test"), "linger.ms": 0})
    consumers: list[KafkaEventConsumer] = []

    def publish(partition: Partition, value: bytes) -> None:
        producer.produce(prefix + partition[0], value, b"k", partition=partition[1])
        producer.flush()

    def start(offsets: Offsets) -> EventConsumer:
        consumer = KafkaEventConsumer(
            ConsumerSettings(servers, prefix + "group", prefix, session_timeout_seconds=6.0, check_topics_seconds=0.2),
            topics=[RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED],
            offsets=offsets,
            cluster_id=fetch_cluster_id(servers),
        )
        consumers.append(consumer)
        return consumer

    yield BrokerWorld(publish, start, lambda topic: replace_topic(servers, prefix + topic))
    for consumer in consumers:
        consumer.close()


def replace_topic(servers: str, name: str) -> None:
    """Delete a topic and make it anew, as `create_topics` makes it."""
    admin = AdminClient({"bootstrap.servers": servers})
    settings = TopicDurability().required()
    before = admin.describe_topics(TopicCollection([name]))[name].result(10.0).topic_id
    admin.delete_topics([name])[name].result(10.0)
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):  # it is still being deleted
            admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1, config=settings)])[name].result(
                10.0
            )
        with contextlib.suppress(KafkaException):  # the broker does not know it yet
            if str(admin.describe_topics(TopicCollection([name]))[name].result(10.0).topic_id) != str(before):
                return
        time.sleep(0.1)
    pytest.fail(f"{name} could not be made anew")


def poll(consumer: EventConsumer, *, seconds: float = 0.5, until: int = 10_000) -> list[Message]:
    """Poll for so long, or until so many messages came."""
    messages: list[Message] = []
    deadline = time.monotonic() + (seconds if until == 10_000 else 20.0)
    while time.monotonic() < deadline and len(messages) < until:
        messages += consumer.poll(max_messages=100, timeout_seconds=0.05)
    return messages


def joined(consumer: EventConsumer) -> EventConsumer:
    """Poll until the consumer owns all four partitions; nothing may come with it."""
    deadline = time.monotonic() + 20.0
    while len(consumer.assignment()) < 4 and time.monotonic() < deadline:
        assert list(consumer.poll(max_messages=100, timeout_seconds=0.05)) == []
    assert len(consumer.assignment()) == 4
    return consumer


def values(messages: Sequence[Message], partition: Partition) -> list[bytes | None]:
    return [message.value for message in messages if (message.topic, message.partition) == partition]


def test_an_assignment_starts_at_the_stored_offsets_else_at_the_start_of_the_log(broker: BrokerWorld) -> None:
    for number in range(5):
        broker.publish(REQUESTS, b"%d" % number)
        broker.publish(CLICKS, b"%d" % number)
    offsets = Offsets()
    offsets.stored[REQUESTS] = 3
    consumer = joined(broker.start(offsets))
    assert (consumer.position(REQUESTS), consumer.position(CLICKS)) == (3, 0)
    messages = poll(consumer, until=7)
    assert values(messages, REQUESTS) == [b"3", b"4"]
    assert values(messages, CLICKS) == [b"0", b"1", b"2", b"3", b"4"]
    assert (consumer.position(REQUESTS), consumer.position(CLICKS)) == (5, 5)
    assert consumer.generation > 0


def test_a_rewind_reads_again_from_what_is_stored_by_then(broker: BrokerWorld) -> None:
    for number in range(5):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    consumer = joined(broker.start(offsets))
    poll(consumer, until=5)
    offsets.stored[REQUESTS] = 2
    generation = consumer.generation
    consumer.rewind()
    assert consumer.generation != generation
    assert values(poll(consumer, until=3), REQUESTS) == [b"2", b"3", b"4"]


def test_a_seek_moves_one_partition(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
        broker.publish(CLICKS, b"%d" % number)
    consumer = joined(broker.start(Offsets()))
    poll(consumer, until=6)
    consumer.seek(REQUESTS, 1)
    messages = poll(consumer, seconds=1.0)
    assert values(messages, REQUESTS) == [b"1", b"2"]
    assert values(messages, CLICKS) == []


def test_a_paused_partition_brings_nothing_until_it_is_resumed(broker: BrokerWorld) -> None:
    consumer = joined(broker.start(Offsets()))
    consumer.pause([REQUESTS])
    broker.publish(REQUESTS, b"r")
    broker.publish(CLICKS, b"c")
    assert [message.value for message in poll(consumer, seconds=1.0)] == [b"c"]
    consumer.resume([REQUESTS])
    assert [message.value for message in poll(consumer, until=1)] == [b"r"]


def test_a_new_generation_ends_a_pause(broker: BrokerWorld) -> None:
    broker.publish(REQUESTS, b"r")
    consumer = joined(broker.start(Offsets()))
    consumer.pause([REQUESTS])
    consumer.rewind()
    assert [message.value for message in poll(consumer, until=1)] == [b"r"]


def test_high_watermarks_count_every_acknowledged_message(broker: BrokerWorld) -> None:
    consumer = joined(broker.start(Offsets()))
    for number in range(50):
        broker.publish(CLICKS, b"%d" % number)
        assert consumer.fetch_high_watermarks([CLICKS, REQUESTS]) == {CLICKS: number + 1, REQUESTS: 0}


def test_partitions_wait_while_the_database_does_not_say_their_offsets(broker: BrokerWorld) -> None:
    broker.publish(REQUESTS, b"0")
    broker.publish(REQUESTS, b"1")
    offsets = Offsets()
    offsets.stored[REQUESTS] = 1
    offsets.available = False
    consumer = broker.start(offsets)
    assert poll(consumer, seconds=2.0) == []
    assert consumer.assignment() == frozenset()
    offsets.available = True
    joined(consumer)
    assert consumer.position(REQUESTS) == 1
    assert [message.value for message in poll(consumer, until=1)] == [b"1"]


def test_an_offset_outside_the_log_is_told_once_and_the_others_go_on(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    offsets.stored[REQUESTS] = 1000
    consumer = broker.start(offsets)
    alarms = 0
    messages: list[Message] = []
    deadline = time.monotonic() + 15.0
    while (not alarms or len(messages) < 2) and time.monotonic() < deadline:
        if alarms and len(messages) < 2:
            broker.publish(CLICKS, b"a")
        try:
            messages += consumer.poll(max_messages=100, timeout_seconds=0.05)
        except OffsetOutOfRange:
            alarms += 1
    assert alarms == 1
    assert consumer.out_of_range() == {REQUESTS}
    assert REQUESTS not in consumer.assignment()
    assert {message.topic for message in messages} == {INTERACTIONS_RECORDED}
    offsets.stored[REQUESTS] = 1  # the operator has decided
    consumer.rewind()
    assert consumer.out_of_range() == frozenset()
    assert b"1" in [message.value for message in poll(consumer, seconds=2.0)]


def test_a_poll_ends_when_its_bytes_are_used_up_and_brings_one_message_at_least(broker: BrokerWorld) -> None:
    for number in range(6):
        broker.publish(REQUESTS, b"%d" % number * 100)
    consumer = joined(broker.start(Offsets()))
    sizes: list[int] = []
    deadline = time.monotonic() + 20.0
    while sum(sizes) < 6 and time.monotonic() < deadline:
        sizes.append(len(consumer.poll(max_messages=100, timeout_seconds=0.05, max_bytes=250)))
    assert sum(sizes) == 6
    assert max(sizes) <= 3
    consumer.seek(REQUESTS, 0)
    messages: list[Message] = []
    while not messages and time.monotonic() < deadline:
        messages += consumer.poll(max_messages=100, timeout_seconds=0.05, max_bytes=1)
    assert [message.offset for message in messages] == [0]
    assert messages[0].size_bytes == 101
    assert consumer.position(REQUESTS) == 1


def test_messages_say_when_the_broker_had_them(broker: BrokerWorld) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    broker.publish(REQUESTS, b"0")
    [polled] = poll(joined(broker.start(Offsets())), until=1)
    assert polled.logged_at is not None
    assert before <= polled.logged_at <= datetime.now(UTC) + timedelta(seconds=1)


def wait_for_alarm(consumer: EventConsumer) -> None:
    """Poll until TopicReplaced is raised; no request may come before."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        try:
            messages = consumer.poll(max_messages=100, timeout_seconds=0.05)
        except TopicReplaced:
            return
        except OffsetOutOfRange:
            continue  # the new topic is shorter: that may be noticed first
        assert [message for message in messages if message.topic == RECOMMENDATIONS_REQUESTED] == []
    pytest.fail("no alarm")


def test_an_offset_of_a_topic_that_was_made_anew_is_an_alarm_and_nothing_is_skipped(broker: BrokerWorld) -> None:
    offsets = Offsets()
    first = joined(broker.start(offsets))
    offsets.topic_ids = dict(offsets.noted)
    assert offsets.topic_ids.keys() == {(topic, number) for topic, _ in (REQUESTS, CLICKS) for number in range(2)}
    offsets.stored = {REQUESTS: 2, CLICKS: 0}
    first.close()
    broker.replace_topic(RECOMMENDATIONS_REQUESTED)
    for number in range(5):
        broker.publish(REQUESTS, b"%d" % number)
    consumer = broker.start(offsets)
    wait_for_alarm(consumer)
    assert consumer.out_of_range() == consumer.replaced() == {REQUESTS}
    assert consumer.assignment() == {CLICKS, (CLICKS[0], 1), (REQUESTS[0], 1)}
    broker.publish(CLICKS, b"c")
    assert [message.value for message in poll(consumer, until=1)] == [b"c"]
    consumer.rewind()
    wait_for_alarm(consumer)
    # Whoever seeks has decided; from then on offsets are stored with the new id.
    assert offsets.noted[REQUESTS] == offsets.topic_ids[REQUESTS]
    [start] = consumer.fetch_low_watermarks([REQUESTS]).values()
    consumer.seek(REQUESTS, start)
    assert offsets.noted[REQUESTS] == offsets.noted[REQUESTS[0], 1] != offsets.topic_ids[REQUESTS]
    assert consumer.replaced() == frozenset()
    assert values(poll(consumer, until=5), REQUESTS) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_topic_that_is_made_anew_under_a_consumer_stands_still(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    consumer = joined(broker.start(offsets))
    poll(consumer, until=3)
    # As the loop stores them; the row of the other partition is not there yet.
    offsets.stored, offsets.topic_ids = {REQUESTS: 3}, {REQUESTS: offsets.noted[REQUESTS]}
    broker.replace_topic(RECOMMENDATIONS_REQUESTED)
    wait_for_alarm(consumer)
    assert REQUESTS in consumer.out_of_range()
    assert REQUESTS not in consumer.assignment()
    assert offsets.noted[REQUESTS] == offsets.topic_ids[REQUESTS]
    broker.publish(CLICKS, b"c")
    assert [message.value for message in poll(consumer, until=1)] == [b"c"]


def test_offsets_of_older_versions_are_taken_for_offsets_of_this_topic(broker: BrokerWorld) -> None:
    for number in range(3):
        broker.publish(REQUESTS, b"%d" % number)
    offsets = Offsets()
    offsets.stored[REQUESTS] = 1
    consumer = joined(broker.start(offsets))
    assert consumer.position(REQUESTS) == 1
    assert offsets.noted[REQUESTS] == offsets.noted[REQUESTS[0], 1]


def test_a_commit_is_only_told_and_changes_no_position(broker: BrokerWorld) -> None:
    consumer = joined(broker.start(Offsets()))
    consumer.commit({REQUESTS: 77})
    broker.publish(REQUESTS, b"0")
    assert [message.value for message in poll(consumer, until=1)] == [b"0"]


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable):
        fetch_cluster_id("127.0.0.1:1", timeout_seconds=0.5)


# --- ArtifactStore ---


@pytest.fixture(params=["fake", "real"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return FakeArtifacts() if request.param == "fake" else FileArtifacts(tmp_path / "models")


def test_an_empty_volume_has_no_pointer(artifacts: ArtifactStore) -> None:
    assert artifacts.read_pointer() is None


def test_an_activated_version_is_what_the_pointer_names_and_loads(artifacts: ArtifactStore) -> None:
    first, second = build_model(seed=1), build_model(seed=2)
    digest = artifacts.save_model(first)
    assert artifacts.read_pointer() is None
    assert artifacts.activate(first.version) == artifacts.read_pointer() == Pointer(1, first.version, digest)
    artifacts.save_model(second)
    artifacts.activate(second.version)
    pointer = artifacts.activate(first.version)
    assert pointer.sequence == 3
    assert artifacts.load_model(pointer).version == first.version


def test_a_pointer_with_another_digest_or_version_does_not_load(artifacts: ArtifactStore) -> None:
    model = build_model()
    artifacts.save_model(model)
    pointer = artifacts.activate(model.version)
    with pytest.raises(ArtifactInvalid):
        artifacts.load_model(replace(pointer, manifest_sha256="0" * 64))
    with pytest.raises(ArtifactMissing):
        artifacts.load_model(replace(pointer, version="never-saved"))
    with pytest.raises(ArtifactMissing):
        artifacts.manifest_sha256("never-saved")


def test_a_version_is_written_once(artifacts: ArtifactStore) -> None:
    artifacts.save_model(build_model())
    with pytest.raises(ArtifactInvalid):
        artifacts.save_model(build_model())
