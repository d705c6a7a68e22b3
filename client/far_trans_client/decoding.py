"""Make the frozen dataclasses of `answers.py` from JSON; whatever does not fit raises UnexpectedShape."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from far_trans_client.answers import HEADER
from far_trans_client.errors import NotJson, UnexpectedShape

T = TypeVar("T")
_SHOWN_CHARACTERS = 80


def parse_json(content: bytes) -> Any:
    """Return the value; raises NotJson, also for NaN and for nesting beyond Python's limit."""
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(f"the body is no JSON: {str(error)[:_SHOWN_CHARACTERS]}") from error


def decode(kind: type[T], value: Any) -> T:
    """Return the value as this type; raises UnexpectedShape with the path of the field that does not fit."""
    return cast(T, _decode(kind, value, "body"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _decode(kind: Any, value: Any, path: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _decode_object(cast(type, kind), value, path)
    if origin in (Union, types.UnionType):
        return _decode_union(kind, value, path)
    if origin is Literal:
        return value if isinstance(value, str) and value in get_args(kind) else _refuse(value, path, kind)
    if origin is tuple:
        return _decode_array(get_args(kind), value, path)
    if origin is Mapping:
        inner = get_args(kind)[1]
        known = value if isinstance(value, dict) else _refuse(value, path, "an object")
        return {name: _decode(inner, one, f"{path}.{name}") for name, one in known.items()}
    return _decode_plain(kind, value, path)


def _decode_object(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        _refuse(value, path, "an object")
    known = {}
    for name, (inner, is_required) in _fields(kind).items():
        if name in value:
            known[name] = _decode(inner, value[name], f"{path}.{name}")
        elif is_required:
            raise UnexpectedShape(f"{path}.{name} is missing")
        else:
            known[name] = None
    return kind(**known)


def _decode_union(kind: Any, value: Any, path: str) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    *first, last = (one for one in get_args(kind) if one is not type(None))
    for one in first:
        with suppress(UnexpectedShape):
            return _decode(one, value, path)
    return _decode(last, value, path)


def _decode_array(kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _refuse(value, path, "an array")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        _refuse(value, path, f"an array of {len(kinds)}")
    return tuple(
        _decode(kind, one, f"{path}[{index}]") for index, (kind, one) in enumerate(zip(kinds, value, strict=True))
    )


def _decode_plain(kind: Any, value: Any, path: str) -> Any:
    source, convert = _PLAIN[kind]
    if not isinstance(value, source) or (isinstance(value, bool) and kind is not bool):
        _refuse(value, path, kind.__name__)
    try:
        return convert(value)
    except (ValueError, OverflowError):
        return _refuse(value, path, kind.__name__)


_PLAIN: dict[Any, tuple[Any, Callable[[Any], Any]]] = {
    str: (str, str),
    bool: (bool, bool),
    int: (int, int),
    float: ((int, float), float),
    UUID: (str, UUID),
    datetime: (str, datetime.fromisoformat),
    date: (str, date.fromisoformat),
}


@cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field that comes from the body, and whether it must be there.

    A gateway of another version may leave out what may be None.
    """
    hints, in_body = get_type_hints(kind), [field for field in fields(kind) if HEADER not in field.metadata]
    optional = {field.name for field in in_body if type(None) in get_args(hints[field.name])}
    return {field.name: (hints[field.name], field.name not in optional) for field in in_body}


def _refuse(value: Any, path: str, expected: object) -> NoReturn:
    raise UnexpectedShape(f"{path} is {repr(value)[:_SHOWN_CHARACTERS]}, not {expected}")
