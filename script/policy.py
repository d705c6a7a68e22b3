"""Suitability policies: script/policy.py show [NAME|FILE] | check FILE... | diff A B [--last 30d]

`diff` scores the customers of the decisions of the last days again, under both policies, and compares the lists.
It uses the model that is served now, and holdings, interactions and profiles of now: decisions do not keep those of
their time yet, so it says what a change of policy does today, not what it would have done then.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("numpy")

import argparse
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from shared.artifacts.publication import FileArtifacts
from shared.errors import PolicyInvalid, RecommenderError
from shared.policy_files import DEFAULT_POLICY, named_policy
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from shared.recommender.policy.rules import Policy
from shared.recommender.types import Basis, CustomerHistory, Ranking, RiskLevel
from worker.catalogue import Catalogue
from worker.store import PostgresWorkerStore

BANDS = (*(level.name.lower() for level in RiskLevel), "unknown")
CUSTOMERS_AT_ONCE = 500
MOST_DAYS = 3_660


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when done, 1 when a checked policy is not valid, 2 when the command cannot be done."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.command(parsed))
    except RecommenderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def show(parsed: argparse.Namespace) -> int:
    """Print what a policy says, with its digest."""
    policy = named_policy(parsed.policy)
    print(f"{policy.name} {policy.version}, digest {policy.digest}")
    for group in ("assets", "customers", "caps", "exclusions"):
        for name, value in vars(getattr(policy, group)).items():
            print(f"{group}.{name}: {_text(value)}")
    for name in ("max_price_age_days", "liquidity", "leave_out_ties"):
        print(f"{name}: {_text(getattr(policy, name))}")
    return 0


def check(parsed: argparse.Namespace) -> int:
    """Print for each file whether it is a valid policy."""
    is_valid = True
    for path in parsed.policies:
        try:
            print(f"{path}: valid, {named_policy(path)}")
        except PolicyInvalid as error:
            is_valid = False
            print(error, file=sys.stderr)
    return 0 if is_valid else 1


def diff(parsed: argparse.Namespace) -> int:
    """Print whose lists two policies change, and which assets they gain and lose."""
    policies = [named_policy(name) for name in (parsed.first, parsed.second)]
    database_url, models_dir = os.environ.get("DATABASE_URL"), os.environ.get("MODELS_DIR")
    if not database_url or not models_dir:
        raise RecommenderError("diff needs DATABASE_URL and MODELS_DIR")
    keys = [key.strip().encode() for key in os.environ.get("ARTIFACT_SIGNING_KEY", "").split(",") if key.strip()]
    artifacts = FileArtifacts(Path(models_dir), signing_keys=tuple(keys))
    if (pointer := artifacts.read_pointer()) is None:
        raise RecommenderError(f"no model is served from {models_dir} yet")
    model = artifacts.load_model(pointer)
    store = PostgresWorkerStore(database_url, cluster_id="policy-diff", consumer_group="policy-diff")
    try:
        histories = _histories(store, days=parsed.last)
        lists = [_lists(Catalogue(store, policy=policy), model, histories) for policy in policies]
    finally:
        store.close()
    for line in compare(histories, *lists, policies=policies):
        print(line)
    return 0


def compare(
    histories: Sequence[CustomerHistory],
    first: Sequence[Ranking],
    second: Sequence[Ranking],
    *,
    policies: Sequence[Policy],
) -> list[str]:
    """Return the lines of the comparison, by risk level of the customers."""
    customers, touched, empty = Counter[str](), Counter[str](), [Counter[str](), Counter[str]()]
    gained, lost = ({band: Counter[str]() for band in BANDS} for _ in range(2))
    for history, before, after in zip(histories, first, second, strict=True):
        level = history.customer.risk_level
        band = level.name.lower() if level else "unknown"
        old, new = ([asset.isin for asset in ranking.assets] for ranking in (before, after))
        customers[band] += 1
        touched[band] += old != new
        for counter, ranking in zip(empty, (before, after), strict=True):
            counter[band] += ranking.basis is Basis.NOTHING_SUITABLE
        gained[band].update(set(new) - set(old))
        lost[band].update(set(old) - set(new))
    total = sum(customers.values())
    lines = [f"{policies[0]} -> {policies[1]}: {sum(touched.values())} of {total} customers have another list"]
    for band in BANDS:
        if customers[band]:
            lines += [
                f"{band}: {touched[band]} of {customers[band]} lists change; nothing suitable: {empty[0][band]} ->"
                f" {empty[1][band]}",
                f"  gained: {_most(gained[band])}",
                f"  lost: {_most(lost[band])}",
            ]
    return [*lines, "Cost in nDCG and profile coherence: make benchmark (decisions do not keep their inputs yet)."]


def _histories(store: PostgresWorkerStore, *, days: int) -> list[CustomerHistory]:
    customer_ids = store.fetch_decided_customers(days=days)
    histories: list[CustomerHistory] = []
    for start in range(0, len(customer_ids), CUSTOMERS_AT_ONCE):
        with store.begin() as transaction:
            histories += transaction.fetch_histories(customer_ids[start : start + CUSTOMERS_AT_ONCE]).values()
    return histories


def _lists(catalogue: Catalogue, model: Model, histories: Sequence[CustomerHistory]) -> list[Ranking]:
    view = catalogue.view(model.id_map, as_of=model.as_of)
    return recommend(model, histories, now=datetime.now(UTC), catalogue=view)


def _most(counts: Counter[str]) -> str:
    names = [f"{isin} ({count})" for isin, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:10]]
    return f"{len(counts)} assets{': ' if names else ''}{', '.join(names)}"


def _text(value: Any) -> str:
    if value is None:
        return "off"
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items()) or "nothing"
    if is_dataclass(value):
        return ", ".join(f"{name} {_text(one)}" for name, one in vars(value).items())
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, tuple) else str(value)


def _days(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,3})d", text)
    if not found:
        raise argparse.ArgumentTypeError("must be a number of days, such as 30d")
    return min(int(found[1]), MOST_DAYS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python script/policy.py", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("show", help="print a policy")
    one.add_argument("policy", nargs="?", default=DEFAULT_POLICY, metavar="NAME|FILE")
    one.set_defaults(command=show)
    several = commands.add_parser("check", help="check policy files; exit code 1 if one is not valid")
    several.add_argument("policies", nargs="+", metavar="NAME|FILE")
    several.set_defaults(command=check)
    two = commands.add_parser("diff", help="compare lists under two policies (DATABASE_URL, MODELS_DIR)")
    two.add_argument("first", metavar="A")
    two.add_argument("second", metavar="B")
    two.add_argument("--last", type=_days, default=30, metavar="30d", help="customers of the decisions of these days")
    two.set_defaults(command=diff)
    return parser


if __name__ == "__main__":
    sys.exit(main())
