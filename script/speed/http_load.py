"""Load on one HTTP address: by wrk where it is installed, else by a generator of our own in a process of its own.

`python -m script.speed.http_load URL --requests FILE` is that generator.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

CONNECTIONS = 32
_WARM_UP_SECONDS = 1
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}
_LUA = """
local requests, number = {{}}, 0
init = function(arguments)
  for line in io.open("{requests}", "r"):lines() do
    local method, path, body = line:match("^(%S+) (%S+) ?(.*)$")
    requests[#requests + 1] = wrk.format(method, path, {{["Content-Type"] = "application/json"}}, body)
  end
end
request = function() number = number % #requests + 1; return requests[number] end
"""


class LoadFailed(Exception):
    """An answer was not 2xx, or the generator ended with an error."""


@dataclass(frozen=True)
class LoadResult:
    """Answers per second, and the times of answers in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


def load(
    url: str, requests: Sequence[str], *, seconds: float, connections: int = CONNECTIONS, warm_up: bool = True
) -> LoadResult:
    """Send the requests (`METHOD PATH BODY`) in turn from so many connections; raises LoadFailed.

    With `warm_up` a second of the same load comes first and does not count.
    """
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        file = Path(folder) / "requests.txt"
        file.write_text("".join(f"{line}\n" for line in requests))
        by = _by_wrk if shutil.which("wrk") else _by_own_generator
        if warm_up:
            by(url, file, seconds=_WARM_UP_SECONDS, connections=connections)
        return by(url, file, seconds=seconds, connections=connections)


def _by_wrk(url: str, file: Path, *, seconds: float, connections: int) -> LoadResult:
    script = file.with_suffix(".lua")
    script.write_text(_LUA.format(requests=file))
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "20s"]
    answer = subprocess.run(["wrk", *options, "-s", str(script), url], capture_output=True, text=True, check=False)
    output = answer.stdout + answer.stderr
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if rate is None or "Non-2xx" in output or "Socket errors" in output:
        raise LoadFailed(f"{url}: {output}")
    return LoadResult(float(rate[1]), _percentile(output, 50), _percentile(output, 99))


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, flags=re.MULTILINE)
    if found is None:
        raise LoadFailed(f"no {percent} % in: {output}")
    return float(found[1]) * _UNITS[found[2]]


def _by_own_generator(url: str, file: Path, *, seconds: float, connections: int) -> LoadResult:
    options = ["--requests", str(file), "--seconds", str(seconds), "--connections", str(connections)]
    command = [sys.executable, "-m", "script.speed.http_load", url, *options]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise LoadFailed(f"{url}: {answer.stderr}")
    return LoadResult(**json.loads(answer.stdout))


class _Connection(asyncio.Protocol):
    """Sends one request after the other over one connection; an answer ends with its `Content-Length`."""

    def __init__(self, contents: Sequence[bytes], *, first: int, times: list[float], failures: list[str]) -> None:
        self._contents = contents
        self._next = first
        self._times = times
        self._failures = failures
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        if head[9:10] != b"2":
            self._failures.append(self._received.decode(errors="replace"))
        self._times.append(time.perf_counter() - self._sent_at)
        self._received = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._failures.append(repr(exc))

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._contents[self._next % len(self._contents)])
        self._next += 1


async def _generate(url: str, requests: Sequence[str], *, seconds: float, connections: int) -> LoadResult:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    contents = [_encode(line, host=address.netloc) for line in requests]
    times: list[float] = []
    failures: list[str] = []
    transports = []
    for number in range(connections):
        first = number * len(contents) // connections
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda first=first: _Connection(contents, first=first, times=times, failures=failures),  # type: ignore[misc]
            host,
            port,
        )
        transports.append(transport)
    await asyncio.sleep(seconds)
    count = len(times)
    for transport in transports:
        transport.abort()
    if failures:
        raise LoadFailed(failures[0])
    ordered = sorted(times[:count])
    percentiles = [1000 * ordered[min(count - 1, int(count * share))] for share in (0.5, 0.99)]
    return LoadResult(count / seconds, *percentiles)


def _encode(line: str, *, host: str) -> bytes:
    method, path, *body = line.split(" ", 2)
    content = body[0].encode() if body else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def main() -> int:
    """Generate load and print the result as JSON."""
    parser = ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options = parser.parse_args()
    requests = options.requests.read_text().splitlines()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        work = _generate(options.url, requests, seconds=options.seconds, connections=options.connections)
        print(json.dumps(asdict(runner.run(work))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
