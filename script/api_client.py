"""The API through `far_trans_client`, with answers as the JSON that they are: for checks of keys and values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

from far_trans_client import Client, InteractionType, NotFound, RecommendationList
from far_trans_client.answers import Action
from far_trans_client.decoding import parse_json
from far_trans_client.exchanges import call
from far_trans_client.messages import Operation


@dataclass(frozen=True)
class ServedList:
    """A list whose assets are JSON objects."""

    request_id: str | None
    model_version: str | None
    basis: str | None
    items: tuple[dict[str, Any], ...]


class ApiClient:
    """A connection to one gateway; raises the errors of `far_trans_client`."""

    def __init__(self, url: str) -> None:
        self.client = Client(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, customer_id: str, action: Action, *, wait_seconds: float = 30.0) -> ServedList:
        """Request a list and return it once it is there; raises ListNotReady after `wait_seconds`."""
        return self.wait_for_list(customer_id, self.request(customer_id, action), wait_seconds=wait_seconds)

    def request(self, customer_id: str, action: Action) -> str:
        """Request a list; return the id of the request."""
        return str(self.client.request_recommendations(customer_id, action))

    def wait_for_list(self, customer_id: str, request_id: str, *, wait_seconds: float = 30.0) -> ServedList:
        """Return the list of this request, or a later one; raises ListNotReady after `wait_seconds`."""
        return _as_json(self.client.wait_for_list(customer_id, request_id, timeout_seconds=wait_seconds))

    def fetch_list(self, customer_id: str) -> ServedList:
        """Return the newest list; an empty one for a customer who has none yet, known or not."""
        try:
            return _as_json(self.client.recommendations(customer_id))
        except NotFound:
            return ServedList(None, None, None, ())

    def record_interaction(self, customer_id: str, isin: str, interaction_type: str = "click") -> None:
        """Record an interaction; it counts once, however often it has to be sent."""
        self.client.record_interaction(customer_id, isin, cast(InteractionType, interaction_type))

    def fetch(self, path: str) -> dict[str, Any]:
        """Return the body of a GET, with every key that it has."""
        operation = Operation("GET", path, lambda answer: cast(dict[str, Any], parse_json(answer.content)))
        return self.client.carry_out(call(operation, self.client.limits))

    def fetch_assets(self, *, sector: str | None = None) -> list[dict[str, Any]]:
        """Return every asset that matches."""
        return [asdict(asset) for asset in self.client.assets(sector=sector)]


def _as_json(newest: RecommendationList) -> ServedList:
    request_id = None if newest.request_id is None else str(newest.request_id)
    items = tuple(json.loads(json.dumps(asdict(item), default=str)) for item in newest.recommendations)
    return ServedList(request_id, newest.model_version, newest.basis, items)
