"""What GET /models says while the first model is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from script.api_client import ApiClient, ApiFailed, ApiUnavailable


class TrainingFailed(ApiFailed):
    """The trainer has tried and failed, and nothing is served."""


class ModelProgress:
    """Reports each new step once."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._last = ""
        self._failed_before: set[str] | None = None

    def is_served(self, api: ApiClient) -> bool:
        """Return whether a version is active; raises TrainingFailed when a training has failed since the first look."""
        try:
            answer = api.fetch("/models")
        except ApiUnavailable:
            return False
        if answer["active"] is not None:
            self._tell(describe(answer["active"], answer["models"]))
            return True
        failed = {model["version"]: model for model in answer["models"] if model["status"] == "failed"}
        if self._failed_before is None:
            self._failed_before = set(failed)
        for version in failed.keys() - self._failed_before:
            raise TrainingFailed(f"the first training failed: {failed[version]['reason']}")
        if answer["models"]:
            newest = answer["models"][0]
            self._tell(f"first model: {newest['status']}, {newest['progress'] or newest['reason'] or 'started'}")
        return False

    def _tell(self, text: str) -> None:
        if text != self._last:
            self._last = text
            self._report(text)


def describe(active: str, models: list[dict[str, Any]]) -> str:
    """Return one line on the active version, with its metrics if it is among these."""
    for model in models:
        if model["version"] == active:
            numbers = [f"{name} {value:.4f}" for name, value in _numbers(model["metrics"])]
            return f"model {active} ({model['algorithm']}) is served: {', '.join(numbers) or 'no metrics'}"
    return f"model {active} is served"


def _numbers(metrics: dict[str, Any] | None) -> list[tuple[str, float]]:
    return [(name, value) for name, value in (metrics or {}).items() if isinstance(value, float)][:4]
