"""The public API as a client sees it: ask for a list and wait for it, click, read the catalogue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast
from uuid import uuid4

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_incrementing

_PAGE_SIZE = 500


class ApiFailed(Exception):
    """The API did not do what was asked; the message says what it answered."""


class ApiUnavailable(ApiFailed):
    """Nobody answers there, or the answer says to try again later."""


class ListNotReady(ApiFailed):
    """The request was accepted, but its list did not appear in time."""


class ApiRefused(ApiFailed):
    """The API refused the request for good."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


_again_while_unavailable = retry(
    retry=retry_if_exception_type(ApiUnavailable),
    stop=stop_after_attempt(4),
    wait=wait_incrementing(0.5, 0.5),
    reraise=True,
)


@dataclass(frozen=True)
class ServedList:
    """One answer of GET /recommendations/{customer_id}."""

    request_id: str | None
    model_version: str | None
    basis: str | None
    items: tuple[dict[str, Any], ...]

    def share_of(self, sector: str) -> float:
        """Return the fraction of the names that belong to this sector; 0 for an empty list."""
        if not self.items:
            return 0.0
        return [item["sector"] for item in self.items].count(sector) / len(self.items)


class ApiClient:
    """A connection to one gateway; every call is bounded and raises ApiFailed when it did not work."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            host = httpx.URL(self.url).host
            # Proxies that the environment names must not see requests to this very machine.
            by_proxy = not (host in {"localhost", "::1"} or host.startswith("127."))
            self._http = httpx.Client(base_url=self.url, timeout=15.0, transport=transport, trust_env=by_proxy)
        except httpx.InvalidURL as error:
            raise ApiUnavailable(f"{url} is not a URL: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, customer_id: str, action: str, *, wait_seconds: float = 30.0) -> ServedList:
        """Request a list and return it once it is there; raises ListNotReady after `wait_seconds`."""
        request_id = self.request(customer_id, action)
        return self.wait_for_list(customer_id, request_id, wait_seconds=wait_seconds)

    def request(self, customer_id: str, action: str) -> str:
        """POST /recommendations; return the id of the request."""
        answer = self._post("/recommendations", {"customer_id": customer_id, "action": action})
        return answer.headers["X-Request-ID"]

    def wait_for_list(self, customer_id: str, request_id: str, *, wait_seconds: float = 30.0) -> ServedList:
        """Return the list that was made for this request; raises ListNotReady after `wait_seconds`."""
        deadline = time.monotonic() + wait_seconds
        while True:
            served = self.fetch_list(customer_id)
            if served.request_id == request_id:
                return served
            if time.monotonic() > deadline:
                raise ListNotReady(
                    f"request {request_id} was accepted, but its list did not appear within {wait_seconds:.0f} s; "
                    f"the newest one is of request {served.request_id}"
                )
            time.sleep(0.05)

    def fetch_list(self, customer_id: str) -> ServedList:
        """Return the newest list; an empty one for a customer who has none yet, known or not."""
        try:
            answer = self._send("GET", f"/recommendations/{customer_id}")
        except ApiRefused as refused:
            if refused.status != httpx.codes.NOT_FOUND:
                raise
            return ServedList(None, None, None, ())
        get, items = answer.headers.get, tuple(answer.json()["recommendations"])
        return ServedList(get("X-Request-ID"), get("X-Model-Version"), get("X-Recommendation-Basis"), items)

    def record_interaction(self, customer_id: str, isin: str, interaction_type: str = "click") -> None:
        """POST /user_interactions; counts once, however often it has to be sent."""
        body = {"customer_id": customer_id, "isin": isin, "type": interaction_type}
        self._post("/user_interactions", body)

    def fetch(self, path: str, **query: str) -> dict[str, Any]:
        """Return the body of a GET."""
        return cast(dict[str, Any], self._send("GET", path, params=query).json())

    def fetch_assets(self, **query: str) -> list[dict[str, Any]]:
        """Return every asset that matches, whatever number the gateway answers at once."""
        assets: list[dict[str, Any]] = []
        while True:
            page = self.fetch("/assets", **query, limit=str(_PAGE_SIZE), offset=str(len(assets)))
            assets += page["assets"]
            if not page["assets"] or len(assets) >= page["total"]:
                return assets

    def _post(self, path: str, body: Mapping[str, str]) -> httpx.Response:
        # With a key of its own a repeated POST has one effect, also when the first answer was lost.
        headers = {"Idempotency-Key": str(uuid4())}
        return _again_while_unavailable(self._send)("POST", path, json=dict(body), headers=headers)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.InvalidURL as error:
            raise ApiUnavailable(f"{self.url} is not a URL: {error}") from error
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"{method} {self.url}{path}: {error or type(error).__name__}") from error
        if not answer.is_success:
            raise _refusal(answer)
        return answer


def _refusal(answer: httpx.Response) -> ApiFailed:
    try:
        problem = answer.json()
        faults = [f"{fault['field']}: {fault['message']}" for fault in problem.get("errors") or []]
        detail = "; ".join(faults) or problem["detail"]
    except (ValueError, LookupError, TypeError, AttributeError):
        detail = answer.text[:200]
    message = f"{answer.request.method} {answer.request.url}: {answer.status_code} {detail}"
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return ApiUnavailable(message)
    return ApiRefused(message, status=answer.status_code)
