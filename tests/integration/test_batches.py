"""A thousand requests at once, from the gateway through the broker and a worker to the lists."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import psutil
import pytest

from shared import events
from shared.events import RecommendationRequested, decode
from tests.integration.gateway_process import gateway_process, post, read_topic
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]

MOST_SECONDS = 20.0  # it takes 0.3 s of CPU; other tests run at the same time
MOST_BYTES = 100 * 2**20


def test_a_batch_of_a_thousand_is_in_the_log_in_order_and_becomes_lists(world: WorkerWorld) -> None:
    requests: list[dict[str, Any]] = [
        {"customer_id": f"C{number % 300}", "action": "refresh_recs", "k": 1 + number // 20} for number in range(999)
    ]
    requests.insert(500, {"customer_id": "C1", "action": "refresh_recs", "k": 51})
    key = {"Idempotency-Key": "a batch of a thousand".replace(" ", "-")}
    with gateway_process(
        bootstrap_servers=world.bootstrap_servers, database_url=world.database_url, topic_prefix=world.topic_prefix
    ) as gateway:
        gateway.wait_until_ready()
        process = psutil.Process(gateway.process.pid)
        before = process.memory_info().rss
        seconds = []
        for _ in range(2):
            started_at = time.monotonic()
            answer = post(gateway, "/recommendations:batch", {"requests": requests}, **key)
            seconds.append(time.monotonic() - started_at)
            assert answer.status_code == 200, answer.text
        print(f"\n1,000 requests: {seconds[0]:.3f} s, repeated {seconds[1]:.3f} s,", end=" ")
        print(f"{(process.memory_info().rss - before) / 2**20:.1f} MiB more memory")
        assert seconds[0] < MOST_SECONDS
        assert process.memory_info().rss - before < MOST_BYTES
        results = answer.json()["results"]
        assert [one["status"] for one in results] == ["ok"] * 500 + ["error"] + ["ok"] * 499
        assert results[500]["problem"]["errors"][0]["field"] == "k"
        other = post(gateway, "/recommendations:batch", {"requests": requests[:-1]}, **key)
        assert other.status_code == 422
        world.start()
        ids = [one["request_id"] for one in results if one["status"] == "ok"]
        world.wait(lambda: world.count("decisions") == 999, "every request is decided", seconds=200)
        found = gateway.http.get(f"/recommendations/C7?request_id={ids[7]}")
    in_log: dict[str, list[str]] = defaultdict(list)
    for message in read_topic(world.bootstrap_servers, world.topic_prefix + events.RECOMMENDATIONS_REQUESTED):
        event = decode(events.RECOMMENDATIONS_REQUESTED, message.value())
        assert isinstance(event, RecommendationRequested)
        in_log[event.customer_id].append(str(event.event_id))
    expected: dict[str, list[str]] = defaultdict(list)
    for one in results:
        if one["status"] == "ok":
            expected[one["customer_id"]].append(one["request_id"])
    assert in_log == expected
    assert world.count("dead_letters") == 0
    # The last request of C7 is the 908th of the valid ones, and asked for 46 assets.
    assert found.headers["X-Request-ID"] == expected["C7"][-1]
    assert found.headers["X-Recommendation-K"] == str(1 + (907 // 20))


def test_options_reach_the_list_and_a_preview_leaves_it(world: WorkerWorld) -> None:
    world.start()
    body: dict[str, Any] = {"customer_id": "C1", "action": "request_recs"}
    with gateway_process(
        bootstrap_servers=world.bootstrap_servers, database_url=world.database_url, topic_prefix=world.topic_prefix
    ) as gateway:
        gateway.wait_until_ready()

        def ask(**fields: Any) -> Any:
            answer = post(gateway, "/recommendations", {**body, **fields})
            assert answer.status_code == 200, answer.text
            path = f"/recommendations/C1?wait=30&request_id={answer.headers['X-Request-ID']}"
            found = gateway.http.get(path, timeout=40)
            assert (found.status_code, found.headers["X-Request-ID"]) == (200, answer.headers["X-Request-ID"])
            return found

        plain = ask()
        first = plain.json()["recommendations"][0]["isin"]
        preview = ask(save=False, k=3, exclude=[first], limits={"per_category": 2}, weights={"content": 1})
        funds = ask(save=False, categories=["MTF"], k=50)
        after = gateway.http.get("/recommendations/C1")
        assert (after.content, after.headers["X-Request-ID"]) == (plain.content, plain.headers["X-Request-ID"])
        assert plain.headers["X-Recommendation-K"] == "10"
        again = ask()
        assert again.json() == plain.json()  # the same list, and its date: it was not computed again
    assert (preview.headers["X-Recommendation-K"], preview.headers["X-Recommendation-Weights"]) == (
        "3",
        "collaborative=0,content=1,profitability=0",
    )
    found = preview.json()["recommendations"]
    assert 0 < len(found) <= 3
    assert first not in {item["isin"] for item in found}
    assert {item["assetcategory"] for item in funds.json()["recommendations"]} == {"MTF"}
    assert world.count("dead_letters") == 0
