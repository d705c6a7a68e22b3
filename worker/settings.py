"""The settings of the worker."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from shared.errors import PolicyInvalid
from shared.policy_files import DEFAULT_POLICY, named_policy
from shared.recommender.policy.rules import Policy
from shared.recommender.types import Weights
from shared.settings import ServiceSettings


class WorkerSettings(ServiceSettings):
    """The environment of the worker."""

    worker_health_port: int = Field(9101, ge=0, le=65535, description="health and metrics of the worker")
    worker_consumer_group: str = Field("worker", min_length=1, description="name of the workers' consumer group")
    worker_batch_size: int = Field(500, ge=1, le=10_000, description="messages in one transaction, at most")
    worker_history_mebibytes: int = Field(0, ge=0, le=65_536, description="memory for kept histories; 0: none")
    model_poll_seconds: float = Field(1.0, gt=0, description="how often the pointer file is looked at")
    recommendation_count: int = Field(10, ge=1, le=100, description="names in a list (k)")
    session_timeout_seconds: float = Field(10.0, gt=0, description="a silent worker loses its partitions after that")
    decision_retention_months: int | None = Field(
        None, ge=1, le=1200, description="whole months that decisions are kept beside the current one; empty: for ever"
    )
    interaction_retention_months: int | None = Field(
        None,
        ge=1,
        le=1200,
        description="whole months that interactions are kept beside the current one, and longer where a list needs "
        "them; empty: for ever",
    )
    dead_letter_retention_months: int | None = Field(
        None,
        ge=1,
        le=1200,
        description="whole months that dead letters are kept beside the current one; empty: for ever",
    )
    policy_file: Path | None = Field(
        None, description="suitability policy: a TOML file, or the name of one in policies/; empty: `default`"
    )
    weight_collaborative: float | None = Field(None, ge=0, description="empty: the model's own weights")
    weight_content: float | None = Field(None, ge=0, description="empty: the model's own weights")
    weight_profitability: float | None = Field(None, ge=0, description="empty: the model's own weights")

    @field_validator("policy_file")
    @classmethod
    def _is_a_policy(cls, value: Path | None) -> Path | None:
        try:
            named_policy(value or DEFAULT_POLICY)
        except PolicyInvalid as error:
            raise ValueError(str(error)) from None
        return value

    def policy(self) -> Policy:
        """Return the policy that lists obey."""
        return named_policy(self.policy_file or DEFAULT_POLICY)

    def weights(self) -> Weights | None:
        """Return the weights set here (a missing one counts as 0), None when none is set."""
        values = (self.weight_collaborative, self.weight_content, self.weight_profitability)
        if all(value is None for value in values):
            return None
        return Weights(*(value or 0.0 for value in values))
