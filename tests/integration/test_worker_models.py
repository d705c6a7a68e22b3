"""Workers as processes on the real broker and database: which model they serve."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from shared.events import (
    RecommendationRequested,
)
from shared.recommender.pipeline import recommend
from shared.recommender.types import Customer, CustomerHistory, Interaction, InteractionWeights
from tests.builders import build_model
from tests.integration.worker_process import WorkerProcess, WorkerWorld, worker_world

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def serves(worker: WorkerProcess, sequence: int) -> bool:
    """Return whether the worker serves the pointer of this sequence."""
    return worker.metric("model_sequence") == sequence


def test_the_environment_of_a_worker_does_not_change_the_interaction_weights_of_its_model(world: WorkerWorld) -> None:
    model = build_model(version="v2", assets=60, interaction_weights=InteractionWeights(click=0.9, half_life_days=20.0))
    world.publish_model(model)
    worker = world.start(
        interaction_weight_click=0, interaction_weight_view=1, interaction_half_life_days=1, recommendation_count=10
    )
    world.wait(lambda: worker.metric("model_sequence") == 2, "the model is served")
    isins = model.id_map.isins[:3]
    clicks = [world.click("C1", isin, occurred_at=datetime.now(UTC) - timedelta(days=5)) for isin in isins]
    [served] = world.answers([world.ask("C1")]).values()
    history = CustomerHistory(
        Customer("C1"), interactions=tuple(Interaction(one.isin, one.type, one.occurred_at) for one in clicks)
    )
    [evaluated] = recommend(model, [history], k=10, now=datetime.now(UTC))
    assert served == [asset.isin for asset in evaluated.assets]
    assert world.rows("SELECT basis FROM decisions") == [("history",)]


def test_models_are_swapped_while_requests_are_answered(world: WorkerWorld) -> None:
    worker = world.start()
    requests: list[RecommendationRequested] = []
    done = threading.Event()

    def ask_without_end() -> None:
        while not done.is_set():
            requests.append(world.ask(f"C{len(requests) % 20}"))
            time.sleep(0.005)

    asking = threading.Thread(target=ask_without_end)
    asking.start()
    for seed in range(1, 5):
        world.publish_model(build_model(seed=seed, assets=60))
        world.wait(partial(serves, worker, seed + 1), f"model {seed} is served")
    world.artifacts.activate("v3-60")  # a rollback
    world.wait(partial(serves, worker, 6), "the rollback is served")
    last = world.ask("C1")
    done.set()
    asking.join()
    world.answers(requests)
    versions = {version for (version,) in world.rows("SELECT DISTINCT model_version FROM decisions")}
    assert {f"v{seed}-60" for seed in (1, 2, 3, 4)} <= versions
    world.answers([last])
    assert world.rows("SELECT model_version FROM decisions WHERE request_id = %s", str(last.event_id)) == [("v3-60",)]
    assert world.count("decisions") == len(requests) + 1
    assert world.count("dead_letters") == 0
    assert worker.metric("failures_total") == 0


def test_a_damaged_artifact_is_refused_and_the_old_model_serves_on(world: WorkerWorld) -> None:
    worker = world.start()
    broken = build_model(seed=2, assets=60)
    digest = world.artifacts.save_model(broken)
    arrays = world.artifacts.models_dir / "versions" / broken.version / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-10] + b"0123456789")
    pointer = {"sequence": 2, "version": broken.version, "manifest_sha256": digest}
    written = world.artifacts.models_dir / "CURRENT.new"
    written.write_text(json.dumps(pointer))
    written.replace(world.artifacts.models_dir / "CURRENT")
    world.wait(lambda: worker.metric("model_swaps_total", outcome="failed") >= 1, "the artifact is refused")
    request = world.ask("C1")
    world.answers([request])
    assert world.rows("SELECT model_version FROM decisions") == [(world.model.version,)]
    assert worker.is_ready()
    refused = {line["version"] for line in worker.log_lines() if line["event"] == "model.refused"}
    assert refused == {broken.version}


def test_a_worker_without_a_model_keeps_clicks_and_answers_later(
    kafka_bootstrap_servers: str, database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    with worker_world(
        bootstrap_servers=kafka_bootstrap_servers, database_url=database_url, topic_prefix=topic_prefix, folder=tmp_path
    ) as world:
        worker = world.start(ready=False)
        requests = [world.ask(f"C{index}") for index in range(20)]
        world.click("C1", world.model.id_map.isins[0])
        world.wait(lambda: world.count("user_interactions") == 1, "the click is kept")
        world.wait(lambda: worker.unready_reason() == "no model yet", "the worker says why")
        assert world.count("decisions") == 0
        world.publish_model()
        world.answers(requests)
        world.wait(worker.is_ready, "the worker is ready")
