"""How settings become candidates: names, weights, and interaction weights that the worker reads from the model."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from shared.recommender.types import InteractionWeights
from trainer.settings import TrainerSettings
from worker.settings import WorkerSettings

DATABASE_URL = SecretStr("postgresql://nobody@localhost/nothing")


def build_settings(**values: Any) -> TrainerSettings:
    fields = {"kafka_bootstrap_servers": "localhost:9092", "models_dir": "models", "database_url": DATABASE_URL}
    return TrainerSettings(**{**fields, **values})


def test_every_candidate_has_the_interaction_weights_of_the_settings() -> None:
    settings = build_settings(interaction_weight_click=0.4, interaction_half_life_days=9.0)

    candidates = settings.training_plan().candidates

    assert candidates
    expected = InteractionWeights(click=0.4, half_life_days=9.0)
    assert all(candidate.interaction_weights == expected for candidate in candidates)
    assert all(candidate.to_json()["interaction_weights"]["click"] == 0.4 for candidate in candidates)


def test_the_worker_has_no_interaction_weights_of_its_own() -> None:
    weights = {
        name for name in TrainerSettings.model_fields if name.startswith(("interaction_weight", "interaction_half"))
    }
    assert weights
    assert not weights & set(WorkerSettings.model_fields)


def test_a_candidate_may_name_signals() -> None:
    [candidate] = build_settings(candidate_algorithms="ease+user_knn").training_plan().candidates

    assert [signal.name for signal in candidate.collaborative] == ["item_item", "user_knn"]


@pytest.mark.parametrize("names", ["", "nothing", "ease+nothing", "ease+item_item"])
def test_candidates_that_cannot_be_built_are_refused(names: str) -> None:
    with pytest.raises(ValidationError, match="candidate_algorithms"):
        build_settings(candidate_algorithms=names)


def test_a_training_on_spark_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.settings.find_spec", lambda name: None)

    assert build_settings().training_engine == "local"
    with pytest.raises(ValidationError, match=r"needs pyspark and pyarrow: install the extra `spark` \(make spark\)"):
        build_settings(training_engine="spark")


def test_a_cluster_needs_a_folder_that_it_shares_with_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.settings.find_spec", lambda name: True)
    cluster = {"training_engine": "spark", "spark_master": "spark://master:7077"}

    with pytest.raises(ValidationError, match="SPARK_FOLDER is needed with SPARK_MASTER=spark://master:7077"):
        build_settings(**cluster)

    assert build_settings(**cluster, spark_folder="/shared").spark_folder is not None
    assert build_settings(training_engine="spark").spark_master == "local[2]"
