"""The commands on policies: what a policy says, whether it is valid, and what another one changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from script.policy import compare, main
from shared.policy_files import named_policy
from shared.recommender.types import Basis, Contributions, Customer, RankedAsset, Ranking, RiskLevel
from tests.builders import build_history


def ranking(customer_id: str, isins: str, basis: Basis = Basis.HISTORY) -> Ranking:
    nothing = Contributions(0.0, 0.0, 0.0)
    assets = tuple(RankedAsset(isin, rank, 0.0, nothing) for rank, isin in enumerate(isins, start=1))
    return Ranking(customer_id, basis, assets)


def test_a_shipped_policy_is_shown_with_its_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "cautious"]) == 0
    shown = capsys.readouterr().out
    assert named_policy("cautious").digest in shown
    assert "caps.issuer: 0.2" in shown
    assert "caps.category: off" in shown


def test_a_policy_that_is_not_valid_is_named_and_the_others_are_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("format = 1\nname = 3\n")
    assert main(["check", str(broken), "default"]) == 1
    printed = capsys.readouterr()
    assert "broken.toml: name must be printable text" in printed.err
    assert "default: valid" in printed.out
    assert main(["check", "default", "cautious"]) == 0
    assert main(["show", str(tmp_path / "none.toml")]) == 2


@pytest.mark.parametrize("days", ["30", "0d", "-3d", "d", "30 d"])
def test_a_time_that_is_none_is_refused(days: str) -> None:
    with pytest.raises(SystemExit):
        main(["diff", "default", "cautious", "--last", days])


def test_a_diff_needs_its_servers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(["diff", "default", "cautious"]) == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_a_comparison_counts_customers_and_assets_by_risk_level() -> None:
    policies = [named_policy("default"), named_policy("cautious")]
    histories = [
        build_history(Customer("A", RiskLevel.INCOME)),
        build_history(Customer("B", RiskLevel.INCOME)),
        build_history(Customer("C", None)),
    ]
    first = [ranking("A", "abc"), ranking("B", "abc"), ranking("C", "ab")]
    second = [ranking("A", "abd"), ranking("B", "abc"), ranking("C", "", Basis.NOTHING_SUITABLE)]
    lines = compare(histories, first, second, policies=policies)
    assert lines[0].endswith("2 of 3 customers have another list")
    assert lines[1] == "income: 1 of 2 lists change; nothing suitable: 0 -> 0"
    assert lines[2:4] == ["  gained: 1 assets: d (1)", "  lost: 1 assets: c (1)"]
    assert lines[4] == "unknown: 1 of 1 lists change; nothing suitable: 0 -> 1"
    assert lines[6] == "  lost: 2 assets: a (1), b (1)"
