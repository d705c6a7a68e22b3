"""A ranking as the API returns it: plain JSON values in the order of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.ports import AssetDisplay
from shared.recommender.types import RankedAsset, Ranking
from shared.served_list import rounded, rounded_or_none


def build_items(
    ranking: Ranking, *, displays: Mapping[str, AssetDisplay], decided_at: datetime
) -> list[dict[str, Any]]:
    """Return one item per ranked asset, best first; raises ValueError on a score that is not finite.

    An asset that the catalogue no longer has is left out, and the ranks close up.
    """
    date = decided_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    shown = [asset for asset in ranking.assets if asset.isin in displays]
    return [
        {**_description(displays[asset.isin]), "recommendation_date": date, **_place(asset, rank)}
        for rank, asset in enumerate(shown, start=1)
    ]


def _description(display: AssetDisplay) -> dict[str, Any]:
    return {
        "isin": display.isin,
        "assetname": display.assetname,
        "assetcategory": display.assetcategory,
        "sector": display.sector,
        "industry": display.industry,
        "current_price": rounded_or_none(display.current_price),
        "profitability": rounded_or_none(display.profitability),
    }


def _place(asset: RankedAsset, rank: int) -> dict[str, Any]:
    """The score is the sum of the rounded contributions, so that what is shown adds up."""
    parts = asset.contributions
    components = {
        "collaborative": rounded(parts.collaborative),
        "content": rounded(parts.content),
        "profitability": rounded(parts.profitability),
    }
    return {"score": rounded(sum(components.values())), "rank": rank, "components": components}
