"""Data for the compose set-up: the FAR-Trans files of a folder, else a small synthetic set.

Exit codes: 0 loaded, or nothing to do; otherwise the one of the loader, which left a message: 2 where it refused the
files and touched nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import create_engine, func, select

from shared.far_trans.limits import add_limit_options, limit_arguments
from shared.far_trans.schema import TABLES
from shared.postgres.engine import sqlalchemy_url
from shared.postgres.tables import reference_snapshots

_FAR_TRANS = Path(__file__).resolve().parent.parent / "FAR-Trans"
_SOME_REJECTED = 1
_SHOWN_REJECTS = 20
_SHOWN_CHARACTERS = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Put data into the database that DATABASE_URL names."""
    options = parse_arguments(arguments)
    if options.only_if_empty and is_loaded(os.environ["DATABASE_URL"]):
        print("The database holds data already: it stays as it is.")
        return 0
    if any((options.data / schema.file_name).exists() for schema in TABLES):
        return load(options.data, limit_arguments(options))
    if options.scale <= 0:
        print(f"No FAR-Trans files in {options.data} and SYNTHETIC_SCALE is 0: nothing is loaded.")
        return 0
    print(f"No FAR-Trans files in {options.data}: synthetic data at scale {options.scale:g} instead.")
    return load_synthetic(options.scale, limit_arguments(options))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return data, scale, only_if_empty and the limits of the loader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_FAR_TRANS, help="folder that may hold the published files")
    parser.add_argument(
        "--scale",
        type=float,
        default=float(os.environ.get("SYNTHETIC_SCALE") or 0.02),
        help="of the synthetic set; 0: none (default: SYNTHETIC_SCALE, else 0.02)",
    )
    parser.add_argument("--only-if-empty", action="store_true", help="leave a database alone that holds a whole load")
    add_limit_options(parser)
    return parser.parse_args(arguments)


def is_loaded(database_url: str) -> bool:
    """Return whether every reference table was loaded; a load that stopped part way does not count."""
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(reference_snapshots)) == len(TABLES)
    finally:
        engine.dispose()


def load(folder: Path, limits: Sequence[str] = ()) -> int:
    """Run the loader and show rejected rows, since the container's files go with it; some of them are no failure."""
    with tempfile.TemporaryDirectory() as temporary:
        rejects = Path(temporary) / "far_trans.rejects.csv"
        code = _run("script.py", "--data", str(folder), *limits, "--rejects", str(rejects))
        if rejects.exists():
            show_rejects(rejects)
        return 0 if code == _SOME_REJECTED else code


def show_rejects(rejects: Path) -> None:
    """Print the first lines of the rejects file, whose rows are printable."""
    with rejects.open(encoding="utf-8", errors="replace") as lines:
        for _, line in zip(range(_SHOWN_REJECTS), lines, strict=False):
            print(line[:_SHOWN_CHARACTERS].rstrip("\n"))
    print(f"(at most {_SHOWN_REJECTS} lines of it; run FAR-Trans/script.py yourself for all)")


def load_synthetic(scale: float, limits: Sequence[str] = ()) -> int:
    """Write a synthetic set into a temporary folder and load it."""
    with tempfile.TemporaryDirectory() as temporary:
        code = _run("synthesize.py", "--scale", str(scale), "--seed", "7", "--output", temporary)
        return code or load(Path(temporary), limits)


def _run(script: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, str(_FAR_TRANS / script), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
