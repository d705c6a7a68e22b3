"""When a training is due."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer.service.trigger import TriggerRules, TriggerState, decide_training

RULES = TriggerRules(after_interactions=50, after_seconds=600)
QUIET = TriggerState(has_model=True, new_interactions=0, seconds_since_last=0.0)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (replace(QUIET, has_model=False), "no model yet"),
        (replace(QUIET, new_interactions=50), "interactions: 50 new"),
        (replace(QUIET, new_interactions=49), None),
        (replace(QUIET, new_interactions=1, seconds_since_last=600.0), "time: 600 s"),
        (replace(QUIET, new_interactions=1, seconds_since_last=599.0), None),
        (replace(QUIET, new_interactions=0, seconds_since_last=1e9), None),
        (replace(QUIET, queued_request="request 1: please"), "request 1: please"),
        (replace(QUIET, has_model=False, queued_request="request 1: please"), "request 1: please"),
        (QUIET, None),
    ],
)
def test_a_training_is_due_for_a_reason_or_not_at_all(state: TriggerState, reason: str | None) -> None:
    decision = decide_training(state, RULES)

    assert decision is None if reason is None else str(decision).startswith(reason)
