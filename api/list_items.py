"""The items of a list in the order of the contract: from the arrays of its decision, or from JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from shared.served_list import MILLION, Components, RecommendationItem, build_list_fields

MOST_ASSETS = 50_000  # about 2 KiB each
Item = dict[str, Any]


def _as_dictionary(model: type[BaseModel]) -> Any:
    """Return a type of dictionaries with the fields of the model: validated alike, without instances."""
    fields = {}
    for name, field in model.model_fields.items():
        kind = _as_dictionary(Components) if field.annotation is Components else field.annotation
        constrained = Annotated[(kind, *field.metadata)] if field.metadata else kind
        fields[name] = constrained if field.is_required() else NotRequired[constrained]
    return TypedDict(model.__name__, fields)  # type: ignore[operator]


_item: TypeAdapter[Item] = TypeAdapter(_as_dictionary(RecommendationItem))
_items: TypeAdapter[list[Item]] = TypeAdapter(list[_as_dictionary(RecommendationItem)])  # type: ignore[arg-type, misc]
_asset: TypeAdapter[Item] = TypeAdapter(Item)
[_NO_LIST_FIELDS] = build_list_fields([None, None, None], made_at=datetime(2000, 1, 1).astimezone())


def parse_items(text: str) -> list[Item]:
    """Return stored JSON in the order of the contract, which JSONB does not keep; raises ValidationError."""
    return _items.validate_json(text)


class ShownAssets:
    """What lists showed of assets, by id. The text determines the id, so what is known stays true.

    A content that cannot be read is None.
    """

    def __init__(self) -> None:
        self._items: dict[int, Item | None] = {}

    def find(self, ids: Iterable[int]) -> dict[int, Item | None]:
        """Return those of these assets that are known."""
        return {one: self._items[one] for one in ids if one in self._items}

    def add(self, contents: Mapping[int, str]) -> Mapping[int, Item | None]:
        """Remember these contents, and return them parsed."""
        parsed = {asset_version_id: _parse_asset(text) for asset_version_id, text in contents.items()}
        if len(self._items) + len(parsed) > MOST_ASSETS:
            self._items = {}
        self._items.update(parsed)
        return parsed


def build_items(
    assets: Mapping[int, Item | None], *, ids: Sequence[int], contributions: Sequence[int | None], made_at: datetime
) -> list[Item] | None:
    """Return the items of a list; None where one cannot be read. `contributions` are in millionths."""
    shown = [asset for one in ids if (asset := assets.get(one)) is not None]
    if len(shown) != len(ids) or len(contributions) != 3 * len(ids):
        return None
    added = [None if value is None else value / MILLION for value in contributions]
    return [{**asset, **fields} for asset, fields in zip(shown, build_list_fields(added, made_at=made_at), strict=True)]


def _parse_asset(text: str) -> Item | None:
    try:
        return _item.validate_python({**_asset.validate_json(text), **_NO_LIST_FIELDS})
    except ValidationError:
        return None
