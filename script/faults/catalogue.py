"""Every fault by its name; one line each is what it does."""

from __future__ import annotations

from collections.abc import Callable

from script.faults import process_faults
from script.faults.campaign import Campaign

Fault = Callable[[Campaign], None]

KILLS: dict[str, Fault] = process_faults.KILLS

# Before any load: what must stand at the head of a partition.
OPENING: dict[str, Fault] = {}

OTHERS: dict[str, Fault] = {
    "freeze_broker": process_faults.freeze_broker,
    "postgres_down": process_faults.postgres_down,
}

# At the end, since something stands still until an operator acts.
CLOSING: dict[str, Fault] = {}

FAULTS: dict[str, Fault] = {**OPENING, **KILLS, **OTHERS, **CLOSING}
