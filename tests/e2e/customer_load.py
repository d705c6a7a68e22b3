"""Customers who call the gateway without end while a test does something to the services."""

from __future__ import annotations

import threading
from collections import Counter

import httpx

from tests.e2e.system import System, wait_until


class CustomerLoad:
    """Customers who ask, read their list and, with an `isin`, click on it; remembers what they were told.

    A request counts for the `phase` in which it was made.
    """

    def __init__(self, system: System, *, customers: int = 4, isin: str | None = None) -> None:
        self.phase = "warm-up"
        self.requests: dict[str, str] = {}  # the acknowledged ones, with their phase
        self.clicks: list[str] = []  # the acknowledged ones
        self.statuses: Counter[int | str] = Counter()
        self.versions: set[str] = set()  # of the models whose lists were read
        self._system, self._isin = system, isin
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in system.customers(customers)]

    def __enter__(self) -> CustomerLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_requests(self, count: int) -> None:
        """Return once so many more requests were acknowledged."""
        wanted = len(self.requests) + count
        wait_until(lambda: len(self.requests) >= wanted, seconds=30, what=f"{count} more requests")

    def answers(self) -> dict[str, tuple[str, float]]:
        """Wait until every request is decided; return model version and seconds from acceptance, by request."""
        assert set(self.statuses) == {200}, self.statuses
        ids = list(self.requests)
        wait_until(lambda: len(decided(self._system, ids)) == len(ids), seconds=60, what="all are answered")
        return decided(self._system, ids)

    def seconds(self, phase: str, answers: dict[str, tuple[str, float]]) -> list[float]:
        """Return how long the requests of one phase took."""
        return [answers[request][1] for request, asked in self.requests.items() if asked == phase]

    def _run(self, customer: str) -> None:
        with self._system.http() as http:
            while not self._over.wait(0.02):
                try:
                    self._call(http, customer)
                except httpx.HTTPError as error:
                    self.statuses[repr(error)] += 1

    def _call(self, http: httpx.Client, customer: str) -> None:
        phase = self.phase
        asked = http.post("/recommendations", json={"customer_id": customer, "action": "refresh_recs"})
        if asked.status_code == httpx.codes.OK:
            self.requests[asked.headers["X-Request-ID"]] = phase
        read = http.get(f"/recommendations/{customer}")
        if "X-Model-Version" in read.headers:
            self.versions.add(read.headers["X-Model-Version"])
        self.statuses.update((asked.status_code, read.status_code))
        if self._isin is not None:
            body = {"customer_id": customer, "isin": self._isin, "type": "click"}
            clicked = http.post("/user_interactions", json=body)
            self.statuses[clicked.status_code] += 1
            if clicked.status_code == httpx.codes.OK:
                self.clicks.append(clicked.headers["X-Request-ID"])


def decided(system: System, requests: list[str]) -> dict[str, tuple[str, float]]:
    """Return model version and seconds from acceptance of the requests that are decided."""
    rows = system.query(
        "SELECT request_id::text, model_version, extract(epoch FROM decided_at - requested_at)::float8"
        " FROM decisions WHERE request_id = ANY(%s::uuid[])",
        requests,
    )
    return {request: (version, seconds) for request, version, seconds in rows}
