"""Every fault by its name; one line each is what it does."""

from __future__ import annotations

from collections.abc import Callable

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


def count_kills(name: str) -> int:
    """Return how many kills a fault counts for."""
    return process_faults.STORM_KILLS if name in STORMS else int(name in KILLS)
