"""What the trainer tells Prometheus, on its health port."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

TRAININGS = Counter("recommender_trainer_trainings", "Trainings by how they ended", ["outcome"])
TRAINING_SECONDS = Histogram(
    "recommender_trainer_training_seconds", "Duration of trainings", buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
)
TRAINING_NOW = Gauge("recommender_trainer_training_now", "1 while a training is under way")
INTERACTIONS_SINCE_LAST = Gauge(
    "recommender_trainer_interactions_since_last", "Interactions and orders that no finished training covers"
)
ACTIVE_SEQUENCE = Gauge("recommender_trainer_active_sequence", "Sequence of the pointer file")
LEADING = Gauge("recommender_trainer_leading", "1 for the trainer that trains, 0 for one that stands by")
COMMANDS = Counter("recommender_trainer_commands", "Commands handled", ["event_type"])
REQUESTS_JOINED = Counter(
    "recommender_trainer_requests_joined", "Requests for a training that joined one that waits already"
)
DEAD_LETTERS = Counter("recommender_trainer_dead_letters", "Messages that no retry can mend")
