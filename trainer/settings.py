"""Settings of the trainer."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from shared.errors import ConfigurationInvalid
from shared.recommender.configuration import (
    ALGORITHMS,
    DEFAULT_SEED,
    DEFAULT_WEIGHTS,
    ModelConfiguration,
    build_configuration,
)
from shared.recommender.types import InteractionWeights, Weights
from shared.settings import ServiceSettings
from trainer.evaluation.promotion import Margins
from trainer.evaluation.selection import SelectionRules
from trainer.service.job import TrainingPlan
from trainer.service.trigger import TriggerRules

SPARK_PACKAGES = ("pyspark", "pyarrow")


class TrainerSettings(ServiceSettings):
    """Everything that the trainer can be told."""

    trainer_health_port: int = Field(9102, ge=0, le=65535, description="health and metrics of the trainer")
    trainer_consumer_group: str = Field("trainer", min_length=1, description="name of the trainers' consumer group")
    worker_consumer_group: str = Field("worker", min_length=1, description="name of the workers' consumer group")
    retrain_after_interactions: int = Field(1000, ge=1, description="new interactions that start a training")
    retrain_after_seconds: float = Field(600.0, gt=0, description="or this long after the last, if there is a new one")
    evaluation_window_days: int = Field(
        90, ge=7, le=730, description="the last days of purchases that a candidate is judged on"
    )
    promotion_margin: float = Field(
        0.01, ge=0, le=1, description="nDCG@10 that a challenger may be worse by, or one standard error if that is more"
    )
    promotion_roi_margin: float = Field(
        0.005, ge=0, le=1, description="monthly return of the lists (ROI@10) that a challenger may be worse by"
    )
    candidate_algorithms: str = Field(
        ",".join(ALGORITHMS),
        description='candidates in order of preference, comma-separated; "+" adds a signal, as in ease+user_knn',
    )
    default_weight_collaborative: float = Field(
        DEFAULT_WEIGHTS.collaborative, ge=0, description="of a new model; CHOOSE_WEIGHTS starts from it"
    )
    default_weight_content: float = Field(
        DEFAULT_WEIGHTS.content, ge=0, description="of a new model; CHOOSE_WEIGHTS starts from it"
    )
    default_weight_profitability: float = Field(
        DEFAULT_WEIGHTS.profitability, ge=0, description="of a new model, unless CHOOSE_WEIGHTS chooses its share"
    )
    interaction_weight_click: float = Field(InteractionWeights.click, ge=0, le=1, description="of an owned asset")
    interaction_weight_view: float = Field(InteractionWeights.view, ge=0, le=1, description="of an owned asset")
    interaction_weight_watchlist: float = Field(
        InteractionWeights.watchlist, ge=0, le=1, description="of an owned asset"
    )
    interaction_half_life_days: float = Field(
        InteractionWeights.half_life_days, gt=0, description="an interaction counts half after that"
    )
    choose_weights: bool = Field(True, description="at each training, on earlier purchases; false: the default weights")
    selection_budget_seconds: float = Field(
        60.0, ge=0, description="after that no further candidate or weights are tried"
    )
    kept_versions: int = Field(3, ge=2, le=100, description="artifacts on the volume")
    training_seed: int = Field(DEFAULT_SEED, ge=0, description="of everything random in a training")
    training_engine: Literal["local", "spark"] = Field(
        "local", description="where signals are fitted: `local`, in the trainer, or `spark` (docs/spark.md)"
    )
    spark_master: str = Field(
        "local[2]", min_length=1, description="of Apache Spark: `local[2]`, or `spark://host:7077` with SPARK_FOLDER"
    )
    spark_folder: Path | None = Field(
        None, description="folder that the trainer and all executors of Spark share under the same path"
    )
    spark_timeout_seconds: float = Field(
        600.0,
        gt=0,
        description="longest start of Spark, and longest fit on one set of data; then the training fails",
    )

    def default_weights(self) -> Weights:
        """Return the weights that a new model carries unless others prove better."""
        return Weights(
            self.default_weight_collaborative, self.default_weight_content, self.default_weight_profitability
        )

    def training_plan(self) -> TrainingPlan:
        """Return how every training is done; candidates that this installation cannot fit are left out."""
        return TrainingPlan(
            candidates=tuple(candidate for candidate in self._candidates() if candidate.is_available()),
            selection=SelectionRules(
                self.evaluation_window_days, self.selection_budget_seconds, choose_weights=self.choose_weights
            ),
            margins=Margins(self.promotion_margin, self.promotion_roi_margin),
            seed=self.training_seed,
        )

    def unavailable_algorithms(self) -> list[str]:
        """Return the named candidates that this installation cannot fit; they are left out."""
        return [candidate.algorithm for candidate in self._candidates() if not candidate.is_available()]

    def _candidates(self) -> list[ModelConfiguration]:
        interaction_weights = InteractionWeights(
            click=self.interaction_weight_click,
            view=self.interaction_weight_view,
            watchlist=self.interaction_weight_watchlist,
            half_life_days=self.interaction_half_life_days,
        )
        return [
            build_configuration(
                name, weights=self.default_weights(), interaction_weights=interaction_weights, seed=self.training_seed
            )
            for name in _names(self.candidate_algorithms)
        ]

    def trigger_rules(self) -> TriggerRules:
        """Return when a training is due."""
        return TriggerRules(self.retrain_after_interactions, self.retrain_after_seconds)

    @field_validator("candidate_algorithms")
    @classmethod
    def _known_algorithms(cls, value: str) -> str:
        try:
            candidates = [build_configuration(name) for name in _names(value)]
        except ConfigurationInvalid as error:
            raise ValueError(str(error)) from error
        if not candidates:
            raise ValueError(f"must name at least one of {', '.join(ALGORITHMS)}, or signals")
        if not any(candidate.is_available() for candidate in candidates):
            raise ValueError("names only what is not installed here (LightFM needs a C compiler at set-up)")
        return value

    @model_validator(mode="after")
    def _usable_engine(self) -> TrainerSettings:
        if self.training_engine == "local":
            return self
        if missing := [name for name in SPARK_PACKAGES if find_spec(name) is None]:
            raise ValueError(
                f"TRAINING_ENGINE=spark needs {' and '.join(missing)}: install the extra `spark` (make spark)"
            )
        if self.spark_folder is None and not self.spark_master.startswith(("local[", "local-cluster[")):
            raise ValueError(f"SPARK_FOLDER is needed with SPARK_MASTER={self.spark_master}: executors read from it")
        return self

    @model_validator(mode="after")
    def _usable_weights(self) -> TrainerSettings:
        self.default_weights()
        return self


def _names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]
