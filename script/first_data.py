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
from itertools import islice
from pathlib import Path

from sqlalchemy import create_engine, func, select

from shared.far_trans.limits import add_change_options, add_limit_options, change_arguments, limit_arguments
from shared.far_trans.schema import TABLES
from shared.far_trans.source_files import find_paths
from shared.postgres.engine import sqlalchemy_url
from shared.postgres.tables import reference_snapshots
from shared.transport_checks import environment_database_url

_FAR_TRANS = Path(__file__).resolve().parent.parent / "FAR-Trans"
_SOME_REJECTED = 1
_SHOWN_REJECTS = 20
_SHOWN_CHARACTERS = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """Put data into the database that DATABASE_URL names."""
    options = parse_arguments(arguments)
    if options.only_if_empty and is_loaded(find_database_url()):
        print("The database holds data already: it stays as it is.")
        return 0
    folder, limits = options.data, [*change_arguments(options), *limit_arguments(options)]
    with tempfile.TemporaryDirectory() as temporary:
        if options.append or options.undo is not None:
            return load(folder, limits, rejects=Path(temporary) / "far_trans.rejects.csv")
        if not any(find_paths(folder, schema) for schema in TABLES):
            if options.scale <= 0:
                print(f"No FAR-Trans files in {folder} and SYNTHETIC_SCALE is 0: nothing is loaded.")
                return 0
            print(f"No FAR-Trans files in {folder}: synthetic data at scale {options.scale:g} instead.")
            folder = Path(temporary) / "synthetic"
            code = _run("synthesize.py", "--scale", str(options.scale), "--seed", "7", "--output", str(folder))
            if code:
                return code
        return load(folder, limits, rejects=Path(temporary) / "far_trans.rejects.csv")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return data, scale, only_if_empty and the options of the loader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_FAR_TRANS, help="folder that may hold the published files")
    scale = float(os.environ.get("SYNTHETIC_SCALE") or 0.02)
    text = "of the synthetic set; 0: none (default: SYNTHETIC_SCALE, else 0.02)"
    parser.add_argument("--scale", type=float, default=scale, help=text)
    parser.add_argument("--only-if-empty", action="store_true", help="leave a database alone that holds a whole load")
    add_change_options(parser)
    add_limit_options(parser)
    return parser.parse_args(arguments)


def find_database_url() -> str:
    """Return DATABASE_URL, with the password of DATABASE_PASSWORD_FILE; exits where it is missing or wrong."""
    try:
        return environment_database_url() or sys.exit("DATABASE_URL is not set")
    except ValueError as error:
        sys.exit(str(error))


def is_loaded(database_url: str) -> bool:
    """Return whether every reference table was loaded; a load that stopped part way does not count."""
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(reference_snapshots)) == len(TABLES)
    finally:
        engine.dispose()


def load(folder: Path, limits: Sequence[str], *, rejects: Path) -> int:
    """Run the loader and show rejected rows, since the container's files go with it; some of them are no failure."""
    code = _run("script.py", "--data", str(folder), *limits, "--rejects", str(rejects))
    if rejects.exists():  # its rows are printable
        with rejects.open(encoding="utf-8", errors="replace") as lines:
            for line in islice(lines, _SHOWN_REJECTS):
                print(line[:_SHOWN_CHARACTERS].rstrip("\n"))
        print(f"(at most {_SHOWN_REJECTS} lines of it; run FAR-Trans/script.py yourself for all)")
    return 0 if code == _SOME_REJECTED else code


def _run(script: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, str(_FAR_TRANS / script), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
