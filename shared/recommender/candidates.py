"""Which assets may appear in a customer's list: in the catalogue, tradable, not owned, not dismissed, suitable."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from shared.recommender.history import dismissed_isins
from shared.recommender.id_map import AssetIdMap
from shared.recommender.labels import Labels
from shared.recommender.model import Model
from shared.recommender.policy.view import PolicyView
from shared.recommender.types import NO_OPTIONS, Asset, Customer, CustomerHistory, ListOptions, RiskLevel

# (category, sub-category) -> least risk level that accepts it. What the table does not name is BALANCED: shares,
# equity funds, structured products, and everything that the bank has not classified.
_RISK_LEVELS: dict[tuple[str, str], RiskLevel] = {
    ("MTF", "Money Market"): RiskLevel.CONSERVATIVE,
    ("Bond", "Government"): RiskLevel.CONSERVATIVE,
    ("MTF", "Bond"): RiskLevel.INCOME,
    ("MTF", "Bonds"): RiskLevel.INCOME,
    ("MTF", "Balanced"): RiskLevel.INCOME,
}


@dataclass(frozen=True, eq=False)
class CatalogueView:
    """What today's catalogue says of a model's A assets. listed: (A,) bool, whether the asset exists in it.

    risk_level: (A,) int8, 1..4, by the category of today; without meaning where the asset is not listed.
    suspended: (A,) bool, which assets nobody may have now; they count as not listed. policy: what the policy says of
    the assets, in place of `risk_level`; None: the table of decision 4.
    """

    listed: NDArray[np.bool_]
    risk_level: NDArray[np.int8]
    categories: Labels
    sectors: Labels
    suspended: NDArray[np.bool_]
    policy: PolicyView | None = None


def build_catalogue_view(
    id_map: AssetIdMap,
    risk_levels: Mapping[str, RiskLevel],
    *,
    categories: Mapping[str, str] = MappingProxyType({}),
    sectors: Mapping[str, str | None] = MappingProxyType({}),
    suspended: Collection[str] = (),
    policy: PolicyView | None = None,
) -> CatalogueView:
    """Build the view of a catalogue that has these assets, by ISIN; it may have more, or none."""
    levels = [risk_levels.get(isin) for isin in id_map.isins]
    is_suspended = np.array([isin in suspended for isin in id_map.isins], dtype=np.bool_)
    return CatalogueView(
        listed=np.array([level is not None for level in levels], dtype=np.bool_) & ~is_suspended,
        suspended=is_suspended,
        risk_level=np.array([level or RiskLevel.AGGRESSIVE for level in levels], dtype=np.int8),
        categories=Labels.build([categories.get(isin) for isin in id_map.isins]),
        sectors=Labels.build([sectors.get(isin) for isin in id_map.isins]),
        policy=policy,
    )


def candidate_mask(
    model: Model,
    histories: Sequence[CustomerHistory],
    *,
    catalogue: CatalogueView | None = None,
    enforce_suitability: bool = True,
) -> NDArray[np.bool_]:
    """Return (B, A): may this asset be recommended to this customer?

    With a catalogue only its assets are candidates, and it alone says how much risk they carry. Without one (in an
    evaluation, which fits the model on the same catalogue) the model's own arrays do, or the policy that it was fitted
    with.
    `enforce_suitability=False` is for offline benchmarks only, whose protocol knows no suitability.
    """
    available = model.tradable if catalogue is None else model.tradable & catalogue.listed
    mask = np.repeat(available[np.newaxis], len(histories), axis=0)
    policy = policy_of(model, catalogue)
    if enforce_suitability and policy is not None:
        mask &= policy.allowed(histories)
    elif enforce_suitability:
        asset_levels = model.asset_risk_level if catalogue is None else catalogue.risk_level
        accepted = np.array([accepted_risk_level(history.customer) for history in histories], dtype=np.int8)
        mask &= asset_levels[np.newaxis] <= accepted[:, np.newaxis]
    excluded = [model.id_map.known_indices([*history.owned, *dismissed_isins(history)]) for history in histories]
    rows = np.repeat(np.arange(len(histories)), [len(assets) for assets in excluded])
    mask[rows, [asset for assets in excluded for asset in assets]] = False
    return mask


def policy_of(model: Model, catalogue: CatalogueView | None) -> PolicyView | None:
    """Return the policy that holds for lists: that of the catalogue of today, without one that of the model."""
    return model.policy if catalogue is None else catalogue.policy


def refused_entirely(
    model: Model,
    histories: Sequence[CustomerHistory],
    options: Sequence[ListOptions | None],
    is_empty: NDArray[np.bool_],
    catalogue: CatalogueView | None,
) -> NDArray[np.bool_]:
    """Return (B,) which of the empty lists would hold something without the policy. is_empty: (B,)."""
    refused = np.zeros(len(histories), dtype=np.bool_)
    rows = np.flatnonzero(is_empty).tolist()
    others = candidate_mask(model, [histories[row] for row in rows], catalogue=catalogue, enforce_suitability=False)
    scores = np.where(others, 0.0, -np.inf)
    remove_filtered(scores, [options[row] for row in rows], id_map=model.id_map, catalogue=catalogue)
    refused[rows] = (scores > -np.inf).any(axis=1)
    return refused


def remove_filtered(
    scores: NDArray[np.float64],
    options: Sequence[ListOptions | None],
    *,
    id_map: AssetIdMap,
    catalogue: CatalogueView | None,
) -> None:
    """Set the scores (B, A) of what the options of each customer leave out to -inf; other scores stay what they are.

    Raises ValueError when options name categories or sectors, or limit them, and there is no catalogue.
    """
    for row, asked in enumerate(options):
        if asked is None or asked == NO_OPTIONS:
            continue
        if catalogue is None and (asked.categories, asked.sectors, asked.per_sector, asked.per_category) != (None,) * 4:
            raise ValueError("categories and sectors need a catalogue")
        if asked.exclude:
            scores[row, id_map.known_indices(asked.exclude)] = -np.inf
        if catalogue is not None and asked.categories is not None:
            scores[row, ~catalogue.categories.are_among(asked.categories)] = -np.inf
        if catalogue is not None and asked.sectors is not None:
            scores[row, ~catalogue.sectors.are_among(asked.sectors)] = -np.inf


def asset_risk_level(category: str, sub_category: str | None) -> RiskLevel:
    """Return the least risk level of a customer to whom such an asset may be recommended."""
    default = RiskLevel.INCOME if category == "Bond" else RiskLevel.BALANCED
    return _RISK_LEVELS.get((category, sub_category or ""), default)


def accepted_risk_level(customer: Customer) -> RiskLevel:
    """Return the highest asset level for this customer; one whose level is not known counts as conservative."""
    return customer.risk_level or RiskLevel.CONSERVATIVE


def is_suitable(asset_level: int, customer: Customer) -> bool:
    """May an asset of this level be recommended to this customer?"""
    return asset_level <= accepted_risk_level(customer)


def is_tradable(asset: Asset, on: date, *, has_recent_price: bool) -> bool:
    """Can the asset be bought on this day: within its published dates, or, without such, priced lately?"""
    if asset.tradable_from is None or asset.tradable_until is None:
        return has_recent_price
    return asset.tradable_from <= on <= asset.tradable_until
