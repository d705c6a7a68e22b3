"""Wait out bad weather: an operation that the database could not serve is tried again, until it can or we stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from shared.errors import DatabaseUnavailable, RecommenderError
from shared.logging import get_logger

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 30.0

Answer = TypeVar("Answer")
log = get_logger(__name__)


class TrainingAbandoned(RecommenderError):
    """The trainer is stopping, or no longer the one that trains."""


def patiently(operation: Callable[[], Answer], *, stop: threading.Event) -> Answer:
    """Return the operation's answer, however long the database is away; raises TrainingAbandoned once stopped."""
    wait_seconds = FIRST_WAIT_SECONDS
    while True:
        try:
            return operation()
        except DatabaseUnavailable as error:
            log.warning("database.unavailable", error=str(error), retry_in_seconds=wait_seconds)
        if stop.wait(wait_seconds):
            raise TrainingAbandoned
        wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)
