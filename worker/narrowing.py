"""Process a batch that fails: good messages have their effects, each message that fails becomes a dead letter.

Everything happens in the transaction of the batch, each attempt in a savepoint. The size of a part is halved after a
failure and doubled after a success: one bad message among n costs about 2 log2(n) attempts, n bad ones cost n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import describe_error
from shared.retry_policy import NOT_OF_A_MESSAGE
from worker.handlers import Handled
from worker.message_buffer import Batch
from worker.ports import WorkerTransaction


@dataclass(frozen=True)
class Narrowed:
    """The effects of `done`; the time was over before `rest`, which needs another transaction."""

    handled: Handled
    done: Batch
    rest: Batch


def narrow(
    batch: Batch,
    *,
    transaction: WorkerTransaction,
    handle: Callable[[Batch], Handled],
    is_late: Callable[[], bool],
) -> Narrowed:
    """Handle the batch part by part, in order, until it is done or `is_late`; at least one part is done.

    Raises what no message can cause (database, broker, stale offsets); then nothing of the batch is stored.
    """
    rest, size = batch, max(1, len(batch) // 2)
    results: list[Handled] = []
    while rest and (not results or not is_late()):
        part, others = rest.split(size)
        try:
            with transaction.savepoint():
                handled = handle(part)
        except NOT_OF_A_MESSAGE:
            raise
        except Exception as error:
            if len(part) > 1:
                size = max(1, len(part) // 2)
                continue
            [message] = part.messages
            transaction.insert_dead_letters([(message, describe_error(error))])
            handled = Handled(dead_letters=((message, error),))
        else:
            size *= 2
        results.append(handled)
        rest = others
    done, rest = batch.split(len(batch) - len(rest))
    return Narrowed(_join(results), done, rest)


def _join(results: list[Handled]) -> Handled:
    return Handled(
        decisions=tuple(decision for each in results for decision in each.decisions),
        interactions=sum(each.interactions for each in results),
        transactions=sum(each.transactions for each in results),
        reference_events=sum(each.reference_events for each in results),
        dead_letters=tuple(letter for each in results for letter in each.dead_letters),
        list_outcomes=tuple(outcome for each in results for outcome in each.list_outcomes),
    )
