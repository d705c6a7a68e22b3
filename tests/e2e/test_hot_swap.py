"""Enough clicks make a new model, and the running worker serves it; nobody notices but for better lists."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from script.api_client import ApiClient
from tests.e2e.system import CUSTOMER_ID, System, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

RETRAIN_AFTER = 50


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return {"RETRAIN_AFTER_INTERACTIONS": str(RETRAIN_AFTER), "MODEL_POLL_SECONDS": "0.5"}


@pytest.fixture
def api(system: System) -> Iterator[ApiClient]:
    with system.client() as client:
        yield client


class Crowd:
    """Clients that ask and read all the time, and remember every status and every model that they saw."""

    def __init__(self, url: str, customers: list[str]) -> None:
        self.statuses: Counter[int | str] = Counter()
        self.versions: set[str] = set()
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(customer,)) for customer in customers]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, customer: str) -> None:
        with httpx.Client(base_url=self._url, timeout=20.0, trust_env=False) as http:
            while not self._over.wait(0.02):
                try:
                    body = {"customer_id": customer, "action": "refresh_recs"}
                    answers = [http.post("/recommendations", json=body), http.get(f"/recommendations/{customer}")]
                except httpx.HTTPError as error:
                    self.statuses[repr(error)] += 1
                    continue
                self.statuses.update(answer.status_code for answer in answers)
                if "X-Model-Version" in answers[1].headers:
                    self.versions.add(answers[1].headers["X-Model-Version"])


def test_fifty_clicks_bring_a_new_model_into_the_running_worker_and_a_rollback_the_old_one(
    system: System, api: ApiClient
) -> None:
    first = served_version(api)
    worker_pid = system.services["worker"].pid
    with Crowd(system.url, system.customers(4)) as crowd:
        click(api, times=RETRAIN_AFTER)
        wait_until(lambda: served_version(api) != first, seconds=90, what="another model is served")
        second = served_version(api)
        assert api.fetch("/models")["active"] == second

        answer = httpx.post(
            f"{system.url}/models/{first}/activate", headers={"X-Requested-With": "tests"}, trust_env=False
        )
        assert answer.status_code in {200, 202}, answer.text
        wait_until(lambda: served_version(api) == first, seconds=30, what="the old model is served again")

    assert set(crowd.statuses) == {200}, crowd.statuses
    assert crowd.statuses[200] > 100
    assert {first, second} <= crowd.versions
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
    before = {model["version"] for model in api.fetch("/models")["models"]}

    click(api, times=RETRAIN_AFTER // 2)

    time.sleep(4)  # a training of this size starts within one second and shows at once
    assert {model["version"] for model in api.fetch("/models")["models"]} == before


def click(api: ApiClient, *, times: int) -> None:
    isins = [asset["isin"] for asset in api.fetch_assets(sector="Technology")]
    for number in range(times):
        api.record_interaction(CUSTOMER_ID, isins[number % len(isins)])


def served_version(api: ApiClient) -> str:
    version = api.ask(CUSTOMER_ID, "refresh_recs").model_version
    assert version is not None
    return version
