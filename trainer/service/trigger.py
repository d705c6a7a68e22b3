"""When to train: a decision from counts and times, without any clock or database."""

from __future__ import annotations

from dataclasses import dataclass

REQUESTED = "request"


@dataclass(frozen=True)
class TriggerRules:
    """After how many new interactions, or how long after the last training if there is a new one."""

    after_interactions: int
    after_seconds: float


@dataclass(frozen=True)
class TriggerState:
    """What is known when the question is asked; `queued_request` describes a request that waits."""

    has_model: bool
    new_interactions: int
    seconds_since_last: float
    queued_request: str | None = None


def decide_training(state: TriggerState, rules: TriggerRules) -> str | None:
    """Return why to train now, None when there is no reason to."""
    if state.queued_request is not None:
        return state.queued_request
    if not state.has_model:
        return "no model yet"
    if state.new_interactions >= rules.after_interactions:
        return f"interactions: {state.new_interactions} new"
    if state.new_interactions >= 1 and state.seconds_since_last >= rules.after_seconds:
        return (
            f"time: {state.seconds_since_last:.0f} s since the last training, {state.new_interactions} new interactions"
        )
    return None
