"""Which data the demo takes, where it keeps its things, and that two demos do not share them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from script import demo_setup
from script.demo_setup import (
    DataSet,
    DemoRefused,
    choose_data,
    forget_older_states,
    is_loaded,
    missing_files,
    sole_demo,
    state_root,
)
from shared.far_trans import schema as far_trans


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone without data, and without a generator."""
    (tmp_path / "clone" / "FAR-Trans").mkdir(parents=True)
    monkeypatch.setattr(demo_setup, "REPOSITORY", tmp_path / "clone")
    return tmp_path / "clone"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def write_files(folder: Path, *, only_required: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    for table in far_trans.TABLES:
        if not (only_required and table.optional):
            (folder / table.file_name).write_text("header\n")


def choose(root: Path, given: Path | None = None, *, scale: float = 0.02, servers: tuple[str, ...] = ()) -> DataSet:
    return choose_data(given, scale=scale, root=root, servers=servers)


def test_a_given_folder_comes_first(repository: Path, root: Path, tmp_path: Path) -> None:
    write_files(repository / "FAR-Trans")
    write_files(tmp_path / "given")

    assert choose(root, tmp_path / "given").folder == tmp_path / "given"


def test_files_in_the_clone_come_before_synthetic_data(repository: Path, root: Path) -> None:
    write_files(repository / "FAR-Trans", only_required=True)

    assert choose(root).folder == repository / "FAR-Trans"


def test_without_files_the_data_are_synthetic_and_lie_in_the_state_folder(repository: Path, root: Path) -> None:
    data = choose(root)

    assert data.scale == 0.02
    assert data.folder.parent == root


def test_a_given_folder_without_data_is_refused_and_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DemoRefused, match=r"customer_information.csv.*markets.csv"):
        choose(root, tmp_path)
    write_files(tmp_path / "given", only_required=True)
    assert missing_files(tmp_path / "given") == []


def test_the_same_data_keep_their_state_and_changed_data_get_a_new_one(root: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "given")
    first = choose(root, tmp_path / "given")
    assert choose(root, tmp_path / "given") == first

    (tmp_path / "given" / "transactions.csv").write_text("other header\n")
    changed = choose(root, tmp_path / "given")
    first.state.mkdir()
    changed.state.mkdir()
    forget_older_states(changed, root=root)

    assert changed.state != first.state
    assert not first.state.exists()
    assert changed.state.exists()


def test_other_data_other_scales_and_other_servers_have_states_of_their_own(
    repository: Path, root: Path, tmp_path: Path
) -> None:
    write_files(tmp_path / "given")
    write_files(tmp_path / "other")
    choices = [
        choose(root),
        choose(root, scale=0.5),
        choose(root, servers=("kafka:9092",)),
        choose(root, tmp_path / "given"),
        choose(root, tmp_path / "given", servers=("kafka:9092",)),
        choose(root, tmp_path / "other"),
    ]
    for data in choices:
        data.state.mkdir()
    assert len({data.state for data in choices}) == len(choices)

    for data in choices:
        forget_older_states(data, root=root)
    assert all(data.state.exists() for data in choices)


def test_data_are_loaded_when_every_table_was_last_filled_from_this_folder(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    write_files(folder, only_required=True)
    (folder / "markets.csv").rename(folder / "markets.csv.gz")
    sources = {
        table.table: str((folder / table.file_name).resolve()) if (folder / table.file_name).is_file() else ""
        for table in far_trans.TABLES
    }
    sources["markets"] = str(folder / "markets.csv.gz")

    assert is_loaded(folder, sources)
    assert not is_loaded(folder, {})
    assert not is_loaded(folder, {**sources, "close_prices": str(tmp_path / "daily" / "close_prices.csv")})
    assert not is_loaded(folder, {table: source for table, source in sources.items() if table != "transactions"})
    assert not is_loaded(tmp_path / "other", sources)


def test_another_generator_makes_other_synthetic_data(repository: Path, root: Path) -> None:
    before = choose(root)
    (repository / "FAR-Trans" / "synthesize.py").write_text("print()\n")
    after = choose(root)

    assert after.folder != before.folder
    assert after.state != before.state


def test_a_second_demo_is_refused_and_told_where_the_first_one_is(root: Path) -> None:
    with sole_demo(root) as announce:
        announce("API at http://127.0.0.1:8000")
        with (
            pytest.raises(DemoRefused, match=rf"process {os.getpid()}, API at http://127\.0\.0\.1:8000"),
            sole_demo(root),
        ):
            pytest.fail("two demos in one folder")
    with sole_demo(root):
        pass


def test_every_clone_has_a_folder_of_its_own(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEMO_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    first = state_root()
    assert state_root() == first
    assert tmp_path / "xdg" in first.parents

    monkeypatch.setattr(demo_setup, "REPOSITORY", tmp_path / "another clone")
    assert state_root() != first


def test_a_state_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEMO_STATE_DIR", str(tmp_path / "file" / "state"))

    with pytest.raises(DemoRefused, match="DEMO_STATE_DIR"):
        state_root()
