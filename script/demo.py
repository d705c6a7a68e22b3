"""Everything with one command: Kafka, Postgres, data, the three services, a first model, and the README's requests.

make demo [DATA=DIR] [ONCE=1] [LOAD_OPTIONS="--max-rejects 5%"]
"""

from __future__ import annotations

import argparse
import runpy
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("far_trans_client", "psutil", "sqlalchemy")

from sqlalchemy.engine import make_url

from far_trans_client import Client, FarTransError
from script.demo_answers import CLICKS, ModelProgress, TrainingFailed, find_clickers, find_income_investor, show_answers
from script.demo_setup import (
    SYNTHETIC_SCALE,
    DemoRefused,
    DemoServers,
    choose_data,
    external_servers,
    forget,
    forget_older_states,
    sole_demo,
    state_root,
)
from script.local.owned_process import LocalServerError, free_port
from script.local.service_processes import ServiceEnvironment, Services
from script.running_system import noted_demo
from script.terminal import build_screen, say
from shared.far_trans.limits import add_limit_options, limit_arguments

_PREFERRED_PORT = 8000
_API_TIMEOUT_SECONDS = 60.0
_MODEL_TIMEOUT_SECONDS = 900.0  # the whole published data set on a slow machine


class Stopped(BaseException):
    """A signal told the demo to end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, or stopped while it was up; 1 failed; 2 cannot start like this; 130 stopped before."""
    demo = Demo(_parse(arguments))
    _let_signals_stop()
    try:
        demo.run()
    except DemoRefused as error:
        say(str(error))
        return 2
    except (LocalServerError, FarTransError, TrainingFailed, OSError) as error:
        say(f"The demo failed: {error}")
        return 1
    except Stopped:
        say("Everything has been stopped.")
        return 0 if demo.is_up else 130
    return 0


class Demo:
    """One run of the demo, reported on standard output."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._screen = build_screen()
        self._started = time.monotonic()
        self.is_up = False

    def run(self) -> None:
        """Start everything, show the answers, stay up unless told otherwise, and stop everything."""
        root = state_root()
        with sole_demo(root) as announce, ExitStack() as stack:
            if self._options.fresh:
                forget(root)
            data = choose_data(self._options.data, scale=self._options.scale, root=root, servers=external_servers())
            forget_older_states(data, root=root)
            self._report(f"data: {data.label}; state: {data.state}")
            servers = DemoServers(data, self._report, limit_arguments(self._options))
            environment = servers.prepare(stack)
            port = stack.enter_context(_reserved_port())
            services = Services(environment, folder=data.state / "logs", api_port=port)
            stack.callback(services.stop)
            announce(f"API at {services['api'].url}")
            stack.enter_context(noted_demo(root, api_url=services["api"].url, database_url=environment.database_url))
            self._answer(services, data.folder)
            self.is_up = not self._options.once  # before the output that says how to stop it
            self._show_places(services, environment, data.state)
            while self.is_up:
                time.sleep(0.5)
                services.check()
                servers.check()

    def _answer(self, services: Services, folder: Path) -> None:
        services.start()
        services.wait(services["api"].answers, what="ready", blame="api", seconds=_API_TIMEOUT_SECONDS)
        self._report(f"the API is ready: {services['api'].url}")
        progress = ModelProgress(self._report)
        with Client(services["api"].url) as api:
            services.wait(
                lambda: progress.is_served(api), what="a first model", blame="trainer", seconds=_MODEL_TIMEOUT_SECONDS
            )
            try:
                customer_id, clickers = find_income_investor(folder), find_clickers(folder)
                show_answers(api, customer_id, clickers=clickers, screen=self._screen, report=self._report)
            except FarTransError as error:
                services.check()
                raise services["worker"].failure(f"is behind this: {error}") from error

    def _show_places(self, services: Services, environment: ServiceEnvironment, state: Path) -> None:
        places = {
            "API": f"{services['api'].url}  (/docs, /models, /assets, /health/ready)",
            "metrics": services["api"].metrics_url,
            "worker": f"{services['worker'].url}  (/health/ready, /metrics)",
            "trainer": f"{services['trainer'].url}  (/health/ready, /metrics)",
            "Kafka": environment.bootstrap_servers,
            "Postgres": make_url(environment.database_url).set(password=None).render_as_string(),
            "models": environment.models_folder,
            "logs": state / "logs",
        }
        lines = ["\nWhere everything is:", *(f"  {name:<9} {place}" for name, place in places.items())]
        if not self._options.once:
            clicks = [_program(), "script/generate_interactions.py", CLICKS.customer_id, CLICKS.sector, "10"]
            lines += [f"\nMore clicks, in another terminal: {shlex.join(clicks)}"]
            lines += [
                "Ctrl-C stops everything; data and models stay for the next time. `make demo FRESH=1` removes them."
            ]
        self._screen.print("\n".join(lines), markup=False, soft_wrap=True)

    def _report(self, text: str) -> None:
        self._screen.print(f"[{time.monotonic() - self._started:5.1f} s] {text}", markup=False, soft_wrap=True)


def _let_signals_stop() -> None:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        # The second signal ends the demo at once; its servers get their stop signal when it is gone.
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped

    for each in signals:
        signal.signal(each, stop)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Return 8000 if it is free and no other demo is about to use it, else any free port."""
    with socket.socket(socket.AF_UNIX) as reservation:
        preferred: int | None = _PREFERRED_PORT
        if sys.platform == "linux":
            try:
                # An abstract name: it ends with this process, and every user of the machine sees it.
                reservation.bind(f"\0far-trans-recommender-port-{_PREFERRED_PORT}")
            except OSError:
                preferred = None
        yield free_port(preferred)


def _program() -> str:
    with suppress(ValueError):
        return str(Path(sys.executable).relative_to(Path.cwd()))
    return sys.executable


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    # argparse, not Typer: the loader's options are shared with script/first_data.py and FAR-Trans/script.py.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="FAR-Trans files; default: FAR-Trans/, else synthetic")
    parser.add_argument("--scale", type=float, default=SYNTHETIC_SCALE, help="of synthetic data (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="end after the answers")
    parser.add_argument("--fresh", action="store_true", help="remove what earlier demos of this clone left")
    add_limit_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
