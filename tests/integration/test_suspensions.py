"""The kill switch on real servers: what an operator suspends leaves stored lists on every surface, and comes back."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.gateway_process import GatewayProcess, gateway_process
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

REASON = {"reason": "a test"}


@pytest.fixture
def gateway(world: WorkerWorld) -> Iterator[GatewayProcess]:
    with gateway_process(
        bootstrap_servers=world.bootstrap_servers,
        database_url=world.database_url,
        topic_prefix=world.topic_prefix,
        catalogue_refresh_seconds=1,
    ) as gateway:
        gateway.wait_until_ready()
        world.start()
        yield gateway


def shown(gateway: GatewayProcess, **options: Any) -> list[str]:
    answer = gateway.http.get("/recommendations/C1", **options)
    assert answer.status_code == 200
    return [item["isin"] for item in answer.json()["recommendations"]]


def command(gateway: GatewayProcess, path: str) -> None:
    answer = gateway.http.post(path, json=REASON)
    assert answer.status_code == 200, answer.text


def follow(gateway: GatewayProcess, events: list[list[str]]) -> None:
    """Collect the ISINs of each list of the stream until the gateway ends it."""
    ended = contextlib.suppress(httpx.TransportError)  # the gateway was killed
    with ended, gateway.http.stream("GET", "/recommendations/C1/events", timeout=None) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                data = json.loads(line.removeprefix("data:"))
                events.append([item["isin"] for item in data["recommendations"]])


def test_a_suspended_asset_leaves_a_stored_list_on_every_surface_until_it_is_resumed(
    world: WorkerWorld, gateway: GatewayProcess
) -> None:
    request = world.ask("C1")
    [listed] = world.answers([request]).values()
    events: list[list[str]] = []
    threading.Thread(target=follow, args=(gateway, events), daemon=True).start()
    world.wait(lambda: events == [listed], "the stream shows the list")
    before = gateway.http.get("/recommendations/C1")
    tag = {"If-None-Match": before.headers["etag"]}
    assert gateway.http.get("/recommendations/C1", headers=tag).status_code == 304

    command(gateway, f"/assets/{listed[0]}/suspend")
    world.wait(lambda: shown(gateway) == listed[1:], "the stored list is without the asset")
    assert shown(gateway, headers=tag) == listed[1:]
    assert shown(gateway, params={"request_id": str(request.event_id), "wait": 5}) == listed[1:]
    world.wait(lambda: events[1:] == [listed[1:]], "the stream shows the list again")
    [suspension] = gateway.http.get("/suspensions").json()["suspensions"]
    assert (suspension["kind"], suspension["subject"], suspension["reason"]) == ("asset", listed[0], "a test")

    def next_list() -> list[str]:
        [isins] = world.answers([world.ask("C2")]).values()
        return isins

    world.wait(lambda: listed[0] not in next_list(), "new lists are without the asset")
    assert len(next_list()) == 10

    command(gateway, f"/assets/{listed[0]}/resume")
    world.wait(lambda: shown(gateway) == listed, "the stored list has the asset again")
    world.wait(lambda: events[2:] == [listed], "the stream as well")
    assert gateway.http.get("/suspensions").json()["suspensions"] == []


@pytest.mark.parametrize("kind", ["category", "model"])
def test_a_category_and_a_model_leave_stored_lists_and_come_back(
    world: WorkerWorld, gateway: GatewayProcess, kind: str
) -> None:
    [listed] = world.answers([world.ask("C1")]).values()
    categories = dict(world.rows("SELECT isin, asset_category FROM asset_information"))
    version = world.model.version
    world.rows(
        "INSERT INTO model_versions (version, status, triggered_by, manifest_sha256) VALUES (%s, 'promoted', 't', 'm')",
        version,
    )
    subject, path = {
        "category": (categories[listed[0]], f"/categories/{categories[listed[0]]}"),
        "model": (version, f"/models/{version}"),
    }[kind]
    left = [isin for isin in listed if kind == "category" and categories[isin] != subject]
    world.wait(lambda: gateway.http.get("/assets").json()["total"] == 60, "the gateway has the catalogue")

    command(gateway, f"{path}/suspend")
    world.wait(lambda: shown(gateway) == left, "the stored list is without them")
    command(gateway, f"{path}/resume")
    world.wait(lambda: shown(gateway) == listed, "the stored list is as before")
