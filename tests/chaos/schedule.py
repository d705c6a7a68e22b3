"""Which faults, in which order: decided by the seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.chaos.fault_list import CLOSING, FAULTS, KILLS, OPENING, OTHERS, STORMS, count_kills

# Once every kind of kill was there, the rest is drawn with these weights.
_WEIGHTS = {
    **dict.fromkeys(STORMS, 14),
    "kill_worker": 6,
    "kill_api": 4,
    "kill_trainer": 2,
    "kill_all": 2,
    "kill_broker": 2,
    "stop_postgres_at_once": 2,
    "kill_at_worker.before_commit": 2,
    "kill_at_worker.after_commit": 2,
    "kill_at_worker.offsets_locked": 1,
    "kill_at_api.after_acknowledgement": 1,
}


def build_schedule(*, seed: int, kills: int) -> list[str]:
    """Return names of the catalogue: `kills` kills among one of every other fault, the closing ones last."""
    chance = random.Random(seed)
    drawn = chance.sample(sorted(KILLS), min(kills, len(KILLS)))
    while (missing := kills - sum(map(count_kills, drawn))) > 0:
        [name] = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        if count_kills(name) <= missing:
            drawn.append(name)
    middle = [*drawn, *OTHERS]
    chance.shuffle(middle)
    return [*OPENING, *middle, *CLOSING]


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a fault that there is not."""
    unknown = sorted(set(names) - FAULTS.keys())
    if unknown:
        raise ValueError(f"no such fault: {', '.join(unknown)}")
