"""A batch of requests that is answered: another thread stores it while the loop answers the next one."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass

from worker.handlers import Answers, Handled, handle_answers
from worker.message_buffer import Batch, MessageBuffer
from worker.ports import WorkerStore


@dataclass(frozen=True)
class Storing:
    """The batch, taken from the buffer; `handled` raises what went wrong."""

    batch: Batch
    answers: Answers
    started: float
    handled: Future[Handled]


def begin_storing(
    batch: Batch, answers: Answers, *, store: WorkerStore, buffer: MessageBuffer, executor: Executor, started: float
) -> Storing:
    """Take the batch from the buffer, and store its answers with its next offsets in one transaction of `executor`."""
    starts, next_offsets = buffer.starts(batch), buffer.next_offsets(batch)

    def run() -> Handled:
        with store.begin() as transaction:
            transaction.lock_offsets(starts)
            handled = handle_answers(answers, transaction=transaction)
            transaction.store_offsets(next_offsets)
        return handled

    buffer.take(batch)
    return Storing(batch, answers, started, executor.submit(run))
