"""Every fault by its name, and in which order a campaign has them: the seed alone decides it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.chaos import (
    bug_faults,
    database_faults,
    fuzz_faults,
    message_faults,
    process_faults,
    storage_faults,
    worker_faults,
)
from tests.chaos.campaign import Campaign

Fault = Callable[[Campaign], None]

KILLS: dict[str, Fault] = process_faults.KILLS

# Only in long campaigns: several kills each, with no recovery in between.
STORMS: dict[str, Fault] = {"kill_storm": process_faults.kill_storm}

# Before any load: what must stand at the head of a partition.
OPENING: dict[str, Fault] = {"poison_heads": message_faults.poison_heads}

OTHERS: dict[str, Fault] = {
    "freeze_broker": process_faults.freeze_broker,
    "postgres_down": process_faults.postgres_down,
    "close_connections": database_faults.close_connections,
    "deadlock": database_faults.deadlock,
    "serialization_failure": database_faults.serialization_failure,
    "rebalances": worker_faults.rebalances,
    "zombie": worker_faults.zombie,
    "zombie_with_locks": worker_faults.zombie_with_locks,
    "far_behind": worker_faults.far_behind,
    "poison_stream": message_faults.poison_stream,
    "deliver_twice": message_faults.deliver_twice,
    "one_key_at_once": message_faults.one_key_at_once,
    "fuzz_1_percent": fuzz_faults.fuzz_1_percent,
    "fuzz_50_percent": fuzz_faults.fuzz_50_percent,
    "dated_ahead": fuzz_faults.dated_ahead,
    "bugs_in_handling": bug_faults.bugs_in_handling,
    "full_model_volume": storage_faults.full_model_volume,
    "full_database_disk": storage_faults.full_database_disk,
    "damaged_artifact": storage_faults.damaged_artifact,
}

# At the end, since something stands still until an operator acts.
CLOSING: dict[str, Fault] = {"offset_out_of_range": storage_faults.offset_out_of_range}

FAULTS: dict[str, Fault] = {**OPENING, **KILLS, **STORMS, **OTHERS, **CLOSING}

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


def count_kills(name: str) -> int:
    """Return how many kills a fault counts for."""
    return process_faults.STORM_KILLS if name in STORMS else int(name in KILLS)
