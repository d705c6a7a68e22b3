"""The policies that are shipped with the code, and the one that a setting names."""

from __future__ import annotations

from pathlib import Path

from shared.recommender.policy.parsing import load_policy
from shared.recommender.policy.rules import Policy

SHIPPED = Path(__file__).resolve().parents[1] / "policies"
DEFAULT_POLICY = SHIPPED / "default.toml"


def shipped_policies() -> dict[str, Policy]:
    """Return the policies of the folder by the names of their files; raises PolicyInvalid."""
    return {path.stem: load_policy(path) for path in sorted(SHIPPED.glob("*.toml"))}


def named_policy(name: str | Path) -> Policy:
    """Return a shipped policy by its name, or the policy of a file; raises PolicyInvalid."""
    shipped = SHIPPED / f"{name}.toml"
    return load_policy(shipped if shipped.is_file() else Path(name))
