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
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("httpx", "typer")

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from script.api_client import ApiClient, ApiFailed, ApiUnavailable, ServedList
from script.running_system import find_compose_api, find_demo
from script.terminal import add_row, build_app, build_ranking, build_screen, run_app, say
from shared.identifiers import is_customer_id
from shared.recommender.types import InteractionType

app = build_app(__doc__)


class NothingToClickOn(ApiFailed):
    """The catalogue has no asset of that sector."""


@dataclass(frozen=True)
class Plan:
    """The customer, the sector, and how many interactions of which type."""

    customer_id: str
    sector: str
    count: int
    interaction_type: str = "click"
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
    interaction_type: Annotated[InteractionType, typer.Option("--type")] = InteractionType.CLICK,
    seed: Annotated[int, typer.Option(help="another seed chooses other assets")] = 7,
) -> None:
    """Exit codes: 0 done, 2 not possible (the message says why), 130 interrupted."""
    plan = Plan(customer_id, sector, count, interaction_type.value, seed)
    screen = build_screen()
    try:
        with ApiClient(api or find_api()) as client:
            print_outcome(*click_and_compare(client, plan, screen=screen), plan=plan, screen=screen)
    except ApiFailed as error:
        say(f"{error}\n{plan.progress()}")
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        say(f"Interrupted: {plan.progress()}")
        raise typer.Exit(130) from error


def find_api() -> str:
    """Return the address of the running system of this clone, and say whose it is; raises ApiUnavailable."""
    demo = find_demo()
    url = demo.api_url if demo else find_compose_api()
    if url is None:
        raise ApiUnavailable(
            "No system of this clone runs. Start one (make demo, or docker compose up --build -d), or name its address:"
            " --api http://HOST:PORT, or API_URL."
        )
    say(f"The API is that of {'the running demo' if demo else 'docker compose'}: {url}")
    return url


def click_and_compare(api: ApiClient, plan: Plan, *, screen: Console) -> tuple[ServedList, ServedList]:
    """Send the interactions, counted in the plan; return the lists before and after. Raises ApiFailed."""
    isins = choose_assets(api, plan.sector)
    before = api.ask(plan.customer_id, "request_recs")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen) as bar:
        for isin in bar.track(spread(isins, plan), description=f"{plan.interaction_type} on {plan.sector}"):
            api.record_interaction(plan.customer_id, isin, plan.interaction_type)
            plan.sent[isin] += 1
    return before, api.ask(plan.customer_id, "refresh_recs")


def choose_assets(api: ApiClient, sector: str) -> list[str]:
    """Return the ISINs of a sector, ascending; raises NothingToClickOn with the names of all sectors."""
    isins = sorted({asset["isin"] for asset in api.fetch_assets(sector=sector)})
    if not isins:
        sectors = sorted({asset["sector"] for asset in api.fetch_assets() if asset["sector"]})
        known = ", ".join(sectors) or "none (is the data loaded?)"
        raise NothingToClickOn(f"No asset belongs to sector {sector!r}. Sectors: {known}")
    return isins


def spread(isins: Sequence[str], plan: Plan) -> list[str]:
    """Return `plan.count` ISINs: each once before any is repeated; the same for the same seed."""
    shuffled = sorted(isins)
    random.Random(plan.seed).shuffle(shuffled)  # noqa: S311  (a choice of examples)
    return [shuffled[position % len(shuffled)] for position in range(plan.count)]


def print_outcome(before: ServedList, after: ServedList, *, plan: Plan, screen: Console) -> None:
    """Print how often each asset was sent, both lists side by side, and the sector's share in each."""
    sector = plan.sector
    lines = [plan.progress(), *(f"  {times} x {isin}" for isin, times in sorted(plan.sent.items()))]
    screen.print("\n".join([*lines, f"Assets of sector {sector} are marked with *:"]), markup=False)
    table = build_ranking(screen, "before", "after")
    for index in range(max(len(before.items), len(after.items))):
        add_row(table, index + 1, *(_marked(served, index, sector) for served in (before, after)))
    screen.print(table)
    shares = [f"{before.share_of(sector):.0%} of the list before", f"{after.share_of(sector):.0%} after"]
    if before.model_version == after.model_version:
        text = f"{', '.join(shares)} (model {after.model_version}, not retrained in between)."
    else:
        text = f"{shares[0]} (model {before.model_version}), {shares[1]} (model {after.model_version})."
    screen.print(f"{sector}: {text}", markup=False)


def _marked(served: ServedList, index: int, sector: str) -> str:
    if index >= len(served.items):
        return ""
    item = served.items[index]
    return f"{'*' if item['sector'] == sector else ' '} {item['assetname']} ({item['isin']})"


main = partial(run_app, app, exit_codes={})

if __name__ == "__main__":
    sys.exit(main())
