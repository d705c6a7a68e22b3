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

from script.local.service_processes import Services, Surroundings
from shared.artifacts.format import FORMAT_VERSION, MANIFEST_FILE
from tests.e2e.system import System, run_python, wait_until
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
    surroundings = Surroundings(
        kafka_bootstrap_servers, module_empty_database_url, folder / "models", module_topic_prefix, SETTINGS
    )
    run_python("-m", "shared.migrations", environment=surroundings.environment())
    services = Services(surroundings, folder=folder / "logs")
    try:
        services.start()
        services.wait(services["api"].answers, what="ready", blame="api")
        services.wait(services["worker"].answers, what="ready", blame="worker", seconds=60)
        system = System(surroundings, services)
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
    old = EXPECTED["models"]["active"]
    manifest = json.loads((FIXTURE / "models" / "versions" / old / MANIFEST_FILE).read_text())
    [(version, trigger)] = system.query(
        "SELECT version, triggered_by FROM decisions JOIN model_versions ON version = model_version"
        " WHERE request_id = %s",
        ASKING["unread_request"],
    )

    if manifest["format_version"] == FORMAT_VERSION:
        assert version == old
    else:
        assert version not in {model["version"] for model in EXPECTED["models"]["models"]}
        assert trigger == "no model yet"


def test_the_models_of_the_old_code_keep_their_description(system: System) -> None:
    with system.client() as api:
        models = {model["version"]: model for model in api.fetch("/models")["models"]}

    for old in EXPECTED["models"]["models"]:
        changing = {"active", "sequence"}  # they follow what is served now
        assert {name: models[old["version"]][name] for name in old.keys() - changing} == {
            name: value for name, value in old.items() if name not in changing
        }


def test_a_new_request_gets_a_new_list_without_what_was_dismissed_under_the_old_code(system: System) -> None:
    with system.client() as api:
        served = api.ask(ASKING["customer_id"], "refresh_recs")

    assert served.request_id != ASKING["unread_request"]
    assert served.items
    assert ASKING["dismissed_isin"] not in {item["isin"] for item in served.items}


def test_a_requested_training_is_swapped_in_and_the_rows_of_the_old_code_stay(system: System) -> None:
    with system.client() as api, system.http() as http:
        before = api.ask(ASKING["customer_id"], "refresh_recs").model_version
        posted = http.post("/models/retrain", headers={"X-Requested-With": "tests"}).raise_for_status()

        def is_swapped() -> bool:
            return api.ask(ASKING["customer_id"], "refresh_recs").model_version != before

        wait_until(is_swapped, seconds=60, what="the worker serves the new model")
        after = api.ask(ASKING["customer_id"], "refresh_recs").model_version

    trained = "SELECT version, status, triggered_by FROM model_versions WHERE active"
    assert system.query(trained) == [(after, "promoted", f"request {posted.headers['X-Request-ID']}: requested")]
    requested = "SELECT count(*) FROM model_versions WHERE triggered_by LIKE 'request %%'"
    assert system.query(requested) == [(2,)]  # one by the old code, one by this test
    assert fetch_old_lists(system) == OLD_LISTS
    # The trainer has read its partitions by now. If it read them from the start, there would be more dead letters.
    assert count_rows(system, without=ASKING["customer_id"]) == ROWS_AFTER_UNREAD


def fetch_old_lists(system: System) -> dict[str, dict[str, Any]]:
    with system.http() as http:
        answers = {customer: http.get(f"/recommendations/{customer}").raise_for_status() for customer in OLD_LISTS}
    return {
        customer: {"headers": {name: answer.headers[name] for name in LIST_HEADERS}, "body": answer.json()}
        for customer, answer in answers.items()
    }
