"""The worker's lists out of the database are the offline functions' lists out of the trainer's arrays."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from shared.artifacts.publication import FileArtifacts
from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    InteractionRecorded,
    RecommendationRequested,
    encode,
)
from shared.far_trans.synthetic import synthesize
from shared.ports import Message
from shared.postgres.engine import build_engine, sqlalchemy_url
from shared.recommender.configuration import ALGORITHMS, ModelConfiguration, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.history import dismissed_isins
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend_indices
from shared.recommender.signal import REGISTRY, signal_class
from shared.recommender.training_data import TrainingData
from shared.recommender.training_rows import build_training_data
from shared.recommender.types import INTERACTION_WINDOW, InteractionType, InteractionWeights
from tests.integration.loading import load
from trainer.evaluation.rolling import RollingRules
from trainer.evaluation.splits import build_split
from trainer.evaluation.weights import Budget, choose_weights, weight_alternatives, with_profitability_share
from trainer.service.store import PostgresTrainerStore
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.handlers import handle_batch
from worker.message_buffer import Batch
from worker.store import PostgresWorkerStore

NOW = datetime.now(UTC) + timedelta(hours=1)  # later than every click of the test, however slow the machine
CLICKS = InteractionWeights(click=0.3, view=0.9, watchlist=0.5, half_life_days=7.0)
# Every signal that this installation can fit, beside those of the default.
OTHERS = [
    name
    for name in REGISTRY
    if name not in ALGORITHMS["ease_next_purchase"]
    and signal_class(name).component == "collaborative"
    and name != "segment_prior"
    and signal_class(name).is_available()
]
CONFIGURATION = build_configuration(
    "+".join(["ease_next_purchase", *OTHERS]), interaction_weights=CLICKS, changes={"lightfm": {"epochs": 2}}
)
ROLLING = RollingRules(most_cutoffs=3, most_customers=50)


@pytest.mark.postgres
def test_the_worker_lists_what_the_evaluation_lists(database_url: str, tmp_path: Path) -> None:
    synthesize(tmp_path, 0.02, 7)
    assert load(tmp_path, database_url) == 0
    trainer = PostgresTrainerStore(
        build_engine(database_url, application_name="trainer", pool_size=4), cluster_id="c", consumer_group="trainer"
    )
    split = build_split(build_training_data(trainer.fetch_training_rows().rows, now=NOW), window_days=90)
    assert split is not None
    with create_engine(sqlalchemy_url(database_url)).begin() as connection:
        # What was sold entirely may be listed again, which no evaluation does (decision 32): nothing is sold here.
        connection.execute(text("DELETE FROM transactions WHERE transaction_type = 'Sell'"))
        for table, day in (("transactions", "traded_on"), ("close_prices", "priced_on")):
            connection.execute(text(f"DELETE FROM {table} WHERE {day} > :cutoff"), {"cutoff": split.cutoff})
    isins = split.training.id_map.isins
    customers = [history.customer.customer_id for history in split.histories]
    # A third of the test customers click, some dismiss: interactions must be read alike as well.
    clicks = [
        _click(customer, isins[number % len(isins)], number)
        for number, customer in enumerate(customers)
        if number % 3 == 0
    ]
    # One clicks by a clock that is ahead and then dismisses; one dismisses and then views more than the window holds.
    ahead = datetime.now(UTC) + timedelta(hours=20)
    others = [
        _click(customers[1], isins[0], 1000, type=InteractionType.CLICK, occurred_at=ahead),
        _click(customers[1], isins[0], 1001, type=InteractionType.DISMISS),
        *(_click(customers[2], isin, 1002 + n, type=InteractionType.DISMISS) for n, isin in enumerate(isins[1::2])),
        *(_click(customers[2], isins[2], 3000 + n, type=InteractionType.VIEW) for n in range(INTERACTION_WINDOW)),
    ]
    worker = PostgresWorkerStore(database_url, cluster_id="c", consumer_group="worker")
    with worker.begin() as transaction:
        handle_batch(
            Batch(writes=(*clicks, *others)), transaction=transaction, catalogue=Catalogue(worker), scoring=None
        )

    data = build_training_data(trainer.fetch_training_rows().rows, now=NOW)
    configuration = choose(data)
    FileArtifacts(tmp_path / "models").save_model(fit_model(data, configuration, version="v1"))
    FileArtifacts(tmp_path / "models").activate("v1")
    position = {customer.customer_id: index for index, customer in enumerate(data.customers)}
    histories = data.histories([position[customer] for customer in customers])
    offline = recommend_indices(fit_model(data, configuration, version="v1"), histories, k=10, now=NOW)

    scoring = Scoring(served_model(tmp_path / "models"), k=10, now=lambda: NOW)
    requests = tuple(_request(customer, number) for number, customer in enumerate(customers))
    with worker.begin() as transaction:
        handled = handle_batch(
            Batch(requests=requests), transaction=transaction, catalogue=Catalogue(worker), scoring=scoring
        )

    served = [[item.isin for item in decision.answer.items] for decision in handled.decisions]
    evaluated = [[isins[index] for index in row if index != NO_ASSET] for row in offline.tolist()]
    assert len(customers) >= 50
    assert sum(bool(history.interactions) for history in histories) == len(clicks) + 2
    assert (isins[0] in dismissed_isins(histories[1]), isins[1] in dismissed_isins(histories[2])) == (True, True)
    assert len({tuple(row) for row in evaluated}) > 10
    assert served == evaluated
    assert scoring.model.configuration == configuration
    assert not scoring.model.silent_components
    assert {signal.name for signal in configuration.signals()} >= {name for name in REGISTRY if name != "lightfm"}


def choose(data: TrainingData) -> ModelConfiguration:
    """Return the configuration with the weights that a training chooses; every component gets one, and content more."""
    choice = choose_weights(data, CONFIGURATION, rules=ROLLING, budget=Budget(600.0), figures={})
    assert choice.tried == 18
    *_, last = weight_alternatives(choice.chosen)
    assert last.weights.content > choice.chosen.weights.content
    return with_profitability_share(last, 0.1)


def served_model(models_dir: Path) -> Model:
    """Return the model that a worker loads from the volume."""
    artifacts = FileArtifacts(models_dir)
    pointer = artifacts.read_pointer()
    assert pointer is not None
    return artifacts.load_model(pointer)


def _click(customer: str, isin: str, number: int, **fields: Any) -> Message:
    kind = InteractionType.DISMISS if number % 2 else InteractionType.CLICK
    event = InteractionRecorded(event_id=uuid.uuid4(), customer_id=customer, isin=isin, **{"type": kind, **fields})
    return Message(INTERACTIONS_RECORDED, 0, number, customer.encode(), encode(event))


def _request(customer: str, number: int) -> Message:
    event = RecommendationRequested(customer_id=customer, action="refresh_recs")
    return Message(RECOMMENDATIONS_REQUESTED, 0, number, customer.encode(), encode(event))
