"""What the demo shows: the progress of the first model, the README's requests with their answers, ten clicks."""

from __future__ import annotations

import csv
import json
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from far_trans_client import Client, ConnectionFailed, ModelItem, RecommendationList, Unavailable
from script.generate_interactions import (
    NothingToClickOn,
    Plan,
    ask_for_list,
    click_and_compare,
    print_outcome,
    share_of,
)
from script.terminal import add_row, build_ranking

CLICKS = Plan(customer_id="85583A768E48870A546D", sector="Technology", count=10)
_MOST_CLICKERS = 25
_COMPONENTS = ("collaborative", "content", "profitability")


class TrainingFailed(Exception):
    """The first training failed, and no model is served."""


def find_income_investor(folder: Path) -> str:
    """Return the example customer: the first with risk level Income, else the one who clicks.

    The lists of income investors hold bonds and funds, whose prices change less than those of shares.
    """
    with (folder / "customer_information.csv").open(newline="", encoding="utf-8") as file:
        incomes = (row["customerID"] for row in csv.DictReader(file) if row.get("riskLevel") == "Income")
        return next(incomes, CLICKS.customer_id)


def find_clickers(folder: Path) -> list[str]:
    """Return who may show the clicks: the example customer, then others of the same risk level, in the file's order."""
    with (folder / "customer_information.csv").open(newline="", encoding="utf-8") as file:
        levels = {row["customerID"]: row.get("riskLevel") for row in csv.DictReader(file)}
    level = levels.get(CLICKS.customer_id)
    others = [customer for customer, other in levels.items() if other == level and customer != CLICKS.customer_id]
    return [CLICKS.customer_id, *others[: _MOST_CLICKERS - 1]]


def choose_clicks(api: Client, clickers: Sequence[str]) -> Plan:
    """Return the clicks of the first customer whose list has nothing of the sector yet, so that they have an effect.

    Earlier demos clicked as well, and their clicks count. If every list has some of it, the first customer clicks.
    """
    for customer_id in clickers:
        if share_of(CLICKS.sector, ask_for_list(api, customer_id, "request_recs")) == 0.0:
            return replace(CLICKS, customer_id=customer_id, sent=Counter())
    return replace(CLICKS, customer_id=clickers[0], sent=Counter())


class ModelProgress:
    """Reports each step of the first training once."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._last = ""
        self._failed_before: set[str] | None = None

    def is_served(self, api: Client) -> bool:
        """Return whether a version is active; raises TrainingFailed when a training failed since the first call."""
        try:
            answer = api.models()
        except (ConnectionFailed, Unavailable):
            return False
        active, models = answer.active, answer.models
        if active is not None:
            self._tell(describe(active, models))
            return True
        failed = {model.version: model.reason for model in models if model.status == "failed"}
        if self._failed_before is None:
            self._failed_before = set(failed)
        for version in failed.keys() - self._failed_before:
            raise TrainingFailed(f"the first training failed: {failed[version]}")
        if models:
            newest = models[0]
            self._tell(f"first model: {newest.status}, {newest.progress or newest.reason or 'started'}")
        return False

    def _tell(self, text: str) -> None:
        if text != self._last:
            self._last = text
            self._report(text)


def describe(active: str, models: Sequence[ModelItem]) -> str:
    """Return one line about the active version, with its first metrics if it is among the models."""
    model = next((model for model in models if model.version == active), None)
    if model is None:
        return f"model {active} is served"
    metrics = [(name, value) for name, value in (model.metrics or {}).items() if isinstance(value, float)]
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in metrics[:4])
    return f"model {active} ({model.algorithm}) is served: {numbers or 'no metrics'}"


def show_answers(
    api: Client, customer_id: str, *, clickers: Sequence[str], screen: Console, report: Callable[[str], None]
) -> None:
    """Send the requests, and print each as a curl line with its answer; raises FarTransError."""
    request_id = api.request_recommendations(customer_id, "request_recs")
    served = api.wait_for_list(customer_id, request_id, timeout_seconds=60.0)
    assets = served.recommendations
    report(f"the first list is there: {len(assets)} assets for customer {customer_id}\n")

    request = {"customer_id": customer_id, "action": "request_recs"}
    _print(screen, curl(api, "/recommendations", request), '200 {"status": "ok"}', f"X-Request-ID: {request_id}\n")
    first = json.dumps(asdict(assets[0]), default=str) if assets else ""
    _print(
        screen,
        curl(api, f"/recommendations/{customer_id}"),
        f'200 {{"status": "ok", "recommendations": [{first}, ... {len(assets)} in all]}}',
        f"X-Request-ID: {served.request_id}",
        f"X-Model-Version: {served.model_version}",
        f"X-Recommendation-Basis: {served.basis}\n",
    )
    print_list(served, screen=screen)
    if assets:
        interaction = {"customer_id": customer_id, "isin": assets[0].isin, "type": "click"}
        api.record_interaction(customer_id, interaction["isin"])
        _print(screen, curl(api, "/user_interactions", interaction), '200 {"status": "ok"}\n')
        _show_clicks(api, choose_clicks(api, clickers), screen=screen)


def curl(api: Client, path: str, body: dict[str, str] | None = None) -> str:
    """Return the command line that sends the same request."""
    post = [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return "$ " + shlex.join(["curl", *(["-X", "POST"] if body else []), f"{api.url}{path}", *post])


def print_list(served: RecommendationList, *, screen: Console) -> None:
    """Print a list with the return of each asset, and the three weighted components of its score."""
    _print(
        screen,
        "The same list as a table. Return is the field `trailing_return_12m`: the change of the price in the twelve",
        "months before the date of the model. Score is the sum of the three weighted components on its right; it",
        "ranks the assets.",
    )
    table = build_ranking(screen, "isin", "name", "category", "sector")
    for heading in ("price", "return", "score", *_COMPONENTS):
        table.add_column(heading, justify="right")
    for item in served.recommendations:
        price, change = item.current_price, item.trailing_return_12m
        names = (item.rank, item.isin, item.assetname, item.assetcategory, item.sector or "-")
        numbers = ["-" if price is None else f"{price:.2f}", "-" if change is None else f"{change:+.1%}"]
        components = (getattr(item.components, name) for name in _COMPONENTS)
        scores = ["-" if value is None else f"{value:.3f}" for value in (item.score, *components)]
        add_row(table, *names, *numbers, *scores)
    screen.print(table)
    screen.print()


def _show_clicks(api: Client, plan: Plan, *, screen: Console) -> None:
    _print(screen, f"What {plan.count} clicks of customer {plan.customer_id} on {plan.sector} change:")
    try:
        before, after = click_and_compare(api, plan, screen=screen)
    except NothingToClickOn as error:
        _print(screen, str(error))
        return
    print_outcome(before, after, plan=plan, screen=screen)
    if share_of(plan.sector, before) > 0:
        _print(screen, "Clicks of earlier demos count too; `make demo FRESH=1` starts without them.")


def _print(screen: Console, *lines: str) -> None:
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)
