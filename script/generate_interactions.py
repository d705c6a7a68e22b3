"""Click on assets of one sector through the API, and show what that does to the customer's list.

python script/generate_interactions.py 85583A768E48870A546D Technology 10
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from script.api_client import ApiClient, ApiFailed, ServedList
from script.screen import build_screen, print_comparison
from shared.identifiers import is_customer_id

TYPES = ("click", "view", "watchlist", "dismiss")
_WAIT_SECONDS = 30.0
_MOST = 100_000


class NothingToClickOn(ApiFailed):
    """The catalogue has no asset of that sector."""


@dataclass(frozen=True)
class Plan:
    """Who does what, how often, in which sector."""

    customer_id: str
    sector: str
    count: int
    interaction_type: str = "click"
    seed: int = 7


@dataclass(frozen=True)
class Outcome:
    """The lists before and after, and how often each asset was clicked on."""

    before: ServedList
    after: ServedList
    sent: Counter[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 2 not possible (the message says why), 130 interrupted."""
    options = _parse(arguments)
    plan = Plan(options.customer_id, options.sector, options.count, options.type, options.seed)
    screen, complaints = build_screen(), Console(stderr=True, highlight=False, soft_wrap=True)
    sent: Counter[str] = Counter()
    try:
        with ApiClient(options.api) as api:
            outcome = click_and_compare(api, plan, screen=screen, sent=sent)
    except ApiFailed as error:
        complaints.print(f"{error}\n{_progress(sent, plan)}", markup=False)
        return 2
    except KeyboardInterrupt:
        complaints.print(f"Interrupted: {_progress(sent, plan)}", markup=False)
        return 130
    print_outcome(outcome, plan, screen=screen)
    return 0


def click_and_compare(api: ApiClient, plan: Plan, *, screen: Console, sent: Counter[str] | None = None) -> Outcome:
    """Fetch a list, send the interactions, fetch a fresh list; `sent` is filled in while that goes on.

    Raises ApiFailed, NothingToClickOn among them.
    """
    sent = Counter() if sent is None else sent
    assets = choose_assets(api, plan.sector)
    before = api.ask(plan.customer_id, "request_recs", wait_seconds=_WAIT_SECONDS)
    with _progress_bar(screen) as bar:
        task = bar.add_task(f"{plan.interaction_type} on {plan.sector}", total=plan.count)
        for isin in spread(assets, plan):
            api.record_interaction(plan.customer_id, isin, plan.interaction_type)
            sent[isin] += 1
            bar.advance(task)
    after = api.ask(plan.customer_id, "refresh_recs", wait_seconds=_WAIT_SECONDS)
    return Outcome(before, after, sent)


def choose_assets(api: ApiClient, sector: str) -> list[str]:
    """Return the ISINs of a sector, ascending; raises NothingToClickOn with the sectors that there are."""
    isins = sorted({asset["isin"] for asset in api.fetch_assets(sector=sector)})
    if not isins:
        sectors = sorted({asset["sector"] for asset in api.fetch_assets() if asset["sector"]})
        known = ", ".join(sectors) or "none (is the data loaded?)"
        raise NothingToClickOn(f"No asset belongs to sector {sector!r}. Sectors: {known}")
    return isins


def spread(isins: Sequence[str], plan: Plan) -> list[str]:
    """Return `plan.count` ISINs: all different while they last, then round again; the same for the same seed."""
    shuffled = sorted(isins)
    random.Random(plan.seed).shuffle(shuffled)  # noqa: S311  (a choice of examples)
    return [shuffled[position % len(shuffled)] for position in range(plan.count)]


def print_outcome(outcome: Outcome, plan: Plan, *, screen: Console) -> None:
    """Say which assets were clicked on how often, and show both lists with the sector's share."""
    screen.print(_progress(outcome.sent, plan), markup=False)
    for isin, times in sorted(outcome.sent.items()):
        screen.print(f"  {times} x {isin}", markup=False)
    print_comparison(outcome.before, outcome.after, plan.sector, screen=screen)


def _progress(sent: Counter[str], plan: Plan) -> str:
    return (
        f"{sent.total()} of {plan.count} interactions ({plan.interaction_type}) of customer {plan.customer_id} "
        f"were sent, on {len(sent)} different assets of sector {plan.sector}."
    )


def _progress_bar(screen: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=screen)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("customer_id", type=_customer_id, help="for instance 85583A768E48870A546D")
    parser.add_argument("sector", help="as in GET /assets, for instance Technology")
    parser.add_argument("count", type=_count, help="how many interactions to send")
    parser.add_argument(
        "--api", default=os.environ.get("API_URL") or "http://127.0.0.1:8000", help="default: %(default)s"
    )
    parser.add_argument("--type", choices=TYPES, default="click")
    parser.add_argument("--seed", type=int, default=7, help="another choice of assets (default: %(default)s)")
    return parser.parse_args(arguments)


def _customer_id(text: str) -> str:
    if not is_customer_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot name a customer")
    return text


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= _MOST:
        raise argparse.ArgumentTypeError(f"between 1 and {_MOST}")
    return count


if __name__ == "__main__":
    sys.exit(main())
