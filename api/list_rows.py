"""From rows of the statements of lists (api/list_queries.py) to what the gateway answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Any

from api.list_items import Item, build_items
from api.ports import AssetFacts, CustomerLists, ListFacts, ListRow, ListVersion
from shared.errors import InvalidWeights
from shared.recommender.types import ListRules
from shared.served_list import Components


def build_customer_lists(row: Any, newest: ListRow | None) -> CustomerLists:
    """Return what a row of LISTS says; `newest` is None where the version that was asked with is kept."""
    version = None if row["version"] is None else ListVersion(row["request_id"], row["version"])
    return CustomerLists(row["known"], newest, version, is_kept=bool(row["is_kept"]))


def build_list_row(row: Any, assets: Mapping[int, Item | None]) -> ListRow | None:
    """Return the list of a row of LISTS or ANSWERS; None where it has none."""
    if not row["model_version"]:  # there is no list, or somebody removed its decision
        return None
    items, weights, ids = row["items"], row["weights"], row["asset_versions"]
    if ids is not None:
        items = build_items(assets, ids=ids, contributions=row["contributions"], made_at=row["made_at"])
        weights = {name: row[f"weight_{name}"] for name in Components.model_fields}
    names = ("request_id", "model_version", "basis", "is_stale", "has_newer_interactions", "k")
    return ListRow(items=items, weights=weights, **{name: row[name] for name in names})


def build_list_facts(rows: Sequence[Any]) -> ListFacts:
    """Return what the rows of LIST_FACTS say; what the trainer did not write of the model is unknown."""
    names = ("bought_of_sector", "was_bought", "first_known_on")
    assets = {row["isin"]: AssetFacts(**{name: row[name] for name in names}) for row in rows}
    facts = ListFacts(assets=assets)
    if rows:
        with suppress(TypeError, ValueError):
            facts = replace(facts, as_of=date.fromisoformat(rows[0]["as_of"]))
        with suppress(TypeError, ValueError, InvalidWeights):
            rules = ListRules(**json.loads(rows[0]["list_rules"]))
            facts = replace(facts, exploration_share=rules.exploration_share, new_asset_days=rules.new_asset_days)
    return facts


def parse_object(column: str | None) -> dict[str, Any]:
    """Return the object of a JSONB column; empty for anything else."""
    parsed = json.loads(column) if column else None
    return parsed if isinstance(parsed, dict) else {}
