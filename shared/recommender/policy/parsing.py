"""Read a policy from TOML: unknown keys, wrong types and impossible thresholds are refused by the name of the key.

The digest is of the parsed content in one canonical order: comments, blanks, the order of keys and how a number is
written do not change it; every value does.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from shared.errors import PolicyInvalid
from shared.recommender.policy.rules import (
    ANY,
    AssetRules,
    Caps,
    CustomerRules,
    Exclusions,
    Liquidity,
    MissingPrices,
    Policy,
    PriceRule,
    RestrictedMode,
    Tolerance,
)
from shared.recommender.types import RiskLevel

FORMAT = 1
MOST_DAYS = 3_660  # of a window, and of a price's age
MOST_BYTES = 1 << 20
_LEVELS = {level.name.lower(): level for level in RiskLevel}
_SETS = frozenset({"isins", "categories", "sectors", "issuers"})  # lists whose order says nothing

Value = TypeVar("Value")
Named = TypeVar("Named", bound=StrEnum)


def load_policy(path: Path) -> Policy:
    """Read and check a policy file; raises PolicyInvalid, which names the file and the key."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise PolicyInvalid(f"larger than {MOST_BYTES} bytes")
        return parse_policy(content.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyInvalid(f"{path} cannot be read: {error}") from error
    except PolicyInvalid as error:
        raise PolicyInvalid(f"{path}: {error}") from error


def parse_policy(text: str) -> Policy:
    """Return the policy of a TOML document; raises PolicyInvalid."""
    try:
        document = tomllib.loads(text)
        digest = sha256(_canonical(document).encode()).hexdigest()
    except (ValueError, OverflowError, RecursionError) as error:  # numbers of any length, keys of any depth
        raise PolicyInvalid(f"no TOML: {error}") from error
    top = _Table(document, "")
    if top.take("format", _whole(1, FORMAT)) != FORMAT:
        top.refuse("format", f"must be {FORMAT}")
    top.optional("description", _text, "")
    policy = Policy(
        name=top.take("name", _text),
        version=top.take("version", _whole(1, 10**9)),
        digest=digest,
        assets=_asset_rules(top.table("asset_risk")),
        customers=_customer_rules(top.table("customer")),
        caps=_caps(top.table("caps", optional=True)),
        exclusions=_exclusions(top.table("exclusions", optional=True)),
        **_list_rules(top),
    )
    top.finish()
    return policy


def _asset_rules(table: _Table) -> AssetRules:
    sub_category = table.table("sub_category", optional=True)
    tables = {name: _sub_categories(sub_category.table(name)) for name in sub_category.names()}
    rules = AssetRules(
        unclassified=table.take("unclassified", _level),
        category=_levels(table.table("category", optional=True)),
        sub_category=MappingProxyType(tables),
        volatility=_price_rule(table, "volatility", most=10.0),
        drawdown=_price_rule(table, "drawdown", most=1.0),
        missing_prices=_missing_prices(table.table("missing_prices")) if table.has("missing_prices") else None,
    )
    table.finish()
    return rules


def _levels(table: _Table) -> Mapping[str, RiskLevel]:
    return MappingProxyType({name: table.take(name, _level) for name in table.names()})


def _sub_categories(table: _Table) -> Mapping[str, RiskLevel]:
    if not table.has(ANY):
        table.refuse(ANY, "is missing: it stands for every sub-category that is not named")
    return _levels(table)


def _price_rule(parent: _Table, name: str, *, most: float) -> PriceRule | None:
    if not parent.has(name):
        return None
    table = parent.table(name)
    window, least = table.take("window_days", _whole(2, MOST_DAYS)), table.take("least_prices", _whole(3, MOST_DAYS))
    if least > window:
        table.refuse("least_prices", f"{least} prices do not fit into {window} days")
    bounds = table.table("most")
    low, middle, high = (bounds.take(level, _number(0.0, most)) for level in ("conservative", "income", "balanced"))
    if not low < middle < high:
        table.refuse("most", "must rise from conservative over income to balanced")
    bounds.finish()
    table.finish()
    return PriceRule(window, least, (low, middle, high))


def _missing_prices(table: _Table) -> MissingPrices:
    window, least = table.take("window_days", _whole(1, MOST_DAYS)), table.take("least_prices", _whole(1, MOST_DAYS))
    if least > window:
        table.refuse("least_prices", f"{least} prices do not fit into {window} days")
    rule = MissingPrices(window, least, table.take("level", _level))
    table.finish()
    return rule


def _customer_rules(table: _Table) -> CustomerRules:
    rules = CustomerRules(
        predicted=table.take("predicted", _one_of(RestrictedMode)),
        expired=table.take("expired", _one_of(RestrictedMode)),
        undated=table.take("undated", _one_of(RestrictedMode)),
        not_available=table.take("not_available", _one_of(RestrictedMode)),
        questionnaire_years=table.optional("questionnaire_years", _whole(1, 100), 3),
        tolerance=table.optional("tolerance", _one_of(Tolerance), Tolerance.STRICT),
    )
    if rules.not_available not in (RestrictedMode.LOWEST, RestrictedMode.NOTHING):
        table.refuse("not_available", "must be lowest or nothing: there is no level to start from")
    table.finish()
    return rules


def _caps(table: _Table) -> Caps:
    share = _number(0.0, 1.0)
    caps = Caps(**{name: table.optional(name, share, None) for name in ("sector", "category", "issuer")})
    for name, value in caps.given().items():
        if value == 0.0:
            table.refuse(name, "must be above 0: nothing could be listed")
    table.finish()
    return caps


def _exclusions(table: _Table) -> Exclusions:
    exclusions = Exclusions(**{name: table.optional(name, _texts, ()) for name in sorted(_SETS)})
    table.finish()
    return exclusions


def _list_rules(top: _Table) -> dict[str, Any]:
    prices, ties = top.table("prices", optional=True), top.table("ties", optional=True)
    rules = {
        "max_price_age_days": prices.optional("max_age_days", _whole(0, MOST_DAYS), None),
        "leave_out_ties": ties.optional("leave_out", _flag, True),
        "liquidity": _liquidity(top.table("liquidity")) if top.has("liquidity") else None,
    }
    prices.finish()
    ties.finish()
    return rules


def _liquidity(table: _Table) -> Liquidity:
    rule = Liquidity(
        table.take("window_days", _whole(1, MOST_DAYS)), table.optional("least_trades", _whole(0, 10**9), 0)
    )
    table.finish()
    return rule


class _Table:
    """One table of the document; what nobody takes is an unknown key."""

    def __init__(self, content: Mapping[str, Any], path: str) -> None:
        self._content = dict(content)
        self._path = path

    def names(self) -> list[str]:
        return sorted(self._content)

    def has(self, name: str) -> bool:
        return name in self._content

    def take(self, name: str, check: Callable[[Any], Value]) -> Value:
        if name not in self._content:
            self.refuse(name, "is missing")
        try:
            return check(self._content.pop(name))
        except ValueError as error:
            self.refuse(name, str(error))

    def optional(self, name: str, check: Callable[[Any], Any], otherwise: Any) -> Any:
        return self.take(name, check) if self.has(name) else otherwise

    def table(self, name: str, *, optional: bool = False) -> _Table:
        if optional and not self.has(name):
            return _Table({}, self._named(name))
        return _Table(self.take(name, _mapping), self._named(name))

    def finish(self) -> None:
        for name in self.names():
            self.refuse(name, "is no key of a policy")

    def refuse(self, name: str, reason: str) -> NoReturn:
        raise PolicyInvalid(f"{self._named(name)} {reason}")

    def _named(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
        raise ValueError("must be printable text without blanks at its ends")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of texts")
    return tuple(sorted({_text(one) for one in value}))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return check


def _number(least: float, most: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}")
        return float(value)

    return check


def _level(value: Any) -> RiskLevel:
    if not isinstance(value, str) or value not in _LEVELS:
        raise ValueError(f"must be one of {', '.join(_LEVELS)}")
    return _LEVELS[value]


def _one_of(kind: type[Named]) -> Callable[[Any], Named]:
    def check(value: Any) -> Named:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"must be one of {', '.join(kind)}") from None

    return check


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(_ordered(document), sort_keys=True, separators=(",", ":"), default=str)


def _ordered(value: Any, name: str = "") -> Any:
    """Return the value as it is digested: lists without an order sorted, whole numbers and fractions alike."""
    if isinstance(value, dict):
        return {key: _ordered(one, key) for key, one in value.items()}
    if isinstance(value, list):
        given = [_ordered(one) for one in value]
        return sorted(set(map(str, given))) if name in _SETS else given
    return float(value) if type(value) is int else value
