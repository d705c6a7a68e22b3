"""After a crash at any step, the rows and the pointer agree again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.errors import DatabaseUnavailable
from tests.unit.trainer.service.job_world import World, with_one_price_changed
from tests.unit.trainer.service.trainer_fakes import FakeRow


class Crash(BaseException):
    """The process ends here."""


def crash() -> None:
    raise Crash


def test_a_crash_between_the_rows_and_the_pointer_is_completed() -> None:
    world = World()
    world.artifacts.before_activate = crash
    with pytest.raises(Crash):
        world.run("v1")
    assert world.served() is None
    assert world.store.rows["v1"].status == "promoted"

    world.artifacts.before_activate = lambda: None
    world.restart()
    world.registry.reconcile()

    row = world.store.rows["v1"]
    assert world.served() == "v1"
    assert (row.active, row.sequence, row.status) == (True, 1, "promoted")


def test_a_crash_between_the_pointer_and_its_row_is_mended_from_the_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "record_pointer", lambda *_, **__: crash())
        with pytest.raises(Crash):
            world.run("v1")
    assert not world.store.rows["v1"].active

    world.restart()
    world.registry.reconcile()
    world.registry.publish_pending()

    assert (world.store.rows["v1"].active, world.store.rows["v1"].sequence) == (True, 1)
    assert [event.version for event in world.announcements.events] == ["v1"]  # type: ignore[attr-defined]


def test_a_promotion_whose_artifact_is_gone_is_given_up() -> None:
    world = World()
    world.run("v1")
    world.store.rows["v2"] = FakeRow("v2", "test", status="promoted", progress="done")

    world.restart()
    world.registry.reconcile()

    assert world.store.rows["v2"].status == "stored"
    assert "could not be promoted" in (world.store.rows["v2"].reason or "")
    assert world.served() == "v1"


def test_the_pointer_decides_which_row_is_active() -> None:
    world = World()
    world.run("v1")
    world.store.rows["liar"] = FakeRow("liar", "test", status="promoted", sequence=9, active=True)

    world.registry.reconcile()

    assert [version for version, row in world.store.rows.items() if row.active] == ["v1"]


def with_two_versions() -> World:
    """Return a world in which both trainings were promoted and v2 is served."""
    world = World()
    world.run("v1")
    world.store.training_rows = with_one_price_changed()
    world.run("v2")
    return world


def test_the_rows_say_which_versions_are_on_the_volume() -> None:
    world = World()
    versions = ("v1", "v2", "v3", "v4")
    for version in versions:
        world.run(version)

    on_volume = world.artifacts.versions()
    assert 0 < len(on_volume) < 4
    servable = {version: world.store.rows[version].servable for version in versions}
    assert servable == {version: version in on_volume for version in versions}


def test_a_rollback_that_removes_a_version_says_so_in_its_row() -> None:
    world = with_two_versions()
    world.artifacts.models.pop("v2")  # as an operator might

    world.registry.activate("v1")

    assert [world.store.rows[version].servable for version in ("v1", "v2")] == [True, False]


def test_rows_that_could_not_be_told_what_is_on_the_volume_are_told_later() -> None:
    world = with_two_versions()
    world.artifacts.models.pop("v2")
    record = world.store.record_servable

    def fail(versions: object) -> None:
        raise DatabaseUnavailable

    world.store.record_servable = fail  # type: ignore[method-assign]
    with pytest.raises(DatabaseUnavailable):
        world.registry.activate("v1")
    world.store.record_servable = record  # type: ignore[method-assign]

    world.registry.publish_pending()

    assert [world.store.rows[version].servable for version in ("v1", "v2")] == [True, False]


def test_a_starting_trainer_says_what_is_on_the_volume() -> None:
    world = World()
    world.run("v1")
    world.store.rows["v1"] = replace(world.store.rows["v1"], servable=None)  # of an older version
    world.restart()

    world.registry.reconcile()

    assert world.store.rows["v1"].servable is True
