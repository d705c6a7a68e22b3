"""Filter a stored list by current data: remove assets that are no longer allowed and renumber the ranks."""

from __future__ import annotations

from pydantic import TypeAdapter

from api.ports import CurrentFacts, GatewayReader, ListRow
from api.schemas import RecommendationItem
from shared.recommender.candidates import is_suitable
from shared.recommender.types import Customer

_items = TypeAdapter(list[RecommendationItem])


async def fetch_current_items(reader: GatewayReader, customer_id: str, newest: ListRow) -> list[RecommendationItem]:
    """Return the items of a list that may be shown today, best first.

    Only a list that is older than the reference data or than the customer's last interaction costs a second read.
    """
    items = _items.validate_json(newest.items)
    if not items or not (newest.is_stale or newest.has_newer_interactions):
        return items
    facts = await reader.fetch_current_facts(customer_id, [item.isin for item in items])
    shown = [item for item in items if _may_be_shown(item.isin, customer_id, facts)]
    return [item.model_copy(update={"rank": rank}) for rank, item in enumerate(shown, start=1)]


def _may_be_shown(isin: str, customer_id: str, facts: CurrentFacts) -> bool:
    asset_level = facts.asset_risk_levels.get(isin)
    return (
        asset_level is not None
        and is_suitable(asset_level, Customer(customer_id, facts.customer_risk_level))
        and isin not in facts.owned
        and isin not in facts.dismissed
    )
