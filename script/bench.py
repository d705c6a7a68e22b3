"""Measure every part of the system beside its limit, in one run (make bench).

Each leg is measured by turns with its limit; the report has the median ratio and the spread. Nothing is asserted: the
exit code is 0 when every leg was measured. Servers and database are its own and are removed afterwards; DATABASE_URL
names another PostgreSQL server to create the database on.
"""

from __future__ import annotations

import runpy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("psycopg2", "typer")

import sys

import typer

from script.speed.first_version import measure_first_version
from script.speed.gateway import measure_gateway, measure_reads
from script.speed.hot_swap import measure_hot_swap
from script.speed.legs import Leg, print_report, write_report
from script.speed.loading import measure_load
from script.speed.plots import write_plot
from script.speed.system import BenchSystem, bench_system
from script.speed.training import measure_training
from script.speed.worker import measure_backlog, measure_latency
from script.terminal import build_app, say
from shared.far_trans.synthetic import synthesize

REPORT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "speed.json"
LEGS = ("gateway", "reads", "worker", "latency", "training", "load", "swap")
app = build_app(None)


@app.command(help=__doc__)
def bench(
    data: Annotated[Path | None, typer.Option(help="folder with the six files (default: an invented set)")] = None,
    scale: Annotated[float, typer.Option(help="of the invented set")] = 1.0,
    quick: Annotated[bool, typer.Option(help="one short round of each leg")] = False,
    leg: Annotated[list[str] | None, typer.Option(help=f"only these: {', '.join(LEGS)}")] = None,
    report: Annotated[Path, typer.Option(help="the JSON report; its plot has the same name")] = REPORT,
) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
        if data is None:
            data = Path(folder)
            synthesize(data, min(scale, 0.05) if quick else scale)
        with bench_system(data) as system:
            legs = measure(system, names=leg or LEGS, quick=quick)
    write_report(legs, report)
    write_plot(legs, report.with_suffix(".png"))
    print_report(legs)
    say(f"the report is {report}")


def measure(system: BenchSystem, *, names: Sequence[str], quick: bool) -> list[Leg]:
    """Return the legs of these names, in order; `quick` takes one short round of each."""
    rounds, seconds, requests = (1, 1.0, 2_000) if quick else (5, 5.0, 100_000)

    def worker() -> list[Leg]:
        backlog = measure_backlog(system, rounds=rounds, requests=requests)
        return [backlog, measure_first_version(system, worker_rates=backlog.ours, requests=20 if quick else 200)]

    measurements: dict[str, Callable[[], list[Leg]]] = {
        "gateway": lambda: measure_gateway(system, rounds=rounds, seconds=seconds),
        "reads": lambda: measure_reads(system, rounds=rounds, seconds=seconds),
        "worker": worker,
        "latency": lambda: measure_latency(system, rounds=rounds, seconds=2 * seconds),
        "training": lambda: measure_training(system, rounds=rounds),
        "load": lambda: measure_load(system.data, database_url=system.database_url, rounds=rounds),
        "swap": lambda: [measure_hot_swap(system, rounds=rounds, seconds=2 * seconds)],
    }
    legs: list[Leg] = []
    for name in LEGS:
        if name in names:
            say(f"measuring {name}")
            legs += measurements[name]()
    return legs


if __name__ == "__main__":
    sys.exit(app())
