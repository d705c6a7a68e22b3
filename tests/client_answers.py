"""Answers as the typed client gives them, for tests of what uses it."""

from __future__ import annotations

from uuid import UUID

from far_trans_client import Components, ListedItem, RecommendationList
from far_trans_client.decoding import decode


def build_list(model_version: str, *sectors: str | None) -> RecommendationList:
    """Return a list with an asset of each sector."""
    assets = tuple(build_asset(rank, sector) for rank, sector in enumerate(sectors, start=1))
    return RecommendationList(assets, request_id=UUID(int=1), model_version=model_version, basis="history")


def build_asset(rank: int, sector: str | None) -> ListedItem:
    """Return a recommended asset, of which little is known."""
    unknown = dict.fromkeys([*ListedItem.__dataclass_fields__])
    known = {
        "isin": f"ISIN{rank}",
        "assetname": f"NAME {rank} [AB]",
        "assetcategory": "Stock",
        "sector": sector,
        "recommendation_date": "2026-01-02T10:30:00",
        "score": 0.5,
        "rank": rank,
        "components": dict.fromkeys([*Components.__dataclass_fields__]),
    }
    return decode(ListedItem, {**unknown, **known})
