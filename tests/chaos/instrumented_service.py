"""`python -m tests.chaos.instrumented_service SERVICE --failpoints FOLDER [--without GUARD]`: a service to fail.

The service's own main runs, with failpoints and with bugs for marked messages. `--without` removes one guard; a
campaign against such a service must fail.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from script.local.service_processes import SERVICES
from tests.chaos.bugs import set_bugs
from tests.chaos.failpoints import CAMPAIGN, FAILPOINTS, ReachedFailpoints, set_failpoints
from tests.chaos.guards import GUARDS, TAKE_OUT


def main(arguments: Sequence[str] | None = None) -> None:
    """Wrap, then run the service as `python -m SERVICE` would."""
    options = parse_arguments(arguments)
    own = [name for name in CAMPAIGN if FAILPOINTS[name].service == options.service]
    set_failpoints(own, ReachedFailpoints(options.failpoints).reach)
    set_bugs()
    for guard in options.without:
        TAKE_OUT[guard]()
    sys.argv = [options.service]
    runpy.run_module(options.service, run_name="__main__", alter_sys=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return service, failpoints and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--failpoints", type=Path, required=True, help="folder in which failpoints are armed")
    parser.add_argument("--without", choices=GUARDS, action="append", default=[], help="remove this guard")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
