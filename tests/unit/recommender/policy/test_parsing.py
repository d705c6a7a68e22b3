"""A policy file is read as a whole or refused by the name of a key; its digest is of its content."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import PolicyInvalid
from shared.policy_files import SHIPPED, named_policy, shipped_policies
from shared.recommender.policy.parsing import load_policy, parse_policy
from tests.unit.recommender.policy.policies import BASE, EVERY_RULE, MISSING, VOLATILITY, policy_with


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (BASE + "[market]\n", "market is no key"),
        (BASE + "tolerence = 'strict'\n", "customer.tolerence is no key"),
        (BASE.replace('"one_lower"', '"sometimes"'), "customer.predicted must be one of accept"),
        (BASE.replace('not_available = "lowest"', 'not_available = "accept"'), "customer.not_available must be lowest"),
        (BASE.replace('undated = "accept"\n', ""), "customer.undated is missing"),
        (BASE.replace("version = 3", "version = true"), "version must be a whole number"),
        (BASE.replace("version = 3", "version = 3.0"), "version must be a whole number"),
        (BASE.replace("format = 1", "format = 2"), "format must be"),
        (BASE.replace('"*" = "income"\n', ""), "asset_risk.sub_category.Bond.* is missing"),
        (BASE.replace('Stock = "balanced"', "Stock = 3"), "asset_risk.category.Stock must be one of conservative"),
        (BASE + "questionnaire_years = 0\n", "customer.questionnaire_years must be a whole number from 1"),
        (BASE + VOLATILITY.replace("0.05", "0.2"), "asset_risk.volatility.most must rise"),
        (BASE + VOLATILITY.replace("0.05", "nan"), "asset_risk.volatility.most.conservative must be a number"),
        (BASE + VOLATILITY.replace("0.4}", "0.4, aggressive = 1}"), "asset_risk.volatility.most.aggressive is no key"),
        (BASE + VOLATILITY.replace("least_prices = 3", "least_prices = 2"), "volatility.least_prices must be"),
        (BASE + VOLATILITY.replace("window_days = 365", "window_days = 2"), "3 prices do not fit into 2 days"),
        (BASE + MISSING.replace("least_prices = 2", "least_prices = 366"), "do not fit"),
        (BASE + "[caps]\nsector = 0\n", "caps.sector must be above 0"),
        (BASE + "[caps]\nissuer = 1.5\n", "caps.issuer must be a number from 0 to 1"),
        (BASE + "[exclusions]\nisins = 'A'\n", "exclusions.isins must be a list"),
        (BASE + "[prices]\nmax_age_days = -1\n", "prices.max_age_days must be"),
        (BASE + "[ties]\nleave_out = 1\n", "ties.leave_out must be true or false"),
        (BASE + "asset_risk = 1\n" * 0 + "[liquidity]\n", "liquidity.window_days is missing"),
        ("asset_risk = 1", "format is missing"),
        ("= broken", "no TOML"),
        (BASE + f"[caps]\nsector = {'1' * 400}\n", "no TOML"),
        (BASE + f"[caps]\nsector = {'1' * 5_000}\n", "no TOML"),
        (BASE + f"[{'.'.join('a' * 2_000)}]\n", "no TOML"),
        (BASE + "[exclusions]\nisins = ['US0378331005 ']\n", "exclusions.isins must be printable text without blanks"),
    ],
)
def test_what_is_wrong_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(PolicyInvalid) as refusal:
        parse_policy(text)
    assert named in str(refusal.value)


def test_a_large_file_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    link = tmp_path / "policy.toml"
    link.symlink_to("/dev/zero")

    with pytest.raises(PolicyInvalid, match="larger than 1048576 bytes") as refusal:
        load_policy(link)

    assert str(refusal.value).count(str(link)) == 1


def test_a_drawdown_beyond_everything_is_refused() -> None:
    text = EVERY_RULE.replace("balanced = 0.5}", "balanced = 1.5}")
    with pytest.raises(PolicyInvalid, match=r"drawdown\.most\.balanced"):
        parse_policy(text)


def test_comments_and_order_do_not_change_the_digest() -> None:
    head, customers = BASE.split("[customer]")
    lines = customers.strip().splitlines()
    other = f"# a comment\n{head}\n[customer]  # here as well\n" + "\n".join(reversed(lines)) + "\n"
    assert parse_policy(other) == parse_policy(BASE)


def test_the_order_of_exclusions_and_a_whole_number_do_not_change_the_digest() -> None:
    first = parse_policy(BASE + '[exclusions]\nisins = ["B", "A"]\n[caps]\nsector = 1\n')
    second = parse_policy(BASE + '[exclusions]\nisins = ["A", "B", "A"]\n[caps]\nsector = 1.0\n')
    assert first == second


def test_every_value_changes_the_digest() -> None:
    changed = [
        ("balanced", "aggressive"),
        ("0.05", "0.06"),
        ("365", "366"),
        ("Tobacco", "Alcohol"),
        ("one_lower", "lowest"),
    ]
    digests = {parse_policy(EVERY_RULE.replace(old, new, 1)).digest for old, new in changed}
    assert len(digests | {parse_policy(EVERY_RULE).digest}) == len(changed) + 1


def test_omitted_rules_are_off() -> None:
    policy = policy_with()
    rules = policy.assets
    assert {rules.volatility, rules.drawdown, rules.missing_prices, policy.max_price_age_days, policy.liquidity} == {
        None
    }
    assert not policy.caps.given()


def test_every_shipped_policy_is_valid_and_named_as_its_file() -> None:
    policies = shipped_policies()
    assert "default" in policies
    assert {name: policy.name for name, policy in policies.items()} == {name: name for name in policies}
    assert len({policy.digest for policy in policies.values()}) == len(policies)
    assert named_policy("default") == named_policy(SHIPPED / "default.toml")


def test_a_file_that_is_no_policy_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"\xff\xfe")
    for path in (broken, tmp_path / "missing.toml", tmp_path):
        with pytest.raises(PolicyInvalid, match=path.name):
            load_policy(path)
