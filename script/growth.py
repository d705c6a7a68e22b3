"""Measure how time, memory and the size of a model grow with customers and with assets (make growth).

Every part of every size runs in a process of its own. What the report has already is not measured again, so a run that
was interrupted goes on where it ended. Data, database and models are kept in --folder until then.
"""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Annotated, Any

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("psycopg2", "typer")

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext

import typer

from script.growing.measurements import ONCE, measurement_names
from script.growing.plots import exponents, write_plots
from script.local.postgres import LocalPostgres
from script.local.service_processes import REPOSITORY
from script.speed.legs import describe_machine
from script.terminal import build_app, say
from shared.far_trans.synthetic import synthesize
from shared.far_trans.synthetic.sizes import build_sizes

REPORT = REPOSITORY / "docs" / "benchmarks" / "growth.json"
SCALES, CATALOGUES = (1.0, 3.0, 10.0, 30.0), (806, 3_000, 10_000, 30_000)
QUICK_SCALES, QUICK_CATALOGUES = (0.02, 0.04), (150, 300)
PART_SECONDS = 3_600.0
app = build_app(None)


@app.command(help=__doc__)
def growth(
    quick: Annotated[bool, typer.Option(help="two small sizes of each")] = False,
    scale: Annotated[list[float] | None, typer.Option(help="only these scales of customers")] = None,
    assets: Annotated[list[int] | None, typer.Option(help="only these catalogues")] = None,
    part: Annotated[list[str] | None, typer.Option(help=f"only these: {', '.join(measurement_names())}")] = None,
    report: Annotated[Path, typer.Option(help="the JSON report; its plot has the same name")] = REPORT,
    folder: Annotated[Path | None, typer.Option(help="for data and models (default: removed afterwards)")] = None,
) -> None:
    scales = scale or (QUICK_SCALES if quick else SCALES)
    catalogues = assets or (QUICK_CATALOGUES if quick else CATALOGUES)
    sizes = [(one, min(catalogues)) for one in sorted(scales)]
    sizes += [(min(scales), one) for one in sorted(catalogues)[1:]]
    with tempfile.TemporaryDirectory(prefix="growth-") as temporary:
        where = folder or Path(temporary)
        names = [one for one in measurement_names() if not part or one in part]
        needs_database = bool(set(names) & {"load", "read", "answer", *ONCE})
        postgres = LocalPostgres(where / "postgres", durable=False) if needs_database else None
        with postgres or nullcontext():
            for size in sizes:
                wanted = names if size == sizes[0] else [one for one in names if one not in ONCE]
                measure_size(*size, names=wanted, folder=where, postgres=postgres, report=report)
    rows = read_report(report)
    write_plots(rows, report.with_suffix(".png"))
    say(f"the report is {report}")


def measure_size(
    scale: float, assets: int, *, names: Sequence[str], folder: Path, postgres: LocalPostgres | None, report: Path
) -> None:
    """Measure what the report lacks of one size, and write the report after each part."""
    counts, data = build_sizes(scale, assets=assets), folder / f"{scale:g}-{assets}"
    rows = read_report(report)
    row = next((row for row in rows if row["scale"] == scale and row["assets"] == assets), None)
    if row is None:
        row = {"scale": scale, "customers": counts.customers, "assets": assets, "parts": {}}
        row["transactions"] = counts.buys + counts.sells
        rows.append(row)
    missing = [part for part in names if part not in row["parts"]]
    data.mkdir(parents=True, exist_ok=True)
    url = postgres.ensure_database(f"growth_{scale:g}_{assets}".replace(".", "_")) if postgres else ""
    if "load" in missing and not (data / "transactions.csv").exists():
        synthesize(data, scale, assets=assets)
    for part in missing:
        say(f"{counts.customers:,} customers, {assets:,} assets: {part}")
        row["parts"][part] = run_part(part, data, database_url=url)
        write_report(rows, report)


def run_part(part: str, data: Path, *, database_url: str) -> dict[str, Any]:
    """Return the figures of one part, measured in a process of its own on one thread; {"failed": why} if it ends."""
    command = [sys.executable, "-m", "script.growing.measurements", part, str(data)]
    environment = os.environ | {"DATABASE_URL": database_url, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=PART_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {PART_SECONDS:g} s"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        return {"failed": lines[-1][:200]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def read_report(path: Path) -> list[dict[str, Any]]:
    """Return the sizes of a report, none where there is no file yet."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["sizes"] if path.exists() else []
    return rows


def write_report(rows: list[dict[str, Any]], path: Path) -> None:
    """Replace the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": describe_machine(), "exponents": exponents(rows), "sizes": rows}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(app())
