"""How wrk is run, and what it prints with each of its units; a time of one second and more ends with a blank."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from script.speed.http_load import LoadFailed, _percentile, load

OUTPUT = "  Latency Distribution\n     50%  {}\n     99%  {}\n  1000 requests in 1.00s, 1.00MB read\n"


@pytest.mark.parametrize(
    ("printed", "milliseconds"), [("850.00us", 0.85), ("12.34ms", 12.34), ("1.34s ", 1340.0), ("1.02m ", 61200.0)]
)
def test_a_percentile_is_in_milliseconds(printed: str, milliseconds: float) -> None:
    output = OUTPUT.format("1.00ms", printed)
    assert _percentile(output, 50) == 1.0
    assert _percentile(output, 99) == pytest.approx(milliseconds)


def test_output_without_the_percentile_is_an_error() -> None:
    with pytest.raises(LoadFailed, match="no 99 % in"):
        _percentile("unable to connect", 99)


@pytest.mark.parametrize(("options", "seconds"), [({}, ["-d1s", "-d3s"]), ({"warm_up": False}, ["-d3s"])])
def test_a_warm_up_comes_first_unless_it_is_not_wanted(
    options: dict[str, bool], seconds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, answer = tmp_path / "runs", tmp_path / "answer"
    answer.write_text(f"{OUTPUT.format('1.00ms', '2.00ms')}Requests/sec:    250.00\n")
    wrk = tmp_path / "wrk"
    wrk.write_text(f'#!/bin/sh\necho "$@" >> {runs}\ncat {answer}\n')
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    result = load("http://127.0.0.1:1", ["GET /"], seconds=3.0, **options)

    assert [line.split()[2] for line in runs.read_text().splitlines()] == seconds
    assert (result.per_second, result.p50_ms, result.p99_ms) == (250.0, 1.0, 2.0)
