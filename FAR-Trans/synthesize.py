"""Write an invented data set in the published schema: python FAR-Trans/synthesize.py --scale 1 --seed 7 --output DIR"""

from __future__ import annotations

import argparse
import runpy
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("numpy", "pandas")

from shared.far_trans.synthetic import synthesize


def main() -> int:
    """Write the files, print the rows of each, and return the exit code."""
    # Raw: a command that is broken at a hyphen cannot be copied.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="1: the published counts (default)")
    parser.add_argument("--assets", type=int, help="size of the catalogue (default: 806 times the scale)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same bytes (default: 7)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files; files in it are replaced")
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        counts = synthesize(options.output, options.scale, options.seed, assets=options.assets)
    except (ValueError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2
    for file_name, count in counts.items():
        print(f"{file_name:<26}{count:>10,} rows")
    print(f"in {options.output}, {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
