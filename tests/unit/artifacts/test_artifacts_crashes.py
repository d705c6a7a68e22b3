"""A writer that is killed between any two effects on the disk: whole versions, the old pointer or the new one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import publication as artifacts
from shared.artifacts.publication import FileArtifacts
from shared.ports import Pointer
from tests.builders import build_model
from tests.unit.artifacts.damaged_volume import save

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class Died(BaseException):
    """The writer was killed here."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, *, at: int) -> Iterator[list[int]]:
    """Raise Died in place of the `at`-th effect on the disk; yields a list with one entry for each effect so far."""
    effects: list[int] = []

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*args: Any, **options: Any) -> Any:
            effects.append(len(effects))
            if len(effects) > at:
                raise Died
            return original(*args, **options)

        return effect

    with monkeypatch.context() as patch:
        for name in ("write_file", "sync_directory", "remove_if_there"):
            patch.setattr(artifacts, name, counted(getattr(artifacts, name)))
        for name in ("rename", "replace", "mkdir", "chmod"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        yield effects


def count_effects(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> int:
    """Do the action and return how many effects it has: so many places there are to die at."""
    with dying(monkeypatch, at=10**6) as effects:
        action()
    return len(effects)


@pytest.mark.parametrize("keys", [(), (b"key",)])
def test_a_writer_that_dies_while_saving_leaves_no_half_version_and_the_next_save_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[bytes, ...]
) -> None:
    model = build_model(assets=5, version="v2")

    def volume(name: str) -> FileArtifacts:
        store = FileArtifacts(tmp_path / name, signing_keys=keys)
        save(store, "v1")
        store.activate("v1")
        return store

    unharmed = volume("unharmed")
    steps = count_effects(monkeypatch, lambda: unharmed.save_model(model))
    assert steps >= 8
    for at in range(steps):
        store = volume(f"at-{at}")
        with dying(monkeypatch, at=at), pytest.raises(Died):
            store.save_model(model)
        survivor = FileArtifacts(store.models_dir, signing_keys=keys)
        pointer = survivor.read_pointer()
        assert pointer is not None
        assert survivor.load_model(pointer).version == "v1"
        if "v2" in survivor.versions():
            survivor.load_model(Pointer(1, "v2", survivor.manifest_sha256("v2")))
        else:
            survivor.save_model(model)
        assert survivor.activate("v2").sequence == 2


def test_a_writer_that_dies_while_activating_leaves_the_old_or_the_new_pointer_and_only_whole_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def volume(name: str) -> FileArtifacts:
        store = FileArtifacts(tmp_path / name)
        save(store, "v1", "v2", "v3", "v4")
        store.activate("v3", keep=9)
        return store

    unharmed = volume("unharmed")
    steps = count_effects(monkeypatch, lambda: unharmed.activate("v4", keep=2))
    assert steps >= 10
    for at in range(steps):
        store = volume(f"at-{at}")
        with dying(monkeypatch, at=at), pytest.raises(Died):
            store.activate("v4", keep=2)
        survivor = FileArtifacts(store.models_dir)
        pointer = survivor.read_pointer()
        assert pointer is not None
        assert (pointer.sequence, pointer.version) in {(1, "v3"), (2, "v4")}
        for version in survivor.versions():
            survivor.load_model(Pointer(1, version, survivor.manifest_sha256(version)))
        assert survivor.activate("v4", keep=2).sequence == pointer.sequence + 1
        assert survivor.versions() == ["v3", "v4"] if pointer.version == "v3" else "v4" in survivor.versions()


def test_everything_is_on_the_disk_before_it_gets_its_name(
    store: FileArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal: list[str] = []

    def recording(name: str, original: Callable[..., Any], *, note: Callable[..., str]) -> None:
        def call(*args: Any) -> Any:
            journal.append(f"{name} {note(*args)}")
            return original(*args)

        target = os if name == "fsync" else Path
        monkeypatch.setattr(target, name, call)

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    recording("fsync", os.fsync, note=name_of)
    recording("rename", Path.rename, note=lambda source, target: f"{source.name} {target.name}")
    recording("replace", Path.replace, note=lambda source, target: f"{source.name} {target.name}")
    save(store, "v1")
    store.activate("v1")
    start = journal.index("fsync arrays.npz")
    assert journal[start:] == [
        "fsync arrays.npz",
        "fsync manifest.json",
        "fsync .tmp-v1",
        "rename .tmp-v1 v1",
        "fsync versions",
        "fsync .tmp-CURRENT",
        "replace .tmp-CURRENT CURRENT",
        "fsync models",
    ]
