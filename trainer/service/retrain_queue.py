"""The queue of requested trainings, inside a transaction: at most one training waits.

A row of model_versions with the status "training" waits while `queued` is true, and runs afterwards. `request_id`,
`request_reason` and `request_repeated` describe the request; `triggered_by` and `progress` only show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, insert, or_, select, text, update

from shared.postgres.tables import model_versions
from trainer.service.ports import CancelledTrainings

QUEUE_LOCK = 0x5155_4555_45  # "QUEUE": an advisory lock, held until the transaction ends

row = model_versions.c
IN_TRAINING = row.status == "training"
WAITING = and_(IN_TRAINING, row.queued)
RUNNING = and_(IN_TRAINING, ~row.queued)
STARTED = {"queued": False, "progress": "started", "started_at": func.now()}


def queue_request(connection: Connection, version: str, *, request_id: UUID, reason: str) -> bool:
    """Queue a training; False when another one waits, or when this request has a row: the request joins it."""
    _lock(connection)
    known = select(row.version).where(or_(WAITING, row.request_id == request_id)).limit(1)
    if connection.execute(known).first() is not None:
        return False
    _insert(connection, version, request_id=request_id, reason=reason, repeated=False)
    return True


def abandon_running(connection: Connection, *, reason: str, retry_version: str, counts: bool) -> Sequence[str]:
    """Mark every running training as failed and return their versions.

    A requested one waits again as `retry_version` (with `counts` only once), or joins the one that waits. Older
    versions of this system queued several: all but the oldest join it.
    """
    _lock(connection)
    columns = (row.version, row.request_id, row.request_reason, row.request_repeated)
    abandoned = connection.execute(_fail(RUNNING, reason).returning(*columns)).all()
    waiting = connection.scalars(select(row.version).where(WAITING).order_by(row.version)).all()
    if len(waiting) > 1:
        connection.execute(_fail(and_(WAITING, row.version != waiting[0]), f"joined {waiting[0]}"))
    requests = [old for old in abandoned if old.request_id is not None and not (counts and old.request_repeated)]
    if requests and not waiting:
        request_id, asked_for, repeated = requests[0][1:]
        _insert(connection, retry_version, request_id=request_id, reason=asked_for or "", repeated=counts or repeated)
    return [old.version for old in abandoned]


def cancel_all(connection: Connection, *, reason: str) -> CancelledTrainings:
    """Mark the training that runs, and those that wait, as failed for this reason."""
    _lock(connection)
    running = connection.scalars(_fail(RUNNING, reason).returning(row.version)).all()
    queued = connection.scalars(_fail(WAITING, reason).returning(row.version)).all()
    return CancelledTrainings(tuple(sorted(running)), tuple(sorted(queued)))


def fail(connection: Connection, version: str, *, reason: str) -> None:
    """Mark a training as failed, unless it has ended."""
    connection.execute(_fail(and_(IN_TRAINING, row.version == version), reason))


def _lock(connection: Connection) -> None:
    """Let one transaction at a time read and change the queue, of whatever consumer group."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": QUEUE_LOCK})


def _fail(which: Any, reason: str) -> Any:
    ended = {"status": "failed", "queued": False, "reason": reason, "finished_at": func.now()}
    return update(model_versions).where(which).values(**ended)


def _insert(connection: Connection, version: str, *, request_id: UUID, reason: str, repeated: bool) -> None:
    statement = insert(model_versions).values(
        version=version,
        status="training",
        queued=True,
        request_id=request_id,
        request_reason=reason,
        request_repeated=repeated,
        triggered_by=f"request {request_id}{' again' if repeated else ''}: {reason}",
        progress="queued",
    )
    connection.execute(statement)
