"""The queue of requested trainings, inside a transaction: at most one training waits at any time.

A row of model_versions with the status "training" and the progress QUEUED waits; with any other progress it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, insert, or_, select, text, update

from shared.postgres.tables import model_versions
from shared.recommender.training_data import CancelledTrainings

QUEUED = "queued"
REQUEST = "request"  # triggered_by of a requested training: "request <event_id>[ again]: <reason>"
AGAIN = " again"
QUEUE_LOCK = 0x5155_4555_45  # "QUEUE": an advisory lock, held until the transaction ends

IN_TRAINING = model_versions.c.status == "training"
WAITING = and_(IN_TRAINING, model_versions.c.progress == QUEUED)
BEGUN = and_(IN_TRAINING, model_versions.c.progress.is_distinct_from(QUEUED))


def queue_request(connection: Connection, version: str, *, request_id: UUID, reason: str) -> bool:
    """Queue a training; False when the request joins one that waits, or has a row already."""
    _lock(connection)
    same = model_versions.c.triggered_by.startswith(f"{REQUEST} {request_id}")
    if connection.execute(select(model_versions.c.version).where(or_(WAITING, same)).limit(1)).first() is not None:
        return False
    _insert(connection, version, triggered_by=f"{REQUEST} {request_id}: {reason}")
    return True


def abandon_begun(connection: Connection, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
    """Mark every begun training as failed and return their versions.

    A requested one waits again as `retry_version` (once, where that `counts`), or joins the one that waits. Rows of
    older versions of this system may be several that wait: all but the oldest join it.
    """
    _lock(connection)
    columns = (model_versions.c.version, model_versions.c.triggered_by)
    abandoned = connection.execute(_fail(BEGUN, reason).returning(*columns)).all()
    waiting = connection.scalars(
        select(model_versions.c.version).where(WAITING).order_by(model_versions.c.version)
    ).all()
    if len(waiting) > 1:
        connection.execute(_fail(and_(WAITING, model_versions.c.version != waiting[0]), f"joined {waiting[0]}"))
    repeated = [again for _, trigger in abandoned if (again := _repeated(trigger, counts=counts)) is not None]
    if repeated and not waiting:
        _insert(connection, retry_version, triggered_by=repeated[0])
    return [version for version, _ in abandoned]


def cancel_all(connection: Connection, *, reason: str) -> CancelledTrainings:
    """Mark the training that runs, and those that wait, as failed for this reason."""
    _lock(connection)
    running = connection.scalars(_fail(BEGUN, reason).returning(model_versions.c.version)).all()
    queued = connection.scalars(_fail(WAITING, reason).returning(model_versions.c.version)).all()
    return CancelledTrainings(tuple(sorted(running)), tuple(sorted(queued)))


def fail(connection: Connection, version: str, *, reason: str) -> None:
    """Mark a training as failed, unless it ended already."""
    connection.execute(_fail(and_(IN_TRAINING, model_versions.c.version == version), reason))


def _lock(connection: Connection) -> None:
    """Let one transaction at a time look at the queue and change it, of whatever consumer group."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": QUEUE_LOCK})


def _repeated(triggered_by: str, *, counts: bool) -> str | None:
    """Return what the repetition of a requested training is triggered by; None when there is to be none."""
    head, separator, rest = triggered_by.partition(": ")
    if not head.startswith(f"{REQUEST} ") or (counts and head.endswith(AGAIN)):
        return None
    return f"{head}{AGAIN if counts else ''}{separator}{rest}"


def _fail(which: Any, reason: str) -> Any:
    return update(model_versions).where(which).values(status="failed", reason=reason, finished_at=func.now())


def _insert(connection: Connection, version: str, *, triggered_by: str) -> None:
    values = {"version": version, "status": "training", "triggered_by": triggered_by, "progress": QUEUED}
    connection.execute(insert(model_versions).values(**values))
