"""Run the code of commit 4872779 on synthetic data and keep what it leaves: python -m tests.upgrade.make_fixture

The fixture holds a dump of the database, the messages of the topics, the models volume, and the answers of the API.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from script.local.kafka import LocalKafka
from script.local.postgres import LocalPostgres
from script.local.service_processes import REPOSITORY, ServiceEnvironment, Services
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from tests.e2e.system import CUSTOMER_ID, System, run_python, wait_until
from tests.servers import temporary_folder
from tests.upgrade.restore import (
    DATABASE_FILE,
    EXPECTED_FILE,
    FIXTURE,
    LIST_HEADERS,
    PARTITIONS,
    PARTITIONS_OF_TOPIC,
    TOPICS_FILE,
    count_rows,
    run_postgres_program,
)

COMMIT = "4872779"
_CUSTOMERS, _TRADED_ASSETS, _OTHER_ASSETS = 100, 36, 8
_FIRST_PRICE, _PRICE_EVERY = "2020-06", 5  # from this month on, every fifth trading day


def main() -> None:
    """Replace the fixture in the repository."""
    with temporary_folder("fixture") as folder, ExitStack() as stack:
        old_code = _extract_commit(folder / "code")
        kafka = stack.enter_context(LocalKafka(folder / "kafka"))
        postgres_folder = stack.enter_context(temporary_folder("postgres"))
        postgres = stack.enter_context(LocalPostgres(postgres_folder, durable=False))
        settings = {
            "PYTHONPATH": str(old_code),
            "TOPIC_PARTITIONS": str(PARTITIONS),
            "CANDIDATE_ALGORITHMS": "ease_next_purchase,ease",
            "MODEL_POLL_SECONDS": "0.5",
        }
        environment = ServiceEnvironment(kafka.bootstrap_servers, postgres.url(), folder / "models", more=settings)
        _load_data(old_code, environment, folder)
        expected = _run_services(environment, folder / "logs")
        shutil.rmtree(FIXTURE, ignore_errors=True)
        FIXTURE.mkdir()
        _write_json(FIXTURE / EXPECTED_FILE, expected)
        _dump_topics(kafka.bootstrap_servers, FIXTURE / TOPICS_FILE)
        dump = run_postgres_program("pg_dump", postgres.url(), "--no-owner", "--no-privileges")
        (FIXTURE / DATABASE_FILE).write_bytes(gzip.compress(dump, mtime=0))
        shutil.copytree(folder / "models", FIXTURE / "models")
    for file in sorted(path for path in FIXTURE.rglob("*") if path.is_file()):
        print(f"{file.stat().st_size:>9,} {file.relative_to(FIXTURE)}")


def _extract_commit(folder: Path) -> Path:
    archive = folder.with_suffix(".tar")
    subprocess.run(["git", "archive", "--output", str(archive), COMMIT], cwd=REPOSITORY, check=True)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder


def _load_data(old_code: Path, environment: ServiceEnvironment, folder: Path) -> None:
    variables = environment.variables()
    # -P: the current folder, which has the code of today, is not searched for modules.
    run_python("-P", "-m", "shared.migrations", environment=variables)
    programs, complete, small = old_code / "FAR-Trans", folder / "complete", folder / "data"
    synthesize = [str(programs / "synthesize.py"), "--scale", "0.01", "--seed", "7", "--output", str(complete)]
    run_python(*synthesize, environment=variables)
    select_rows(complete, small)
    load = [str(programs / "script.py"), "--data", str(small), "--rejects", str(folder / "rejects.csv")]
    run_python(*load, environment=variables)


def select_rows(source: Path, target: Path) -> None:
    """Copy a data set with fewer customers, assets and prices: the smallest synthetic one has 130,000 prices."""
    customers = set(list(dict.fromkeys(_column(source, "customer_information.csv", "customerID")))[:_CUSTOMERS])
    trades = Counter(_column(source, "transactions.csv", "ISIN"))
    untraded = sorted(set(_column(source, "asset_information.csv", "ISIN")) - trades.keys())
    assets = {isin for isin, _ in trades.most_common(_TRADED_ASSETS)} | set(untraded[:_OTHER_ASSETS])
    days = sorted({day for day in _column(source, "close_prices.csv", "timestamp") if day >= _FIRST_PRICE})
    priced = set(days[::-_PRICE_EVERY])
    keeps: dict[str, Callable[[Mapping[str, str]], bool]] = {
        "customer_information.csv": lambda row: row["customerID"] in customers,
        "asset_information.csv": lambda row: row["ISIN"] in assets,
        "markets.csv": lambda row: True,
        "limit_prices.csv": lambda row: row["ISIN"] in assets,
        "close_prices.csv": lambda row: row["ISIN"] in assets and row["timestamp"] in priced,
        "transactions.csv": lambda row: row["customerID"] in customers and row["ISIN"] in assets,
    }
    target.mkdir()
    for name, keep in keeps.items():
        rows = _rows(source, name)
        with (target / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for row in rows if keep(row))


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _column(folder: Path, name: str, column: str) -> list[str]:
    return [row[column] for row in _rows(folder, name)]


def _run_services(environment: ServiceEnvironment, logs: Path) -> dict[str, Any]:
    """Use every part of the system, leave two messages that no worker has read, and return what the test expects."""
    services = Services(environment, folder=logs)
    try:
        services.start()
        services.wait(services["api"].answers, what="ready", blame="api")
        system = System(environment, services)
        customers = _use_system(system)
        for name in ("worker", "trainer"):
            services[name].stop()
        asking = _publish_unread(system, customers.pop())
        rows = count_rows(system, without=asking["customer_id"])
        return {**_fetch_answers(system, customers), "rows": rows, "asking": asking}
    finally:
        services.stop()


def _use_system(system: System) -> list[str]:
    """Record interactions and make lists of two models; return the customers."""
    first = system.wait_until_served()
    without_purchases = system.query(
        "SELECT customer_id FROM customer_information EXCEPT SELECT customer_id FROM transactions"
        " ORDER BY customer_id LIMIT 2"
    )
    customers = [CUSTOMER_ID, *system.customers(8), *(customer for (customer,) in without_purchases)]
    with system.client() as api:
        for customer in customers:
            items = api.ask(customer, "request_recs").items
            for kind, item in zip(("dismiss", "click", "view", "watchlist"), items, strict=False):
                api.record_interaction(customer, item["isin"], kind)
            api.ask(customer, "refresh_recs")
    _publish_malformed(system)
    _use_second_model(system, customers, first=first)
    return customers


def _use_second_model(system: System, customers: list[str], *, first: str) -> None:
    with system.client() as api, system.http() as http:
        http.post("/models/retrain", headers={"X-Requested-With": "fixture"}).raise_for_status()
        wait_until(
            lambda: api.ask(customers[0], "refresh_recs").model_version != first,
            seconds=60,
            what="the worker serves a second model",
        )
        weights = {"collaborative": 0.2, "content": 0.3, "profitability": 0.5}
        body = {"customer_id": customers[1], "action": "refresh_recs", "weights": weights}
        answer = http.post("/recommendations", json=body).raise_for_status()
        api.wait_for_list(customers[1], answer.headers["X-Request-ID"])
        api.ask(customers[2], "request_recs")


def _publish_malformed(system: System) -> None:
    """Publish one message to each partition of the customer topics that becomes a dead letter."""
    producer = Producer({"bootstrap.servers": system.environment.bootstrap_servers})
    for topic in (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED):
        for partition in range(PARTITIONS):
            producer.produce(topic, b"not an event", b"nobody", partition=partition)
    assert producer.flush(10) == 0
    # The trainer reads the interactions, too.
    expected = [("trainer", PARTITIONS), ("worker", 2 * PARTITIONS)]
    letters = "SELECT consumer_group, count(*) FROM dead_letters GROUP BY consumer_group ORDER BY consumer_group"
    wait_until(lambda: system.query(letters) == expected, seconds=30, what=f"dead letters are kept: {expected}")


def _publish_unread(system: System, customer: str) -> dict[str, str]:
    """Publish an interaction and a request while no worker runs; return their ids and what the customer dismissed."""
    dismissed = "SELECT isin FROM user_interactions WHERE customer_id = %s AND interaction_type = 'dismiss'"
    [(dismissed_isin,)] = system.query(dismissed, customer)
    with system.http() as http:
        assets = http.get("/assets").json()["assets"]
        isin = next(asset["isin"] for asset in assets if asset["isin"] != dismissed_isin)
        interaction = {"customer_id": customer, "isin": isin, "type": "click"}
        clicked = http.post("/user_interactions", json=interaction).raise_for_status()
        request = {"customer_id": customer, "action": "request_recs"}
        asked = http.post("/recommendations", json=request).raise_for_status()
    ids = {"unread_click": clicked.headers["X-Request-ID"], "unread_request": asked.headers["X-Request-ID"]}
    return {"customer_id": customer, "dismissed_isin": dismissed_isin, **ids}


def _fetch_answers(system: System, customers: list[str]) -> dict[str, Any]:
    with system.http() as http:
        lists = {}
        for customer in customers:
            answer = http.get(f"/recommendations/{customer}").raise_for_status()
            lists[customer] = {"headers": {name: answer.headers[name] for name in LIST_HEADERS}, "body": answer.json()}
        return {"lists": lists, "models": http.get("/models").json()}


def _dump_topics(bootstrap_servers: str, file: Path) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "fixture", "enable.auto.commit": False})
    with file.open("w", encoding="utf-8") as lines:
        for topic, partitions in PARTITIONS_OF_TOPIC.items():
            for partition in range(partitions):
                for message in _messages(consumer, topic, partition):
                    lines.write(json.dumps(message, ensure_ascii=False) + "\n")
    consumer.close()


def _messages(consumer: Consumer, topic: str, partition: int) -> list[dict[str, Any]]:
    first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
    consumer.assign([TopicPartition(topic, partition, first)])
    messages: list[dict[str, Any]] = []
    while len(messages) < end - first:
        for message in consumer.consume(end - first, timeout=10):
            assert message.error() is None, message.error()
            assert message.headers() is None
            key, value = message.key(), message.value()
            assert key is not None
            assert value is not None
            place = {"topic": topic, "partition": partition, "offset": message.offset()}
            content = {"timestamp": message.timestamp()[1], "key": key.decode(), "value": value.decode()}
            messages.append({**place, **content})
    return messages


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
