"""The fault campaign (`make chaos`): load, faults, and then the ledger of every call against the database.

Exit codes: 0 clean (L = D = O = S = 0 and no violation), 1 red, 2 the campaign itself could not go on, 3 it could not
begin, since this machine cannot have a broker or a database.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.chaos.campaign import Campaign, Lengths
from tests.chaos.guards import GUARDS
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load, Population
from tests.chaos.report import Run, build_report, lines
from tests.chaos.schedule import CLOSING, FAULTS, OPENING, build_schedule, check_names, count_kills
from tests.chaos.system import NoServers, System, remove, set_up
from tests.chaos.verification import EFFECT_TIMEOUT_SECONDS, verify

CALLS_PER_SECOND = 60.0
FAST_CALLS_PER_SECOND = 400.0  # once the last fault is over
MOST_SECONDS_FOR_THE_REST = 300.0
CUSTOMERS = 200
PROBES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one campaign, report, and clean up; a red one keeps its folder and names it."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started and mounted is ended first
    names = options.faults or build_schedule(seed=options.seed, kills=options.kills)
    folder = Path(tempfile.mkdtemp(prefix="far-trans-chaos-", dir=options.folder))
    log(f"seed {options.seed}: {len(names)} faults, at least {options.events} events")
    try:
        report = run(options, names, folder)
    except NoServers as error:
        remove(folder)
        log(str(error))
        return 3
    except Exception as error:  # whatever it is, the logs must be found
        traceback.print_exc()
        log(f"the campaign could not go on: {error}\nlogs are in {folder}")
        return 2
    for line in lines(report):
        print(line)
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n")
    if report["clean"] and not options.keep:
        remove(folder)
        return 0
    log(f"ledger and logs are in {folder}")
    return 0 if report["clean"] else 1


def run(options: argparse.Namespace, names: Sequence[str], folder: Path) -> dict[str, object]:
    """Return the report; everything that was started has ended then."""
    began = time.monotonic()
    with set_up(folder, without=options.without, log=log) as system, system.http() as http:
        campaign = build_campaign(system, http, options)
        inject_all(campaign, names, events=options.events)
        log("waiting for the effects of all acknowledged calls")
        verdict = verify(campaign, timeout_seconds=options.effect_timeout)
        campaign.ledger.save(folder / "ledger.jsonl")
    run = Run(options.seed, options.kills, tuple(options.without), tuple(names), time.monotonic() - began)
    return build_report(run, campaign, verdict)


def build_campaign(system: System, http: httpx.Client, options: argparse.Namespace) -> Campaign:
    """Return a campaign whose load has not started."""
    rows = system.query("SELECT DISTINCT customer_id FROM customer_information ORDER BY 1")
    customers = [row[0] for row in rows]
    isins = tuple(row[0] for row in system.query("SELECT DISTINCT isin FROM asset_information ORDER BY 1"))
    chance = random.Random(options.seed)
    chance.shuffle(customers)
    # A few are unknown to the bank: they are customers too.
    population = Population(
        customers[: CUSTOMERS - 10] + [f"new-{number}" for number in range(10)], isins, options.seed
    )
    ledger = Ledger()
    load = Load(population, port=system["api"].port, ledger=ledger, calls_per_second=CALLS_PER_SECOND)
    poison = max(20, options.events // 100)
    lengths = Lengths.brief(poison) if options.brief else Lengths(poison_messages=poison)
    return Campaign(
        system,
        ledger,
        load,
        http,
        chance,
        probe_customers=tuple(customers[CUSTOMERS : CUSTOMERS + PROBES]),
        isins=isins,
        lengths=lengths,
        calls_per_second=CALLS_PER_SECOND,
        log=log,
    )


def inject_all(campaign: Campaign, names: Sequence[str], *, events: int) -> None:
    """Run the load, and one fault after the other in it; then let it reach its number of events."""
    opening = [name for name in names if name in OPENING]
    closing = [name for name in names if name in CLOSING]
    middle = [name for name in names if name not in (*opening, *closing)]
    for name in opening:
        inject(campaign, name)
    campaign.load.start()
    try:
        campaign.wait_randomly(3.0)
        for number, name in enumerate(middle, start=1):
            inject(campaign, name, number=f"{number}/{len(middle)}")
        campaign.load.set_pace(FAST_CALLS_PER_SECOND)
        deadline = time.monotonic() + MOST_SECONDS_FOR_THE_REST
        while campaign.ledger.count("acknowledged") < events and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        campaign.load.stop()
    campaign.expect(campaign.ledger.count("acknowledged") >= events, f"fewer than {events} events were acknowledged")
    for name in closing:
        inject(campaign, name)


def inject(campaign: Campaign, name: str, *, number: str = "") -> None:
    """Run one fault and log how it went."""
    began = time.monotonic()
    before = len(campaign.recovered)
    FAULTS[name](campaign)
    if name in campaign.skipped:
        log(f"{number:>7} {name}: skipped, {campaign.skipped[name]}")
        return
    campaign.faults[name] += 1
    campaign.kills += count_kills(name)
    recovered = campaign.recovered[before:]
    took = f", recovered in {max(recovered):.1f} s" if recovered else ""
    log(f"{number:>7} {name}: {time.monotonic() - began:.1f} s{took}; {campaign.ledger.count('acknowledged')} events")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what is asked for, with a seed in any case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="acknowledged calls, at least")
    parser.add_argument("--kills", type=int, default=25, help="kills among the faults")
    parser.add_argument("--seed", type=int, default=None, help="of schedule and customers (default: the time)")
    parser.add_argument("--report", type=Path, help="write the report as JSON")
    parser.add_argument("--faults", type=lambda text: text.split(","), help="only these, in this order")
    parser.add_argument("--without", choices=GUARDS, action="append", default=[], help="remove a guard")
    parser.add_argument("--brief", action="store_true", help="shorter outages, for continuous integration")
    seconds = EFFECT_TIMEOUT_SECONDS
    parser.add_argument("--effect-timeout", type=float, default=seconds, help="seconds until a missing effect is lost")
    parser.add_argument(
        "--folder", type=Path, help="where ledger, logs and data go (default: the system's temporary one)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder of a clean campaign too")
    options = parser.parse_args(arguments)
    options.seed = int(time.time()) if options.seed is None else options.seed
    try:
        check_names(options.faults or [])
    except ValueError as error:
        parser.error(str(error))
    return options


def log(text: str) -> None:
    """Print progress to standard error; standard output has the report only."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
