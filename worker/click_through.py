"""What became of the lists that apps showed: impressions and clicks, by their place and the basis of the list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.events import InteractionRecorded
from shared.recommender.types import Basis, InteractionType
from worker.ports import WorkerTransaction

COUNTED_TYPES = (InteractionType.IMPRESSION, InteractionType.CLICK)
UNKNOWN = "unknown"
_BASES = frozenset(basis.value for basis in Basis)


@dataclass(frozen=True)
class ListOutcome:
    """An impression or a click of one place of a list; `rank` and `basis` may be UNKNOWN."""

    type: InteractionType
    rank: str
    basis: str


def find_list_outcomes(
    stored: Iterable[InteractionRecorded], *, transaction: WorkerTransaction
) -> tuple[ListOutcome, ...]:
    """Return one outcome for each of these impressions and clicks that names a request.

    The basis is UNKNOWN unless the request is decided and is of the same customer.
    """
    named = [
        (event, event.request_id) for event in stored if event.request_id is not None and event.type in COUNTED_TYPES
    ]
    bases = transaction.fetch_bases(sorted({request_id for _, request_id in named}))
    found = ((event, bases.get((event.customer_id, request_id), UNKNOWN)) for event, request_id in named)
    return tuple(
        ListOutcome(event.type, str(event.rank or UNKNOWN), basis if basis in _BASES else UNKNOWN)
        for event, basis in found
    )
