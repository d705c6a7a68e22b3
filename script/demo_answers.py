"""The README's three requests with their real answers, and what ten clicks change."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

from rich.console import Console

from script.api_client import ApiClient
from script.generate_interactions import NothingToClickOn, Plan, click_and_compare, print_outcome
from script.screen import print_list

CUSTOMER_ID = "85583A768E48870A546D"
SECTOR = "Technology"
CLICKS = 10


def show_answers(api: ApiClient, *, screen: Console, first_answer: Callable[[str], None]) -> None:
    """Send the requests and print each as a curl line with its answer; raises ApiFailed."""
    request = {"customer_id": CUSTOMER_ID, "action": "request_recs"}
    request_id = api.request(CUSTOMER_ID, "request_recs")
    served = api.wait_for_list(CUSTOMER_ID, request_id, wait_seconds=60.0)
    first_answer(f"the first list is there: {len(served.items)} assets for customer {CUSTOMER_ID}\n")

    show_request(api, screen=screen, method="POST", path="/recommendations", body=request)
    _say(screen, '200 {"status": "ok"}', f"X-Request-ID: {request_id}\n")
    show_request(api, screen=screen, method="GET", path=f"/recommendations/{CUSTOMER_ID}")
    first = json.dumps(served.items[0]) if served.items else ""
    _say(screen, f'200 {{"status": "ok", "recommendations": [{first}, ... {len(served.items)} in all]}}')
    _say(screen, f"X-Request-ID: {served.request_id}", f"X-Model-Version: {served.model_version}")
    basis = f"X-Recommendation-Basis: {served.basis}\n"
    _say(screen, basis)
    title = "The same list as a table: profitability is the published one, the score is the sum of three contributions:"
    print_list(served, title=title, screen=screen)
    _say(screen, "")
    if not served.items:
        return
    isin = served.items[-1]["isin"]
    interaction = {"customer_id": CUSTOMER_ID, "isin": isin, "type": "click"}
    show_request(api, screen=screen, method="POST", path="/user_interactions", body=interaction)
    api.record_interaction(CUSTOMER_ID, isin)
    _say(screen, '200 {"status": "ok"}\n')
    _show_clicks(api, screen=screen)


def show_request(
    api: ApiClient, *, screen: Console, method: str, path: str, body: dict[str, Any] | None = None
) -> None:
    """Print the curl line that does the same."""
    words = ["curl", f"{api.url}{path}"]
    if body is not None:
        words[1:1] = ["-X", method]
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    _say(screen, "$ " + shlex.join(words))


def _show_clicks(api: ApiClient, *, screen: Console) -> None:
    plan = Plan(CUSTOMER_ID, SECTOR, CLICKS)
    _say(screen, f"What {CLICKS} clicks on {SECTOR} do:")
    try:
        outcome = click_and_compare(api, plan, screen=screen)
    except NothingToClickOn as error:
        _say(screen, str(error))
        return
    print_outcome(outcome, plan, screen=screen)
    if outcome.before.share_of(SECTOR) > 0:
        _say(screen, "Clicks of earlier demos count too; `python script/demo.py --fresh` starts without them.")


def _say(screen: Console, *lines: str) -> None:
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)
