"""Looking at assets and models, and steering which model is served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.app import create_app
from api.gateway import Gateway
from api.schemas.models import ComponentWeights, Frontier, FrontierPoint, ModelItem
from shared.events import Event, ModelActivated, ModelPinned, ModelUnpinned, RetrainCancelled, RetrainRequested
from shared.served_list import rounded_or_none
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down, build_asset

# Without a body; no web page can send it unasked.
COMMAND = {"X-Requested-With": "tests"}
ASSET_KEYS = [
    "isin",
    "assetname",
    "assetcategory",
    "assetsubcategory",
    "sector",
    "industry",
    "current_price",
    "profitability",
    "price_date",
    "currency",
    "trailing_return_12m",
]
MODEL_KEYS = [
    "version",
    "status",
    "active",
    "sequence",
    "algorithm",
    "metrics",
    "champion_metrics",
    "reason",
    "progress",
    "watermark",
    "started_at",
    "finished_at",
    "activated_at",
    "servable",
    "pinned",
]


def model_row(version: str, *, day: int = 1, **changes: Any) -> ModelItem:
    started_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    values: dict[str, Any] = {**dict.fromkeys(MODEL_KEYS), "active": False, "pinned": False}
    return ModelItem(
        **{
            **values,
            "version": version,
            "status": "promoted",
            "started_at": started_at,
            **changes,
        }
    )


def test_assets_are_listed_with_their_total(client: AsgiClient) -> None:
    answer = client.get("/assets")
    assert list(answer.json()) == ["status", "total", "assets"]
    assert answer.json()["total"] == 1
    assert list(answer.json()["assets"][0]) == ASSET_KEYS


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sector=Technology", ["A", "GRS434003000"]),
        ("category=Bond", ["B"]),
        ("sector=Technology&category=Stock", ["A", "GRS434003000"]),
        ("sector=&category=", ["A", "B", "GRS434003000"]),
        ("sector=Nothing", []),
        ("limit=1&offset=1", ["B"]),
    ],
)
def test_assets_are_filtered_and_paged(client: AsgiClient, reader: FakeReader, query: str, expected: list[str]) -> None:
    reader.assets += [
        build_asset("A", "A", "Stock", None, "Technology", None, None, None),
        build_asset("B", "B", "Bond", None, None, None, None, None),
    ]
    reader.reference_version = "loaded again"
    client.run(client.app.state.gateway.catalogue.refresh)
    assert [asset["isin"] for asset in client.get(f"/assets?{query}").json()["assets"]] == expected


def test_prices_are_rounded_like_those_of_lists(client: AsgiClient, reader: FakeReader) -> None:
    reader.assets = [
        build_asset("A", "A", "Stock", None, None, None, 0.7231999999999998, -0.00000001),
        build_asset("B", "B", "Stock", None, None, None, float("nan"), None),
    ]
    reader.reference_version = "loaded again"
    client.run(client.app.state.gateway.catalogue.refresh)
    assets = client.get("/assets").json()["assets"]
    assert [(one["current_price"], one["profitability"]) for one in assets] == [(0.7232, 0.0), (None, None)]
    assert assets[0]["current_price"] == rounded_or_none(0.7231999999999998)
    assert b"-0.0" not in client.get("/assets").content


def test_models_are_listed_newest_first_with_the_active_one(client: AsgiClient, reader: FakeReader) -> None:
    reader.models += [
        model_row("v1", day=1, active=True, metrics={"ndcg_at_10": 0.4}),
        model_row("v2", day=2, status="stored", reason="worse"),
    ]
    answer = client.get("/models").json()
    assert (answer["status"], answer["active"]) == ("ok", "v1")
    assert [model["version"] for model in answer["models"]] == ["v2", "v1"]
    assert list(answer["models"][0]) == MODEL_KEYS
    assert answer["models"][1]["metrics"] == {"ndcg_at_10": 0.4}
    assert [model["version"] for model in client.get("/models?limit=1").json()["models"]] == ["v2"]


@pytest.mark.parametrize(("body", "reason"), [(None, "requested"), ({}, "requested"), ({"reason": "new"}, "new")])
def test_a_retraining_can_be_asked_for(
    client: AsgiClient, publisher: FakePublisher, body: dict[str, str] | None, reason: str
) -> None:
    answer = (
        client.post("/models/retrain", json=body)
        if body is not None
        else client.post("/models/retrain", headers=COMMAND)
    )
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert (published.topic, published.key) == ("models.commands.v1", "hybrid")
    assert isinstance(published.event, RetrainRequested)
    assert published.event.reason == reason
    assert answer.headers["X-Request-ID"] == str(published.event.event_id)


def test_a_retraining_can_be_cancelled(client: AsgiClient, publisher: FakePublisher) -> None:
    answer = client.request("DELETE", "/models/retrain")

    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert (published.topic, published.key) == ("models.commands.v1", "hybrid")
    assert isinstance(published.event, RetrainCancelled)
    assert answer.headers["X-Request-ID"] == str(published.event.event_id)


def test_a_cancellation_with_a_key_has_one_effect_and_is_none_of_the_request_with_that_key(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    headers = {"Idempotency-Key": "k"}
    client.request("POST", "/models/retrain", json={}, headers=headers)
    first = client.request("DELETE", "/models/retrain", headers=headers)
    again = client.request("DELETE", "/models/retrain", headers=headers)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["X-Request-ID"] == again.headers["X-Request-ID"]
    assert [type(one.event) for one in publisher.published] == [RetrainRequested, RetrainCancelled]


@pytest.mark.parametrize("status", ["stored", "promoted"])
def test_a_trained_version_can_be_activated(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader, status: str
) -> None:
    reader.models.append(model_row("v1", status=status))
    answer = client.post("/models/v1/activate", headers=COMMAND)
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert isinstance(published.event, ModelActivated)
    assert (published.key, published.event.version) == ("hybrid", "v1")


@pytest.mark.parametrize(("command", "event_type"), [("pin", ModelPinned), ("unpin", ModelUnpinned)])
def test_a_trained_version_can_be_pinned_and_unpinned(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader, command: str, event_type: type[Event]
) -> None:
    reader.models.append(model_row("v1", pinned=True))
    answer = client.post(f"/models/v1/{command}", headers=COMMAND)

    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert (published.topic, published.key) == ("models.commands.v1", "hybrid")
    assert type(published.event) is event_type
    assert published.event.model_dump()["version"] == "v1"
    assert answer.headers["X-Request-ID"] == str(published.event.event_id)
    assert client.get("/models").json()["models"][0]["pinned"] is True


@pytest.mark.parametrize("command", ["pin", "unpin"])
@pytest.mark.parametrize("version", ["never-made", "..", "%2e%2e%2fetc", "a b", "x" * 65])
def test_a_pin_of_what_was_never_trained_publishes_nothing(
    client: AsgiClient, publisher: FakePublisher, command: str, version: str
) -> None:
    assert client.post(f"/models/{version}/{command}", headers=COMMAND).status_code in {404, 422}
    assert publisher.published == []


@pytest.mark.parametrize("command", ["pin", "unpin"])
def test_a_pin_without_a_json_type_or_the_header_of_a_command_is_415(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader, command: str
) -> None:
    reader.models.append(model_row("v1"))
    assert client.post(f"/models/v1/{command}").status_code == 415
    assert publisher.published == []


def test_a_pin_of_a_version_that_is_gone_is_409_and_the_end_of_its_pin_is_accepted(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    reader.models.append(model_row("v1", servable=False, pinned=True))

    assert client.post("/models/v1/pin", headers=COMMAND).status_code == 409
    assert client.post("/models/v1/unpin", headers=COMMAND).status_code == 200
    assert [type(one.event) for one in publisher.published] == [ModelUnpinned]


def test_a_pin_its_end_and_an_activation_with_one_key_are_three_commands(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    reader.models.append(model_row("v1"))
    headers = {**COMMAND, "Idempotency-Key": "k"}
    for command in ("pin", "unpin", "activate", "pin"):
        assert client.post(f"/models/v1/{command}", headers=headers).status_code == 200

    names = [type(one.event).__name__ for one in publisher.published]
    assert names[:3] == ["ModelPinned", "ModelUnpinned", "ModelActivated"]
    assert publisher.published[0].event.event_id not in {one.event.event_id for one in publisher.published[1:3]}


@pytest.mark.parametrize("command", ["pin", "unpin"])
def test_with_database_or_broker_away_a_pin_is_503(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader, command: str
) -> None:
    reader.models.append(model_row("v1"))
    publisher.failure = broker_down()
    assert client.post(f"/models/v1/{command}", headers=COMMAND).status_code == 503
    publisher.failure = None
    reader.unavailable = True
    assert client.post(f"/models/v1/{command}", headers=COMMAND).status_code == 503
    assert publisher.published == []


@pytest.mark.parametrize("status", [None, "failed", "training"])
def test_a_version_without_artifact_cannot_be_activated(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader, status: str | None
) -> None:
    if status is not None:
        reader.models.append(model_row("v1", status=status))
    assert client.post("/models/v1/activate", headers=COMMAND).status_code == 404
    assert publisher.published == []


def test_with_the_database_away_activating_is_503_and_nothing_is_published(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    reader.unavailable = True
    answer = client.post("/models/v1/activate", headers=COMMAND)
    assert (answer.status_code, answer.json()["outcome"]) == (503, "not_accepted")
    assert publisher.published == []


def test_with_the_database_away_models_are_503(client: AsgiClient, reader: FakeReader) -> None:
    reader.unavailable = True
    answer = client.get("/models")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The database cannot be read.")
    assert "Retry-After" in answer.headers


def test_with_the_database_away_from_the_start_assets_are_503(publisher: FakePublisher) -> None:
    reader = FakeReader(unavailable=True)
    with AsgiClient(create_app(Gateway(publisher, reader))) as client:
        answer = client.get("/assets")
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        reader.unavailable = False
        assert client.get("/assets").json() == {"status": "ok", "total": 0, "assets": []}


def test_assets_are_answered_from_memory(client: AsgiClient, reader: FakeReader) -> None:
    reader.calls.clear()
    reader.unavailable = True
    for _ in range(5):
        assert client.get("/assets?limit=1000").json()["total"] == 1
    assert reader.calls == []


def test_when_too_many_reads_wait_the_answer_says_so(client: AsgiClient, reader: FakeReader) -> None:
    reader.busy = True
    answer = client.get("/models")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Too many reads wait for a database connection."
    assert "Retry-After" in answer.headers


def test_a_version_whose_artifact_is_gone_is_409(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    reader.models.append(model_row("v1", servable=False))
    answer = client.post("/models/v1/activate", headers=COMMAND)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert publisher.published == []
    assert client.get("/models").json()["models"][0]["servable"] is False


def test_with_the_broker_away_commands_are_503(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    reader.models.append(model_row("v1"))
    publisher.failure = broker_down()
    assert client.post("/models/retrain", headers=COMMAND).status_code == 503
    assert client.request("DELETE", "/models/retrain").status_code == 503
    assert client.post("/models/v1/activate", headers=COMMAND).status_code == 503


def test_the_curve_of_a_model_is_read_by_its_version(client: AsgiClient, reader: FakeReader) -> None:
    weights = ComponentWeights(content=0.1, collaborative=0.8999999999, profitability=0.0)
    point = FrontierPoint(
        weights=weights,
        ndcg_at_10=0.4,
        ndcg_interval_95=(0.38, 0.42),
        roi_above_market=None,
        roi_interval_95=None,
        volatility=0.2,
        turnover=0.0,
    )
    reader.frontiers["v1"] = Frontier(version="v1", points=[point], presets={"popular": weights})

    found, missing = client.get("/models/v1/frontier"), client.get("/models/v2/frontier")

    assert found.status_code == 200
    assert found.json()["points"][0]["ndcg_interval_95"] == [0.38, 0.42]
    assert list(found.json()["presets"]["popular"].items()) == [
        ("collaborative", 0.9),
        ("content", 0.1),
        ("profitability", 0.0),
    ]
    assert missing.status_code == 404
