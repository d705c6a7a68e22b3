"""Full volumes, a damaged artifact, and a log that no longer holds what the worker wants to read."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from shared.artifacts.format import ARRAYS_FILE, encode_arrays, encode_pointer, named_arrays
from shared.artifacts.publication import FileArtifacts
from shared.events import INTERACTIONS_RECORDED, InteractionRecorded
from shared.kafka.topics import create_topics
from shared.ports import Pointer
from shared.recommender.types import InteractionType
from tests.chaos.campaign import Campaign
from tests.chaos.direct import DirectProducer, stored_offsets
from tests.chaos.services import FaultyService, wait_until
from tests.chaos.verification import SEPARATE_CUSTOMERS

_PREFIX = "range."
_GROUP = "worker-range"
_TRAINING_SECONDS = 90.0
_REFUSAL_SECONDS = 30.0
# Without a change since the served model, a training that could be saved is not promoted.
_SUCCEEDED = "status = 'promoted' OR reason LIKE 'nothing changed:%%'"
_MODEL_SECONDS = 10.0  # the pointer is looked at every second


def full_model_volume(campaign: Campaign) -> None:
    """A training that cannot be kept fails with the reason, the old model serves; with space the next one succeeds."""
    volume = campaign.system.models_volume
    if volume.why_not is not None:
        campaign.skipped["full_model_volume"] = volume.why_not
        return
    _wait_for_trainings(campaign)
    served = FileArtifacts(volume.folder).read_pointer()
    volume.fill()
    try:
        campaign.retrain()
        failed = wait_until(
            lambda: _trainings(campaign, "status = 'failed' AND reason ILIKE '%%no space%%'") > 0,
            seconds=_TRAINING_SECONDS,
        )
        campaign.expect(failed, "a training on a full volume did not fail with that reason")
        campaign.expect(FileArtifacts(volume.folder).read_pointer() == served, "a full volume moved the pointer")
        campaign.recover("full model volume", since=time.monotonic())
    finally:
        volume.free()
    finished = _trainings(campaign, _SUCCEEDED)
    campaign.retrain()
    again = wait_until(lambda: _trainings(campaign, _SUCCEEDED) > finished, seconds=_TRAINING_SECONDS)
    campaign.expect(again, "no training succeeded after the volume had space again")


def full_database_disk(campaign: Campaign) -> None:
    """The tablespace of user_interactions is full: the worker waits and skips nothing, until there is space."""
    volume, worker = campaign.system.tables_volume, campaign.system["worker"]
    if volume.why_not is not None:
        campaign.skipped["full_database_disk"] = volume.why_not
        return
    position = worker.log_end()
    with campaign.down():
        # Free pages of rolled back rows would take new ones.
        campaign.system.execute("SET lock_timeout = '30s'", "VACUUM FULL user_interactions")
        volume.fill()
        try:
            met = wait_until(lambda: worker.logged_since(position, "No space left") > 0, seconds=_REFUSAL_SECONDS)
            campaign.expect(met, "the worker did not meet the full disk")
            time.sleep(2.0)
        finally:
            volume.free()
        since = time.monotonic()
    campaign.recover("full database disk", since=since)


def damaged_artifact(campaign: Campaign) -> None:
    """A version whose numbers were changed on the disk gets the pointer: no worker may serve it."""
    artifacts = FileArtifacts(campaign.system.models_volume.folder)
    worker = campaign.system["worker"]
    _wait_for_trainings(campaign)
    good = artifacts.read_pointer()
    if good is None:
        campaign.expect(False, "there is no model to damage")
        return
    damaged = _write_damaged(artifacts, good, version=f"damaged-{campaign.random.getrandbits(32):08x}")
    campaign.forbidden_models.add(damaged.version)
    position, since = worker.log_end(), time.monotonic()
    _point_at(artifacts, damaged)
    refused = wait_until(lambda: worker.logged_since(position, "model.refused") > 0, seconds=_MODEL_SECONDS)
    campaign.expect(refused, "the worker did not refuse a damaged artifact")
    campaign.recover("damaged artifact", since=since)
    campaign.expect(campaign.is_accepted(f"/models/{good.version}/activate"), "no rollback is taken")

    def is_good() -> bool:
        pointer = artifacts.read_pointer()
        return pointer is not None and pointer.version != damaged.version and pointer.sequence > damaged.sequence

    campaign.expect(wait_until(is_good, seconds=_TRAINING_SECONDS), "the pointer did not leave the damaged artifact")
    campaign.recover("damaged artifact", since=time.monotonic())


def offset_out_of_range(campaign: Campaign) -> None:
    """The broker has deleted what a worker has not read: an alarm and no silent skip, until an operator decides.

    On topics and with a consumer group of their own, since the partition stands still by design.
    """
    worker = _start_apart(campaign)
    with DirectProducer(campaign, topic_prefix=_PREFIX) as producer:
        _click(campaign, producer, partition=0, count=10)
        _click(campaign, producer, partition=1, count=2)
        campaign.expect(wait_until(lambda: _kept(campaign) == 12, seconds=60), "a worker of its own did not start")
        worker.stop()
        _set_stored_offset(campaign, 2)
        _delete_below(campaign, 8)
        _click(campaign, producer, partition=0, count=1)
        _click(campaign, producer, partition=1, count=2)
    position = worker.log_end()
    worker.start()
    alarmed = wait_until(lambda: worker.logged_since(position, "consumer.offset_out_of_range") > 0, seconds=60)
    campaign.expect(alarmed, "no alarm for an offset out of range")
    campaign.expect(
        wait_until(lambda: _kept(campaign) == 14, seconds=30), "the other partition does not go on beside the alarm"
    )
    unready = wait_until(lambda: _is_unready(worker), seconds=_REFUSAL_SECONDS)
    campaign.expect(unready, f"the worker is not unready: {worker.get('/health/ready')}")
    stored = stored_offsets(campaign, _GROUP)[(INTERACTIONS_RECORDED, 0)]
    campaign.expect(stored == 2 and _kept(campaign) == 14, f"a gap was skipped silently: the stored offset is {stored}")
    # What an operator does: decide that the gap is accepted, say so in the row, restart.
    worker.stop()
    since = time.monotonic()
    _set_stored_offset(campaign, 8)
    worker.start()
    resumed = wait_until(lambda: _kept(campaign) == 15 and worker.is_ready(), seconds=60)
    campaign.expect(resumed, "the partition does not go on after the operator's decision")
    campaign.recoveries["offset out of range, after the operator"].append(round(time.monotonic() - since, 3))
    worker.stop()


def _is_unready(worker: FaultyService) -> bool:
    status, body = worker.get("/health/ready")
    return status == 503 and "out of range" in body


def _write_damaged(artifacts: FileArtifacts, good: Pointer, *, version: str) -> Pointer:
    """Save a copy of the served model, then change its numbers in place: every size and every zip CRC still fits."""
    model = replace(artifacts.load_model(good), version=version)
    digest = artifacts.save_model(model)
    arrays = {name: np.array(array) for name, array in named_arrays(model).items()}
    changed = {name: -each if each.dtype.kind == "f" else each for name, each in arrays.items()}
    (artifacts.models_dir / "versions" / version / ARRAYS_FILE).write_bytes(encode_arrays(changed))
    current = artifacts.read_pointer() or good
    return Pointer(current.sequence + 1, version, digest)


def _point_at(artifacts: FileArtifacts, pointer: Pointer) -> None:
    unfinished = artifacts.models_dir / "CURRENT.chaos"
    unfinished.write_bytes(encode_pointer(pointer))
    unfinished.replace(artifacts.models_dir / "CURRENT")


def _wait_for_trainings(campaign: Campaign) -> None:
    """Let nobody else move the pointer in the next moments: an earlier fault may have left a training."""
    wait_until(lambda: _trainings(campaign, "status = 'training'") == 0, seconds=_TRAINING_SECONDS)


def _trainings(campaign: Campaign, condition: str) -> int:
    [(count,)] = campaign.system.query(f"SELECT count(*) FROM model_versions WHERE {condition}")
    return int(count)


def _start_apart(campaign: Campaign) -> FaultyService:
    create_topics(campaign.system.kafka.bootstrap_servers, prefix=_PREFIX, partitions=2)
    worker = campaign.system.add("worker", name=_GROUP, topic_prefix=_PREFIX, worker_consumer_group=_GROUP)
    worker.start()
    return worker


def _click(campaign: Campaign, producer: DirectProducer, *, partition: int, count: int) -> None:
    for number in range(count):
        customer = f"{SEPARATE_CUSTOMERS}{partition}-{number}"
        event = InteractionRecorded(customer_id=customer, isin=campaign.isins[0], type=InteractionType.CLICK)
        producer.send_event(INTERACTIONS_RECORDED, event, key=customer, partition=partition)


def _kept(campaign: Campaign) -> int:
    statement = "SELECT count(*) FROM user_interactions WHERE starts_with(customer_id, %s)"
    return int(campaign.system.query(statement, SEPARATE_CUSTOMERS)[0][0])


def _set_stored_offset(campaign: Campaign, offset: int) -> None:
    campaign.system.query(
        "SELECT set_config('chaos.on_purpose', 'yes', true);"
        " UPDATE consumer_offsets SET next_offset = %s WHERE consumer_group = %s AND topic = %s AND partition = 0",
        offset,
        _GROUP,
        INTERACTIONS_RECORDED,
    )


def _delete_below(campaign: Campaign, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": campaign.system.kafka.bootstrap_servers, "log_level": 0})
    for future in admin.delete_records([TopicPartition(_PREFIX + INTERACTIONS_RECORDED, 0, offset)]).values():
        future.result(30)
