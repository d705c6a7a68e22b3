"""Golden answers of the three calls that clients already have: every byte, so keys and their order too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from api.app import create_app
from api.gateway import Gateway
from api.ports import ListRow
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, build_asset
from tests.public_items import ITEM_KEYS

FOLDER = Path(__file__).parent / "responses"
CUSTOMER = "85583A768E48870A546D"


def golden(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes().rstrip(b"\n")


@pytest.fixture
def client() -> Iterator[AsgiClient]:
    """A gateway whose database holds the golden list as JSONB keeps it: with the keys in another order."""
    items = json.loads(golden("get_recommendations"))["recommendations"]
    stored = json.dumps([dict(sorted(item.items(), key=lambda pair: (len(pair[0]), pair[0]))) for item in items])
    assert list(json.loads(stored)[0]) != ITEM_KEYS
    newest = ListRow(UUID("0b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11"), "20260102T030405Z-1a2b3c4d", "history", stored)
    asset = build_asset("GRS434003000", "PPC", "Stock", None, None, None, None, None)
    reader = FakeReader(lists={CUSTOMER: newest}, assets=[asset])
    with AsgiClient(create_app(Gateway(FakePublisher(), reader))) as client:
        yield client


def test_post_recommendations(client: AsgiClient) -> None:
    answer = client.post("/recommendations", json={"customer_id": CUSTOMER, "action": "request_recs"})
    assert (answer.status_code, answer.content) == (200, golden("post_recommendations"))
    assert answer.headers["content-type"] == "application/json"
    assert UUID(answer.headers["X-Request-ID"])


def test_get_recommendations(client: AsgiClient) -> None:
    answer = client.get(f"/recommendations/{CUSTOMER}")
    assert (answer.status_code, answer.content) == (200, golden("get_recommendations"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["X-Request-ID"] == "0b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11"
    assert answer.headers["X-Model-Version"] == "20260102T030405Z-1a2b3c4d"
    assert answer.headers["X-Recommendation-Basis"] == "history"


def test_the_golden_list_has_the_keys_of_the_contract_in_its_order() -> None:
    answer = json.loads(golden("get_recommendations"))
    assert list(answer) == ["status", "recommendations"]
    for item in answer["recommendations"]:
        assert list(item) == ITEM_KEYS
        assert list(item["components"]) == ["collaborative", "content", "profitability"]


def test_post_user_interactions(client: AsgiClient) -> None:
    body = {"customer_id": CUSTOMER, "isin": "GRS434003000", "type": "click"}
    answer = client.post("/user_interactions", json=body)
    assert (answer.status_code, answer.content) == (200, golden("post_user_interactions"))
    assert answer.headers["content-type"] == "application/json"
    assert UUID(answer.headers["X-Request-ID"])
