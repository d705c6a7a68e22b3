"""Click on assets of one sector through the API, and show what that changes in the customer's list.

python script/generate_interactions.py 85583A768E48870A546D Technology 10
"""

from __future__ import annotations

import random
import runpy
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("far_trans_client", "typer")

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from far_trans_client import Client, FarTransError, InteractionType, RecommendationItem, RecommendationList
from far_trans_client.answers import Action
from script.running_system import find_compose_api, find_demo
from script.terminal import add_row, build_app, build_ranking, build_screen, run_app, say
from shared.identifiers import is_customer_id

app = build_app(__doc__)


class NothingToClickOn(Exception):
    """The catalogue has no asset of that sector."""


class NoSystemRuns(Exception):
    """No system of this clone runs."""


@dataclass(frozen=True)
class Plan:
    """The customer, the sector, and how many interactions of which type."""

    customer_id: str
    sector: str
    count: int
    interaction_type: InteractionType = "click"
    seed: int = 7
    sent: Counter[str] = field(default_factory=Counter)  # how often each ISIN was sent so far

    def progress(self) -> str:
        """Say what was sent so far."""
        return (
            f"{self.sent.total()} of {self.count} interactions ({self.interaction_type}) of customer "
            f"{self.customer_id} were sent, on {len(self.sent)} different assets of sector {self.sector}."
        )


def _check_customer_id(text: str) -> str:
    if not is_customer_id(text):
        raise typer.BadParameter(f"{text!r} cannot name a customer")
    return text


@app.command()
def generate(
    customer_id: Annotated[str, typer.Argument(callback=_check_customer_id, help="as 85583A768E48870A546D")],
    sector: Annotated[str, typer.Argument(help="as in GET /assets, for instance Technology")],
    count: Annotated[int, typer.Argument(min=1, max=100_000, help="how many interactions to send")] = 10,
    *,
    api: Annotated[str, typer.Option(envvar="API_URL", help="default: the running demo's, else that of compose")] = "",
    interaction_type: Annotated[InteractionType, typer.Option("--type")] = "click",
    seed: Annotated[int, typer.Option(help="another seed chooses other assets")] = 7,
) -> None:
    """Exit codes: 0 done, 2 not possible (the message says why), 130 interrupted."""
    plan = Plan(customer_id, sector, count, interaction_type, seed)
    screen = build_screen()
    try:
        with Client(api or find_api()) as client:
            print_outcome(*click_and_compare(client, plan, screen=screen), plan=plan, screen=screen)
    except (FarTransError, NothingToClickOn, NoSystemRuns) as error:
        say(f"{error}\n{plan.progress()}")
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        say(f"Interrupted: {plan.progress()}")
        raise typer.Exit(130) from error


def find_api() -> str:
    """Return the address of the running system of this clone, and say whose it is; raises NoSystemRuns."""
    demo = find_demo()
    url = demo.api_url if demo else find_compose_api()
    if url is None:
        raise NoSystemRuns(
            "No system of this clone runs. Start one (make demo, or docker compose up --build -d), or name its address:"
            " --api http://HOST:PORT, or API_URL."
        )
    say(f"The API is that of {'the running demo' if demo else 'docker compose'}: {url}")
    return url


def click_and_compare(api: Client, plan: Plan, *, screen: Console) -> tuple[RecommendationList, RecommendationList]:
    """Send the interactions, counted in the plan; return the lists before and after. Raises FarTransError."""
    isins = choose_assets(api, plan.sector)
    before = ask_for_list(api, plan.customer_id, "request_recs")
    ranks = {asset.isin: asset.rank for asset in before.recommendations}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen) as bar:
        for isin in bar.track(spread(isins, plan), description=f"{plan.interaction_type} on {plan.sector}"):
            rank = ranks.get(isin)
            # An asset that the list shows is clicked on in the list.
            shown_by = None if rank is None else before.request_id
            api.record_interaction(plan.customer_id, isin, plan.interaction_type, request_id=shown_by, rank=rank)
            plan.sent[isin] += 1
    return before, ask_for_list(api, plan.customer_id, "refresh_recs")


def ask_for_list(api: Client, customer_id: str, action: Action, *, timeout_seconds: float = 30.0) -> RecommendationList:
    """Request a list and return it once it is there; raises FarTransError."""
    request_id = api.request_recommendations(customer_id, action)
    return api.wait_for_list(customer_id, request_id, timeout_seconds=timeout_seconds)


def share_of(sector: str, newest: RecommendationList) -> float:
    """Return the fraction of the assets that belong to this sector; 0 for an empty list."""
    assets = newest.recommendations
    return [asset.sector for asset in assets].count(sector) / len(assets) if assets else 0.0


def choose_assets(api: Client, sector: str) -> list[str]:
    """Return the ISINs of a sector, ascending; raises NothingToClickOn with the names of all sectors."""
    isins = sorted({asset.isin for asset in api.assets(sector=sector)})
    if not isins:
        sectors = sorted({asset.sector for asset in api.assets() if asset.sector})
        known = ", ".join(sectors) or "none (is the data loaded?)"
        raise NothingToClickOn(f"No asset belongs to sector {sector!r}. Sectors: {known}")
    return isins


def spread(isins: Sequence[str], plan: Plan) -> list[str]:
    """Return `plan.count` ISINs: each once before any is repeated; the same for the same seed."""
    shuffled = sorted(isins)
    random.Random(plan.seed).shuffle(shuffled)  # noqa: S311  (a choice of examples)
    return [shuffled[position % len(shuffled)] for position in range(plan.count)]


def print_outcome(before: RecommendationList, after: RecommendationList, *, plan: Plan, screen: Console) -> None:
    """Print how often each asset was sent, both lists side by side, and the sector's share in each."""
    sector = plan.sector
    lines = [plan.progress(), *(f"  {times} x {isin}" for isin, times in sorted(plan.sent.items()))]
    screen.print("\n".join([*lines, f"Assets of sector {sector} are marked with *:"]), markup=False)
    table = build_ranking(screen, "before", "after")
    ranks = zip_longest(before.recommendations, after.recommendations)
    for rank, assets in enumerate(ranks, start=1):
        add_row(table, rank, *(_marked(asset, sector) for asset in assets))
    screen.print(table)
    shares = [f"{share_of(sector, before):.0%} of the list before", f"{share_of(sector, after):.0%} after"]
    if before.model_version == after.model_version:
        text = f"{', '.join(shares)} (model {after.model_version}, not retrained in between)."
    else:
        text = f"{shares[0]} (model {before.model_version}), {shares[1]} (model {after.model_version})."
    screen.print(f"{sector}: {text}", markup=False)


def _marked(asset: RecommendationItem | None, sector: str) -> str:
    return "" if asset is None else f"{'*' if asset.sector == sector else ' '} {asset.assetname} ({asset.isin})"


main = partial(run_app, app, exit_codes={})

if __name__ == "__main__":
    sys.exit(main())
