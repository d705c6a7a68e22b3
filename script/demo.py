"""Everything with one command: Kafka, Postgres, data, the three services, a first model, and the README's requests.

make demo [DATA=DIR] [ONCE=1] [LOAD_OPTIONS="--max-rejects 5%"]
"""

from __future__ import annotations

import argparse
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

from rich.console import Console

from script.api_client import ApiClient, ApiFailed
from script.demo_answers import CUSTOMER_ID, show_answers
from script.demo_servers import External, Ground
from script.demo_state import (
    SYNTHETIC_SCALE,
    DemoRefused,
    choose_data,
    forget,
    forget_older_states,
    sole_demo,
    state_root,
)
from script.local.owned_process import LocalServerError, free_port
from script.local.service_processes import Services, Surroundings
from script.model_progress import ModelProgress
from script.screen import build_screen
from shared.far_trans.limits import add_limit_options, limit_arguments

_PREFERRED_PORT = 8000
_API_TIMEOUT_SECONDS = 60.0
_MODEL_TIMEOUT_SECONDS = 900.0  # the whole published data set on a slow machine


class Stopped(BaseException):
    """Somebody asked the demo to end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, or stopped while it was up; 1 failed; 2 cannot start like this; 130 stopped before."""
    options = _parse(arguments)
    complaints = Console(stderr=True, highlight=False, soft_wrap=True)
    demo = Demo(options)
    _let_signals_stop()
    try:
        demo.run()
    except DemoRefused as error:
        complaints.print(str(error), markup=False)
        return 2
    except (LocalServerError, ApiFailed, OSError) as error:
        complaints.print(f"The demo failed: {error}", markup=False)
        return 1
    except Stopped:
        complaints.print("Everything has been stopped.")
        return 0 if demo.is_up else 130
    return 0


class Demo:
    """One run of the demo, told on standard output."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._screen = build_screen()
        self._started = time.monotonic()
        self.is_up = False

    def run(self) -> None:
        """Start everything, show the answers, stay up unless told otherwise, and stop everything."""
        root, external = state_root(), External.from_environment()
        with sole_demo(root) as announce, ExitStack() as stack:
            if self._options.fresh:
                forget(root)
            data = choose_data(self._options.data, scale=self._options.scale, root=root, servers=external.addresses())
            forget_older_states(data, root=root)
            self._report(f"data: {data.label}; state: {data.state}")
            ground = Ground(data, external, self._report, limit_arguments(self._options))
            surroundings = ground.prepare(stack)
            port = stack.enter_context(_reserved_port())
            services = Services(surroundings, folder=data.state / "logs", api_port=port)
            stack.callback(services.stop)
            announce(f"API at {services['api'].url}")
            self._answer(services, surroundings)
            self.is_up = not self._options.once  # before the line that says how to stop it: who reads that may be quick
            self._show_places(services, surroundings, data.state)
            if self.is_up:
                self._stay_up(services, ground)

    def _answer(self, services: Services, surroundings: Surroundings) -> None:
        services.start()
        api_is_ready = services["api"].answers
        services.wait(api_is_ready, what="ready", blame="api", seconds=_API_TIMEOUT_SECONDS)
        self._report(f"the API is ready: {services['api'].url}")
        with ApiClient(services["api"].url) as api:
            self._wait_for_model(api, services)
            try:
                show_answers(api, screen=self._screen, first_answer=self._report)
            except ApiFailed as error:
                services.check()
                raise services["worker"].failure(f"is behind this: {error}") from error

    def _wait_for_model(self, api: ApiClient, services: Services) -> None:
        progress = ModelProgress(self._report)
        services.wait(
            lambda: progress.is_served(api), what="a first model", blame="trainer", seconds=_MODEL_TIMEOUT_SECONDS
        )

    def _show_places(self, services: Services, surroundings: Surroundings, state: Path) -> None:
        places = {
            "API": f"{services['api'].url}  (/docs, /models, /assets, /health/ready)",
            "metrics": services["api"].metrics_url,
            "worker": f"{services['worker'].url}  (/health/ready, /metrics)",
            "trainer": f"{services['trainer'].url}  (/health/ready, /metrics)",
            "Kafka": surroundings.bootstrap_servers,
            "Postgres": _without_password(surroundings.database_url),
            "models": str(surroundings.models_folder),
            "logs": str(state / "logs"),
        }
        self._screen.print("\nWhere everything is:")
        for name, place in places.items():
            self._screen.print(f"  {name:<9} {place}", markup=False, soft_wrap=True)
        if not self._options.once:
            clicks = [_program(), "script/generate_interactions.py", CUSTOMER_ID, "Technology", "10"]
            command = shlex.join([*clicks, "--api", services["api"].url])
            self._screen.print(f"\nMore clicks: {command}", markup=False, soft_wrap=True)
            self._screen.print("Ctrl-C stops everything; data and models stay for the next time.")

    def _stay_up(self, services: Services, ground: Ground) -> None:
        while True:
            time.sleep(0.5)
            services.check()
            ground.check()

    def _report(self, text: str) -> None:
        self._screen.print(f"[{time.monotonic() - self._started:5.1f} s] {text}", markup=False, soft_wrap=True)


def _let_signals_stop() -> None:
    def stop(number: int, frame: FrameType | None) -> NoReturn:
        # The second one ends the demo at once; its servers get their stop signal when it is gone.
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for each in signals:
        signal.signal(each, stop)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """8000 if it is free and no other demo is about to take it, else any free one."""
    with socket.socket(socket.AF_UNIX) as reservation:
        if sys.platform != "linux":
            yield free_port(_PREFERRED_PORT)
            return
        try:
            # An abstract name: it vanishes with this process, and every user of the machine sees it.
            reservation.bind(f"\0far-trans-recommender-port-{_PREFERRED_PORT}")
        except OSError:
            yield free_port()
        else:
            yield free_port(_PREFERRED_PORT)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    identity, at, place = rest.rpartition("@")
    return f"{scheme}://{identity.partition(':')[0]}{at}{place}"


def _program() -> str:
    with suppress(ValueError):
        return str(Path(sys.executable).relative_to(Path.cwd()))
    return sys.executable


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="FAR-Trans files; default: FAR-Trans/, else synthetic")
    parser.add_argument("--scale", type=float, default=SYNTHETIC_SCALE, help="of synthetic data (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="end after the answers")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier demos of this clone left")
    add_limit_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
