"""The worker's legs: a backlog of requests beside scoring alone and beside COPY, and the time from request to list."""

from __future__ import annotations

import io
import select
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from statistics import median, quantiles
from uuid import uuid4

import psycopg2
from confluent_kafka import Consumer, Producer, TopicPartition
from psycopg2 import extensions

from script.local.service_processes import ServiceProcess
from script.speed.legs import Leg
from script.speed.system import BenchSystem
from shared.artifacts.publication import FileArtifacts
from shared.events import RECOMMENDATIONS_REQUESTED, RecommendationRequested, encode
from shared.kafka.client_settings import producer_settings
from shared.postgres.notifications import CHANNEL, parse_payload
from shared.recommender.pipeline import rank_assets
from worker.settings import WorkerSettings
from worker.store import PostgresWorkerStore

BACKLOG_TO_LIMIT = 0.5
MOST_SECONDS = 600.0
PACED_PER_SECOND = 200


def measure_backlog(system: BenchSystem, *, rounds: int, requests: int) -> Leg:
    """Return the leg of a backlog: each round stores `requests` lists and decisions, then measures both limits."""
    ours, limits = [], []
    scoring_rates, copy_rates = [], []
    for number in range(rounds):
        ours.append(drain_backlog(system.prefixed(f"backlog-{number}-"), requests=requests))
        scoring_rates.append(score_alone(system, requests=min(requests, 20_000)))
        copy_rates.append(copy_rows(system))
        limits.append(min(scoring_rates[-1], copy_rates[-1]))
    details = {"scoring_alone": round(median(scoring_rates)), "binary_copy": round(median(copy_rates))}
    name = f"worker, backlog of {requests:,} requests"
    limit = "the slower of scoring alone and binary COPY of the same rows"
    return Leg(name, "lists/s", tuple(ours), tuple(limits), limit, BACKLOG_TO_LIMIT, details=details)


def drain_backlog(system: BenchSystem, *, requests: int) -> float:
    """Return the lists per second that one worker stores, from its first commit to its last."""
    return store_lists(system, [system.customers[index % len(system.customers)] for index in range(requests)])


def store_lists(system: BenchSystem, customers: Sequence[str]) -> float:
    """Have a worker store one list for each; return how many a second it stored, from its first commit to its last."""
    publish(system, customers)
    topic = system.environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    with system.service("worker", WORKER_CONSUMER_GROUP=topic) as worker:
        first_at, first_done = wait_for_progress(system, topic, workers=[worker], least=1)
        last_at, last_done = wait_for_progress(system, topic, workers=[worker], least=len(customers))
    return (last_done - first_done) / (last_at - first_at)


def publish(system: BenchSystem, customers: Sequence[str]) -> None:
    """Publish one request for each customer, and wait for the acknowledgements."""
    settings = producer_settings(system.environment.bootstrap_servers, client_id="bench", delivery_timeout_seconds=60)
    producer = Producer({**settings, "queue.buffering.max.messages": 200_000})
    topic = system.environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    for customer_id in customers:
        event = RecommendationRequested(customer_id=customer_id, action="refresh_recs")
        producer.produce(topic, key=customer_id, value=encode(event))
        producer.poll(0)
    if producer.flush(60):
        raise TimeoutError("the broker did not take the requests")


def wait_for_progress(
    system: BenchSystem, group: str, *, workers: Sequence[ServiceProcess], least: int
) -> tuple[float, int]:
    """Return the time and the number of stored requests once at least so many are stored."""
    statement = "SELECT coalesce(sum(next_offset), 0) FROM consumer_offsets WHERE consumer_group = %s AND topic LIKE %s"
    deadline = time.monotonic() + MOST_SECONDS
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while time.monotonic() < deadline:
            cursor.execute(statement, (group, f"%{RECOMMENDATIONS_REQUESTED}"))
            [(done,)] = cursor.fetchall()
            if done >= least:
                return time.monotonic(), int(done)
            for worker in workers:
                if not worker.is_running:
                    raise worker.failure("ended")
            time.sleep(0.02)
    raise workers[0].failure(f"stored fewer than {least} requests in {MOST_SECONDS:.0f} s")


def score_alone(system: BenchSystem, *, requests: int) -> float:
    """Return how many customers per second the model scores as the worker does, with histories in memory."""
    artifacts = FileArtifacts(system.environment.models_folder)
    pointer = artifacts.read_pointer()
    assert pointer is not None
    model = artifacts.load_model(pointer)
    customers = [system.customers[index % len(system.customers)] for index in range(requests)]
    store = PostgresWorkerStore(system.database_url, cluster_id="bench", consumer_group="bench")
    with closing(store), store.begin() as transaction:
        by_id = transaction.fetch_histories(customers)
    histories = [by_id[one] for one in customers]
    size, now = WorkerSettings.model_fields["worker_batch_size"].default, datetime.now(UTC)
    rank_assets(model, histories[:size], k=10, now=now)
    started = time.perf_counter()
    for start in range(0, len(histories), size):
        rank_assets(model, histories[start : start + size], k=10, now=now)
    return len(histories) / (time.perf_counter() - started)


def copy_rows(system: BenchSystem) -> float:
    """Return how many lists per second a binary COPY writes, each with its decision, in the worker's batches."""
    tables = ("decisions", "recommendations")
    size = WorkerSettings.model_fields["worker_batch_size"].default
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"CREATE TABLE bench_{table} (LIKE {table} INCLUDING ALL EXCLUDING IDENTITY)")
        batches = {table: _binary_batches(connection, table, size=size) for table in tables}
        connection.commit()
        rows = min(sum(count for _, count in of_table) for of_table in batches.values())
        started = time.perf_counter()
        for decisions, lists in zip(batches["decisions"], batches["recommendations"], strict=False):
            for table, (content, _) in (("decisions", decisions), ("recommendations", lists)):
                cursor.copy_expert(f"COPY bench_{table} FROM STDIN (FORMAT binary)", io.BytesIO(content))
            connection.commit()
        seconds = time.perf_counter() - started
        for table in tables:
            cursor.execute(f"DROP TABLE bench_{table}")
        connection.commit()
    return rows / seconds


def _binary_batches(connection: extensions.connection, table: str, *, size: int) -> list[tuple[bytes, int]]:
    """Return rows of a table as binary COPY data, `size` rows each, one row for each customer."""
    key = "request_id" if table == "recommendations" else "decisions.request_id"
    both = "decisions JOIN recommendations USING (request_id, requested_at)"
    select = "recommendations" if table == "recommendations" else both
    columns = "recommendations.*" if table == "recommendations" else "decisions.*"
    batches = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recommendations")
        [(count,)] = cursor.fetchall()
        for start in range(0, min(count, 20_000), size):
            stream = io.BytesIO()
            statement = f"SELECT {columns} FROM {select} ORDER BY {key} OFFSET {start} LIMIT {size}"
            cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT binary)", stream)
            batches.append((stream.getvalue(), min(size, count - start)))
    return batches


def measure_latency(system: BenchSystem, *, rounds: int, seconds: float) -> list[Leg]:
    """Return the legs of the time from a steady request to its visible list, 200 a second: p50 and p99."""
    steady = system.prefixed("latency-")
    topic = steady.environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    times, limits = [], []
    with steady.service("worker", WORKER_CONSUMER_GROUP=topic):
        time_requests(steady, seconds=3.0, offset=0)
        for number in range(rounds):
            times.append(time_requests(steady, seconds=seconds, offset=1 + number))
            limits.append(time_the_least(steady))
    legs = []
    for name, percent in (("p50", 50), ("p99", 99)):
        ours, least = (tuple(quantiles(each, n=100)[percent - 1] for each in side) for side in (times, limits))
        title = f"request to visible list at {PACED_PER_SECOND}/s, {name}"
        legs.append(Leg(title, "ms", ours, least, "one produce, one fetch and one commit", more_is_better=False))
    return legs


def time_requests(system: BenchSystem, *, seconds: float, offset: int) -> list[float]:
    """Return the milliseconds from producing each request to the commit of its list, as a listening client sees it."""
    count = int(PACED_PER_SECOND * seconds)
    customers = [system.customers[(offset * count + index) % len(system.customers)] for index in range(count)]
    visible: dict[str, float] = {}
    listening, done = threading.Event(), threading.Event()
    listener = threading.Thread(target=_listen, args=(system, set(customers), visible, listening, done))
    listener.start()
    listening.wait(10)
    producer = Producer(producer_settings(system.environment.bootstrap_servers, client_id="bench"))
    topic = system.environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    first = RecommendationRequested(customer_id="bench-connects", action="refresh_recs")
    producer.produce(topic, key=first.customer_id, value=encode(first))
    producer.flush(10)  # connected, and with a producer id: that takes half a second, once
    sent: dict[str, float] = {}
    started = time.perf_counter()
    for number, customer_id in enumerate(customers):
        while (delay := started + number / PACED_PER_SECOND - time.perf_counter()) > 0:
            producer.poll(0)
            time.sleep(min(delay, 0.002))
        event = RecommendationRequested(event_id=uuid4(), customer_id=customer_id, action="refresh_recs")
        sent[customer_id] = time.perf_counter()
        producer.produce(topic, key=customer_id, value=encode(event))
    producer.flush(10)
    done.wait(30)
    listener.join(1)
    if missing := len(sent.keys() - visible.keys()):
        raise TimeoutError(f"{missing} lists of {count} did not become visible")
    return [1000 * (visible[customer_id] - moment) for customer_id, moment in sent.items()]


def _listen(
    system: BenchSystem, wanted: set[str], visible: dict[str, float], listening: threading.Event, done: threading.Event
) -> None:
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"LISTEN {CHANNEL}")
        listening.set()
        deadline = time.monotonic() + 60
        while wanted - visible.keys() and time.monotonic() < deadline:
            if select.select([connection], [], [], 0.5)[0]:
                connection.poll()
                now = time.perf_counter()
                while connection.notifies:
                    for customer_id in parse_payload(connection.notifies.pop(0).payload):
                        visible.setdefault(customer_id, now)
    done.set()


def time_the_least(system: BenchSystem, *, count: int = 200) -> list[float]:
    """Return the milliseconds of one acknowledged produce, one fetch of it, and one commit of a row."""
    topic = system.prefixed("least-").environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    servers = system.environment.bootstrap_servers
    producer = Producer(producer_settings(servers, client_id="bench"))
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "least", "auto.offset.reset": "latest"})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.assign([TopicPartition(topic, 0, end)])
    times = []
    with closing(psycopg2.connect(system.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE least (content bytea)")
        connection.commit()
        for number in range(count):
            started = time.perf_counter()
            producer.produce(topic, value=struct.pack("<I", number), partition=0)
            while (message := consumer.poll(0.1)) is None:
                producer.poll(0)
            cursor.execute("INSERT INTO least VALUES (%s)", (message.value(),))
            connection.commit()
            times.append(1000 * (time.perf_counter() - started))
            producer.flush(10)
    consumer.close()
    return times
