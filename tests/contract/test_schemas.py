"""docs/schemas/ is what the events say: rendered anew it is equal, and every golden event keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import UnionType
from typing import Any
from uuid import UUID

import pytest

from script.render_schemas import FOLDER, render_schema
from shared.errors import ContractViolation
from shared.events import EVENTS_OF_TOPIC, decode
from tests.contract.test_events import FOLDER as GOLDEN_FOLDER
from tests.contract.test_events import GOLDEN

ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description"}
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "object": (dict,),
    "null": (type(None),),
    "array": (list,),
    "boolean": (bool,),
}
FORMATS: dict[str, Callable[[str], object]] = {
    "uuid": UUID,
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
}


def schema_of(topic: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / f"{topic}.json").read_text())
    return schema


def find_faults(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    """Yield what of the schema a value does not keep; a keyword that is not known here is a fault as well."""
    for keyword, wanted in schema.items():
        if keyword in ANNOTATIONS:
            continue
        if keyword == "$ref":
            yield from find_faults(value, root["$defs"][wanted.removeprefix("#/$defs/")], root)
        elif keyword in ("anyOf", "oneOf"):
            kept = [one for one in wanted if not list(find_faults(value, one, root))]
            if not kept or (keyword == "oneOf" and len(kept) > 1):
                yield f"{keyword}: {len(kept)} of {len(wanted)}"
        elif keyword in ("properties", "items"):
            for place, inner, schema_of_inner in find_inner(value, keyword, wanted):
                yield from (f"{place}: {fault}" for fault in find_faults(inner, schema_of_inner, root))
        elif not keeps(value, keyword, wanted, schema):
            yield f"{keyword}: {wanted}"


def find_inner(value: Any, keyword: str, wanted: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield place, value and schema of what an object or an array holds."""
    if keyword == "items":
        yield from (("items", one, wanted) for one in (value if isinstance(value, list) else ()))
    else:
        names = wanted.keys() & (value.keys() if isinstance(value, dict) else set())
        yield from ((name, value[name], wanted[name]) for name in names)


def keeps(value: Any, keyword: str, wanted: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value keeps one simple keyword; a keyword of another type of value does not matter."""
    if keyword == "type":
        return isinstance(value, TYPES[wanted]) and isinstance(value, bool) == (wanted == "boolean")
    if keyword in ("const", "enum"):
        return value in (wanted if keyword == "enum" else [wanted])
    kind, check = CHECKS[keyword]
    return not isinstance(value, kind) or check(value, wanted, schema)


def is_of_format(value: str, name: str) -> bool:
    try:
        FORMATS[name](value)
    except ValueError:
        return False
    return True


CHECKS: dict[str, tuple[type | UnionType, Callable[[Any, Any, dict[str, Any]], bool]]] = {
    "required": (dict, lambda value, wanted, _: value.keys() >= set(wanted)),
    "additionalProperties": (dict, lambda value, wanted, schema: wanted or value.keys() <= schema["properties"].keys()),
    "minItems": (list, lambda value, wanted, _: len(value) >= wanted),
    "maxItems": (list, lambda value, wanted, _: len(value) <= wanted),
    "minLength": (str, lambda value, wanted, _: len(value) >= wanted),
    "maxLength": (str, lambda value, wanted, _: len(value) <= wanted),
    "pattern": (str, lambda value, wanted, _: re.search(wanted, value) is not None),
    "format": (str, lambda value, wanted, _: is_of_format(value, wanted)),
    "minimum": (int | float, lambda value, wanted, _: value >= wanted),
    "maximum": (int | float, lambda value, wanted, _: value <= wanted),
    "exclusiveMaximum": (int | float, lambda value, wanted, _: value < wanted),
}


@pytest.mark.parametrize("topic", EVENTS_OF_TOPIC)
def test_a_schema_is_rendered_from_the_events_of_its_topic(topic: str) -> None:
    assert (FOLDER / f"{topic}.json").read_text() == render_schema(topic), "run: python script/render_schemas.py"


def test_every_topic_has_a_schema_and_there_are_no_others() -> None:
    assert {path.stem for path in Path(FOLDER).glob("*.json")} == set(EVENTS_OF_TOPIC)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_event_keeps_the_schema_of_its_topic(name: str) -> None:
    topic, _ = GOLDEN[name]
    value = json.loads((GOLDEN_FOLDER / f"{name}.json").read_bytes())
    assert list(find_faults(value, schema_of(topic), schema_of(topic))) == []
    assert list(find_faults({**value, "added_later": 1}, schema_of(topic), schema_of(topic))) == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *(("close_price_recorded.v1", {"close_price": price}) for price in ("12.35", None, 0, -1, 1e13, True)),
        *(("close_price_recorded.v1", {"priced_on": day}) for day in (20455, "2026-02-30", "2026-01-02T00:00:00", "")),
        ("close_price_recorded.v1", {"currency": "euro"}),
        ("asset_changed.v1", {"asset_category": "Fund"}),
        ("asset_changed.v1", {"asset_name": "two\nlines"}),
        ("asset_changed.v1", {"asset_name": "x" * 201}),
        ("asset_changed.v1", {"isin": "GRS 1"}),
        ("customer_changed.v1", {"risk_level": "Reckless"}),
        ("customer_changed.v1", {"investment_capacity": "30K"}),
        ("customer_changed.v1", {"customer_id": "../C1"}),
        ("customer_changed.v1", {"schema_version": 2}),
        ("customer_changed.v1", {"event_id": "1"}),
        ("model_activated.v1", {"version": ""}),
    ],
)
def test_schema_and_consumer_refuse_the_same(name: str, changes: dict[str, Any]) -> None:
    topic, _ = GOLDEN[name]
    value = {**json.loads((GOLDEN_FOLDER / f"{name}.json").read_bytes()), **changes}
    assert list(find_faults(value, schema_of(topic), schema_of(topic)))
    with pytest.raises(ContractViolation):
        decode(topic, json.dumps(value).encode())


@pytest.mark.parametrize("name", GOLDEN)
def test_a_field_that_a_schema_requires_is_one_that_the_consumer_requires(name: str) -> None:
    topic, _ = GOLDEN[name]
    value = json.loads((GOLDEN_FOLDER / f"{name}.json").read_bytes())
    for field in value:
        shorter = {key: one for key, one in value.items() if key != field}
        is_refused = bool(list(find_faults(shorter, schema_of(topic), schema_of(topic))))
        try:
            decode(topic, json.dumps(shorter).encode())
        except ContractViolation:
            assert is_refused, field
        else:
            assert not is_refused, field
