"""What compose puts into its database: the published files, else a synthetic set, else nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from script import first_data

Runs = list[tuple[str, ...]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The scripts that were run, each successful."""
    found: Runs = []

    def run(*arguments: str) -> int:
        found.append(arguments)
        return 0

    monkeypatch.setattr(first_data, "_run", run)
    return found


@pytest.fixture
def published(tmp_path: Path) -> Path:
    (tmp_path / "transactions.csv").touch()
    return tmp_path


def loader_that_returns(code: int, rejected: str = "") -> Callable[..., int]:
    def run(script: str, *arguments: str) -> int:
        Path(arguments[-1]).write_text(rejected)
        return code

    return run


def test_files_that_lie_there_are_loaded(published: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(published)]) == 0

    ((script, _, folder, *_),) = runs
    assert (script, folder) == ("script.py", str(published))


def test_without_files_a_synthetic_set_is_made_and_loaded(tmp_path: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(tmp_path), "--scale", "0.5"]) == 0

    made, loaded = runs
    assert made[:3] == ("synthesize.py", "--scale", "0.5")
    assert loaded[0] == "script.py"
    assert loaded[2] == made[-1]


def test_scale_0_leaves_the_database_empty(tmp_path: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(tmp_path), "--scale", "0"]) == 0
    assert runs == []


@pytest.mark.parametrize("loaded", [True, False])
def test_a_loaded_database_is_left_alone_only_when_asked(
    loaded: bool, published: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@nowhere/nothing")
    monkeypatch.setattr(first_data, "is_loaded", lambda _: loaded)

    assert first_data.main(["--data", str(published), "--only-if-empty"]) == 0
    assert bool(runs) is not loaded


def test_rejected_rows_are_shown_and_are_no_failure(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_data, "_run", loader_that_returns(1, "line 7: bad date\n" * 30))

    assert first_data.main(["--data", str(published)]) == 0
    assert capsys.readouterr().out.count("line 7: bad date") == 20


@pytest.mark.parametrize("code", [2, 3])
def test_a_load_that_failed_is_a_failure(code: int, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_data, "_run", loader_that_returns(code))

    assert first_data.main(["--data", str(published)]) == code
