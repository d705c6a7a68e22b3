"""The hot swap's leg: answer times while models are swapped, beside the same load without swaps."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import httpx

from script.speed.http_load import load
from script.speed.legs import Leg, alternate
from script.speed.system import BenchSystem, run_python

SWAP_TO_BASELINE = 1 / 1.5
_CONNECTIONS = 8
_SWAP_SECONDS = 1.0


def measure_hot_swap(system: BenchSystem, *, rounds: int, seconds: float) -> Leg:
    """Return the leg of the 99th percentile of GET while two versions are activated by turns; no answer may fail."""
    # Another configuration: a training that finds nothing new keeps no version.
    another = system.environment.variables() | {"INTERACTION_HALF_LIFE_DAYS": "45"}
    run_python(["-m", "trainer", "--once", "--force"], another)
    reads = [f"GET /recommendations/{one}" for one in system.customers[:1000]]
    swaps = 0
    with system.service("api") as api, system.service("worker"), system.service("trainer"):
        models = httpx.get(f"{api.url}/models", trust_env=False).json()["models"]
        first, second, *_ = (row["version"] for row in models if row["servable"])

        def baseline() -> float:
            return load(api.url, reads, seconds=seconds, connections=_CONNECTIONS).p99_ms

        def swapping() -> float:
            nonlocal swaps
            stop = threading.Event()

            def swap() -> None:
                nonlocal swaps
                while not stop.wait(_SWAP_SECONDS):
                    url = f"{api.url}/models/{(first, second)[swaps % 2]}/activate"
                    httpx.post(url, headers={"X-Requested-With": "bench"}, trust_env=False).raise_for_status()
                    swaps += 1

            with ThreadPoolExecutor(1) as pool:
                swapped = pool.submit(swap)
                try:
                    p99_ms = baseline()
                finally:
                    stop.set()
                swapped.result()  # raises where a version was not activated
            return p99_ms

        values = alternate(swapping, baseline, rounds=rounds)
    name, limit = "GET during hot swaps, p99", "the same load without swaps"
    details = {"swaps": swaps, "p99_baseline_ms": round(median(values[1]), 2), "failed": 0}
    return Leg(name, "ms", *values, limit, SWAP_TO_BASELINE, more_is_better=False, details=details)
