"""Enough clicks make a new model, and the running worker serves it; nobody notices but for better lists."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from script.api_client import ApiClient
from tests.e2e.customer_load import CustomerLoad
from tests.e2e.system import CUSTOMER_ID, System, metric, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

RETRAIN_AFTER = 50


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return {"RETRAIN_AFTER_INTERACTIONS": str(RETRAIN_AFTER), "MODEL_POLL_SECONDS": "0.5"}


@pytest.fixture
def api(system: System) -> Iterator[ApiClient]:
    with system.client() as client:
        yield client


def test_fifty_clicks_bring_a_new_model_into_the_running_worker_and_a_rollback_the_old_one(
    system: System, api: ApiClient
) -> None:
    first = served_version(api)
    worker_pid = system.services["worker"].pid
    with CustomerLoad(system) as load:
        click(api, times=RETRAIN_AFTER)
        wait_until(lambda: served_version(api) != first, seconds=90, what="another model is served")
        second = served_version(api)
        assert api.fetch("/models")["active"] == second

        answer = httpx.post(
            f"{system.url}/models/{first}/activate", headers={"X-Requested-With": "tests"}, trust_env=False
        )
        assert answer.status_code in {200, 202}, answer.text
        wait_until(lambda: served_version(api) == first, seconds=30, what="the old model is served again")

    assert set(load.statuses) == {200}, load.statuses
    assert load.statuses[200] > 100
    assert {first, second} <= load.versions
    assert system.services["worker"].pid == worker_pid
    assert_described(api, first, second)


def assert_described(api: ApiClient, first: str, second: str) -> None:
    """GET /models knows both, with their metrics, and that the first one is served."""
    answer = api.fetch("/models")
    models = {model["version"]: model for model in answer["models"]}
    assert answer["active"] == first
    assert [models[version]["active"] for version in (first, second)] == [True, False]
    for version in (first, second):
        assert models[version]["status"] == "promoted"
        assert models[version]["metrics"]["ndcg_at_10"] > 0
    assert models[first]["sequence"] > models[second]["sequence"]


def test_fewer_clicks_than_that_make_no_model(system: System, api: ApiClient) -> None:
    wait_until(lambda: metric(system, "trainer_training_now") == 0, seconds=60, what="no training is under way")
    before = {model["version"] for model in api.fetch("/models")["models"]}
    counted = metric(system, "trainer_interactions_since_last")
    assert counted + RETRAIN_AFTER // 2 + 1 < RETRAIN_AFTER

    for times in (RETRAIN_AFTER // 2, 1):  # once the trainer has counted the last one, it has decided about the others
        click(api, times=times)
        counted += times
        wait_for_count(system, counted)

    assert {model["version"] for model in api.fetch("/models")["models"]} == before
    assert metric(system, "trainer_training_now") == 0


def wait_for_count(system: System, interactions: float) -> None:
    """Return once the trainer has counted so many interactions since its last training."""
    wait_until(
        lambda: metric(system, "trainer_interactions_since_last") == interactions,
        seconds=30,
        what=f"the trainer counts {interactions:.0f} interactions",
    )


def click(api: ApiClient, *, times: int) -> None:
    isins = [asset["isin"] for asset in api.fetch_assets(sector="Technology")]
    for number in range(times):
        api.record_interaction(CUSTOMER_ID, isins[number % len(isins)])


def served_version(api: ApiClient) -> str:
    version = api.ask(CUSTOMER_ID, "refresh_recs").model_version
    assert version is not None
    return version
