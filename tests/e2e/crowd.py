"""Customers who ask without end, and what the running worker says of itself meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from urllib.request import urlopen

import httpx

from tests.e2e.system import System, wait_until

CLIENTS = 4


def worker_metric(system: System, name: str, **labels: str) -> float:
    """Return one metric of the running worker, 0 when there is no such sample."""
    with urlopen(system.services["worker"].url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    for line in lines:
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == f"recommender_worker_{name}" and all(label in sample for label in wanted):
            return float(value)
    return 0.0


class Crowd:
    """Customers who ask all the time; remembers each answer, and in which phase it was asked for."""

    def __init__(self, system: System) -> None:
        self.phase = "warm-up"
        self.requests: dict[str, str] = {}
        self.statuses: Counter[int | str] = Counter()
        self._system = system
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in system.customers(CLIENTS)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def answers(self) -> dict[str, tuple[str, float]]:
        """Wait until every request is decided; return model version and seconds from acceptance, by request."""
        assert set(self.statuses) == {200}, self.statuses
        ids = list(self.requests)
        wait_until(lambda: len(decided(self._system, ids)) == len(ids), seconds=60, what="all are answered")
        return decided(self._system, ids)

    def seconds(self, phase: str, answers: dict[str, tuple[str, float]]) -> list[float]:
        """Return how long the requests of one phase took."""
        return [answers[request][1] for request, asked in self.requests.items() if asked == phase]

    def _ask(self, customer: str) -> None:
        body = {"customer_id": customer, "action": "refresh_recs"}
        with self._system.http() as http:
            while not self._over.wait(0.02):
                phase = self.phase
                try:
                    answers = [http.post("/recommendations", json=body), http.get(f"/recommendations/{customer}")]
                except httpx.HTTPError as error:
                    self.statuses[repr(error)] += 1
                    continue
                self.statuses.update(answer.status_code for answer in answers)
                self.requests[answers[0].headers["X-Request-ID"]] = phase


def decided(system: System, requests: list[str]) -> dict[str, tuple[str, float]]:
    rows = system.query(
        "SELECT request_id::text, model_version, extract(epoch FROM decided_at - requested_at)::float8"
        " FROM decisions WHERE request_id = ANY(%s::uuid[])",
        requests,
    )
    return {request: (version, seconds) for request, version, seconds in rows}
