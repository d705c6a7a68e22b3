"""Database, topics and models volume that the code of commit 4872779 left start under the code of today.

`python -m tests.upgrade.make_fixture` made them. Only the customer of `ASKING` gets new lists here, so each test finds
the lists of the other customers as the old code left them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from script.local.service_processes import ServiceEnvironment, Services
from shared.artifacts.format import FORMAT_VERSION, MANIFEST_FILE
from tests.e2e.system import System, change_data, run_python, wait_until
from tests.upgrade.restore import (
    FIXTURE,
    LIST_HEADERS,
    PARTITIONS,
    count_rows,
    load_expected,
    restore_database,
    restore_topics,
)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

EXPECTED = load_expected()
OLD_LISTS: dict[str, dict[str, Any]] = EXPECTED["lists"]
OLD_MODELS = {model["version"]: model for model in EXPECTED["models"]["models"]}
OLD_ROWS: dict[str, int] = EXPECTED["rows"]
ROWS_AFTER_UNREAD = {**OLD_ROWS, "user_interactions": OLD_ROWS["user_interactions"] + 1}
ASKING: dict[str, str] = EXPECTED["asking"]
SETTINGS = {
    "TOPIC_PARTITIONS": str(PARTITIONS),
    "CANDIDATE_ALGORITHMS": "ease_next_purchase",
    "MODEL_POLL_SECONDS": "0.5",
    # Nothing but a request starts a training, although the last one of the old code may be weeks ago.
    "RETRAIN_AFTER_SECONDS": "1e9",
}


@pytest.fixture(scope="module")
def system(
    kafka_bootstrap_servers: str,
    module_empty_database_url: str,
    module_topic_prefix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """The services of today, after the migrations, on what the old code left; the unread messages are handled."""
    folder = tmp_path_factory.mktemp("upgrade")
    restore_database(module_empty_database_url, bootstrap_servers=kafka_bootstrap_servers)
    restore_topics(kafka_bootstrap_servers, prefix=module_topic_prefix)
    shutil.copytree(FIXTURE / "models", folder / "models")
    environment = ServiceEnvironment(
        kafka_bootstrap_servers, module_empty_database_url, folder / "models", module_topic_prefix, SETTINGS
    )
    run_python("-m", "shared.migrations", environment=environment.variables())
    services = Services(environment, folder=folder / "logs")
    try:
        services.start()
        services.wait(services["api"].answers, what="ready", blame="api")
        services.wait(services["worker"].answers, what="ready", blame="worker", seconds=60)
        system = System(environment, services)
        answered = "SELECT 1 FROM decisions WHERE request_id = %s"
        services.wait(
            lambda: system.query(answered, ASKING["unread_request"]) != [], what="the unread request", blame="worker"
        )
        yield system
    finally:
        services.stop()


def test_every_list_of_the_old_code_is_served_unchanged(system: System) -> None:
    assert fetch_old_lists(system) == OLD_LISTS


def test_a_message_is_handled_once_whether_the_old_code_had_read_it_or_not(system: System) -> None:
    last = "SELECT event_id::text FROM user_interactions ORDER BY sequence DESC LIMIT 1"
    wait_until(lambda: system.query(last) == [(ASKING["unread_click"],)], seconds=10, what="the unread interaction")

    assert count_rows(system, without=ASKING["customer_id"]) == ROWS_AFTER_UNREAD


def test_the_old_model_answers_unless_its_format_is_older_then_a_new_one_is_trained_at_once(system: System) -> None:
    answered = "SELECT model_version FROM decisions WHERE request_id = %s"
    [(version,)] = system.query(answered, ASKING["unread_request"])

    assert (version == EXPECTED["models"]["active"]) == is_old_model_servable()
    assert (version in OLD_MODELS) == is_old_model_servable()


def test_the_models_of_the_old_code_keep_their_description(system: System) -> None:
    models = fetch_models(system)

    changing = {"active", "sequence"}  # they follow what is served now
    for version, old in OLD_MODELS.items():
        kept = old.keys() - changing
        assert {name: models[version][name] for name in kept} == {name: old[name] for name in kept}


def test_a_new_request_gets_a_new_list_without_what_was_dismissed_under_the_old_code(system: System) -> None:
    with system.client() as api:
        served = api.ask(ASKING["customer_id"], "refresh_recs")

    assert served.request_id != ASKING["unread_request"]
    assert served.items
    assert ASKING["dismissed_isin"] not in {item["isin"] for item in served.items}


def test_a_requested_training_is_swapped_in_and_the_rows_of_the_old_code_stay(system: System) -> None:
    with system.client() as api, system.http() as http:
        before = api.ask(ASKING["customer_id"], "refresh_recs").model_version
        change_data(system, ASKING["customer_id"])
        http.post("/models/retrain", headers={"X-Requested-With": "tests"}).raise_for_status()

        def is_swapped() -> bool:
            return api.ask(ASKING["customer_id"], "refresh_recs").model_version != before

        wait_until(is_swapped, seconds=60, what="the worker serves the new model")
        after = api.ask(ASKING["customer_id"], "refresh_recs").model_version

    models = fetch_models(system)
    assert (models[str(after)]["active"], models[str(after)]["status"]) == (True, "promoted")
    # The old code had obeyed a request, too: it starts no training again.
    assert len(models.keys() - OLD_MODELS.keys()) == (1 if is_old_model_servable() else 2)
    assert fetch_old_lists(system) == OLD_LISTS
    # The trainer has read its partitions by now. If it read them from the start, there would be more dead letters.
    with_the_click = {**ROWS_AFTER_UNREAD, "user_interactions": ROWS_AFTER_UNREAD["user_interactions"] + 1}
    assert count_rows(system, without=ASKING["customer_id"]) == with_the_click


def is_old_model_servable() -> bool:
    manifest = FIXTURE / "models" / "versions" / EXPECTED["models"]["active"] / MANIFEST_FILE
    return bool(json.loads(manifest.read_text())["format_version"] == FORMAT_VERSION)


def fetch_models(system: System) -> dict[str, dict[str, Any]]:
    with system.client() as api:
        return {model["version"]: model for model in api.fetch("/models")["models"]}


def fetch_old_lists(system: System) -> dict[str, dict[str, Any]]:
    with system.http() as http:
        answers = {customer: http.get(f"/recommendations/{customer}").raise_for_status() for customer in OLD_LISTS}
    return {
        customer: {"headers": {name: answer.headers[name] for name in LIST_HEADERS}, "body": answer.json()}
        for customer, answer in answers.items()
    }
