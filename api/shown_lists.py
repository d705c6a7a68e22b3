"""What of a stored list may be shown now."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import ValidationError

from api.list_items import Item, parse_items
from api.ports import CurrentFacts, GatewayReader, ListRow
from shared.errors import describe_error
from shared.logging import get_logger
from shared.recommender.candidates import is_suitable
from shared.recommender.types import Customer
from shared.served_list import Components, rounded

log = get_logger(__name__)


async def leave_out_forbidden(
    items: list[Item], newest: ListRow, *, customer_id: str, reader: GatewayReader
) -> list[Item]:
    """Return the items that may be shown today, ranked from 1."""
    # Only a list that is older than the reference data or the customer's last interaction needs a second read.
    if not items or not (newest.is_stale or newest.has_newer_interactions):
        return items
    isins = [item["isin"] for item in items]
    facts = await reader.fetch_current_facts(customer_id, isins, model_version=newest.model_version)
    shown = [item for item in items if _may_be_shown(item["isin"], customer_id, facts)]
    return [{**item, "rank": rank} for rank, item in enumerate(shown, start=1)]


def parse_list_items(newest: ListRow) -> list[Item] | None:
    """Return the items in the order of the contract; None for a list that somebody damaged, which counts as no list."""
    if isinstance(newest.items, list):
        return newest.items
    try:
        return parse_items(newest.items or "")
    except ValidationError as error:
        log.error("recommendations.unreadable", request_id=str(newest.request_id), error=describe_error(error))
        return None


def parse_list_weights(newest: ListRow) -> dict[str, float] | None:
    """Return the weights in the order of the components, as the API shows them; None where they cannot be read."""
    weights = read_list_weights(newest)
    return None if weights is None else {name: rounded(value) for name, value in weights.items()}


def read_list_weights(newest: ListRow) -> dict[str, float] | None:
    """Return the weights in the order of the components, as they are stored; None where they cannot be read."""
    try:
        stored: Any = json.loads(newest.weights) if isinstance(newest.weights, str) else newest.weights
        weights = {name: float(stored[name]) for name in Components.model_fields}
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    return weights if all(map(math.isfinite, weights.values())) else None


def _may_be_shown(isin: str, customer_id: str, facts: CurrentFacts) -> bool:
    asset_level = facts.asset_risk_levels.get(isin)
    return (
        asset_level is not None
        and is_suitable(asset_level, Customer(customer_id, facts.customer_risk_level))
        and isin not in facts.owned
        and isin not in facts.dismissed
        and isin not in facts.suspended
    )
