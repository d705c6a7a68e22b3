"""What wrk prints is read with each of its units; a time of one second and more ends with a blank."""

from __future__ import annotations

import pytest

from script.speed.http_load import LoadFailed, _percentile

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
