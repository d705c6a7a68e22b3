"""What the demo says while a first model is made, and that it does not wait for one that failed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from far_trans_client import Client, Limits
from script.demo_answers import ModelProgress, TrainingFailed


def model(version: str, status: str, **more: Any) -> dict[str, Any]:
    names = ("sequence", "algorithm", "metrics", "champion_metrics", "reason", "progress", "watermark", "finished_at")
    empty = dict.fromkeys((*names, "activated_at", "servable"))
    known = {"active": False, "started_at": "2026-01-02T10:30:00Z", "pinned": False}
    return {"version": version, "status": status, **empty, **known, **more}


def follow(*answers: dict[str, Any] | int) -> tuple[list[bool], list[str]]:
    """Look as often as there are answers; a number stands for an error of that status."""
    remaining, told = list(answers), list[str]()

    def handle(request: httpx.Request) -> httpx.Response:
        answer = remaining.pop(0)
        return httpx.Response(answer) if isinstance(answer, int) else httpx.Response(200, json=answer)

    progress = ModelProgress(told.append)
    with Client("http://127.0.0.1:1", limits=Limits(attempts=1), transport=httpx.MockTransport(handle)) as api:
        return [progress.is_served(api) for _ in answers], told


def test_each_step_is_told_once_and_the_metrics_at_the_end() -> None:
    fitting = {"active": None, "models": [model("v1", "training", progress="fitting ease")]}
    served = model("v1", "promoted", algorithm="ease", metrics={"ndcg_at_10": 0.25, "customers": 7})

    seen, told = follow(503, {"active": None, "models": []}, fitting, fitting, {"active": "v1", "models": [served]})

    assert seen == [False, False, False, False, True]
    assert told == ["first model: training, fitting ease", "model v1 (ease) is served: ndcg_at_10 0.2500"]


def test_a_training_that_fails_ends_the_waiting_with_its_reason() -> None:
    failed = {"active": None, "models": [model("v1", "failed", reason="no purchases")]}

    with pytest.raises(TrainingFailed, match="no purchases"):
        follow({"active": None, "models": []}, failed)


def test_a_failure_of_an_earlier_run_is_not_the_end() -> None:
    failed = model("v1", "failed", reason="killed")

    seen, _ = follow(
        {"active": None, "models": [failed]},
        {"active": None, "models": [model("v2", "training"), failed]},
        {"active": "v2", "models": [failed]},
    )

    assert seen == [False, False, True]
