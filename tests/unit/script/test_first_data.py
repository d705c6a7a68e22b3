"""What compose puts into its database: the published files, else a synthetic set, else nothing."""

from __future__ import annotations

import re
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


def test_options_of_the_loader_are_handed_on(published: Path, runs: Runs) -> None:
    options = ["--max-rejects", "5%", "--max-shrink", "0.5", "--allow-empty", "transactions"]
    assert first_data.main(["--data", str(published), *options]) == 0

    ((_, _, _, *arguments),) = runs
    assert arguments[:-2] == ["--max-rejects", "0.05", "--max-shrink", "0.5", "--allow-empty", "transactions"]


def test_a_check_is_handed_on_so_that_nothing_is_loaded(published: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(published), "--check"]) == 0

    assert "--check" in runs[0]


@pytest.mark.parametrize(
    "options",
    [["--append"], ["--check"], ["--check", "--append"], ["--undo"], ["--undo", "markets", "close_prices"]],
)
def test_other_changes_than_a_load_are_handed_on(options: list[str], published: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(published), *options]) == 0

    ((script, _, folder, *arguments),) = runs
    assert (script, folder) == ("script.py", str(published))
    assert arguments[: len(options)] == options


@pytest.mark.parametrize("option", ["--append", "--undo"])
def test_no_synthetic_set_is_appended_or_made_for_an_undo(option: str, tmp_path: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(tmp_path), option]) == 0

    assert [run[0] for run in runs] == ["script.py"]


def test_compressed_files_that_lie_there_are_loaded(tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "transactions.csv.gz").touch()
    assert first_data.main(["--data", str(tmp_path)]) == 0

    assert [run[0] for run in runs] == ["script.py"]


def test_options_of_the_loader_count_for_a_synthetic_set_too(tmp_path: Path, runs: Runs) -> None:
    assert first_data.main(["--data", str(tmp_path), "--max-shrink", "100%"]) == 0

    assert runs[1][3:7] == ("--max-rejects", "0.01", "--max-shrink", "1.0")


def test_rejects_of_a_refused_load_are_shown(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(first_data, "_run", loader_that_returns(2, "line 7: bad date\n" * 30))

    assert first_data.main(["--data", str(published)]) == 2
    assert capsys.readouterr().out.count("line 7: bad date") == 20


@pytest.mark.parametrize("code", [2, 3])
def test_a_load_that_failed_is_a_failure(code: int, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_data, "_run", loader_that_returns(code))

    assert first_data.main(["--data", str(published)]) == code


def test_arguments_of_compose_run_follow_the_command_of_the_load_service() -> None:
    """`docker compose run --rm load --max-rejects 5%` replaces `command`, never `entrypoint`."""
    compose = (Path(__file__).resolve().parents[3] / "docker-compose.yml").read_text()
    (service,) = re.findall(r"^  load:\n((?:    .*\n)+)", compose, flags=re.MULTILINE)
    (entrypoint,) = re.findall(
        r"entrypoint: \[sh, -c, '.*exec python script/first_data\.py --data /data (\S+)', load\]", service
    )
    assert entrypoint == '"$$@"'
    assert "command: []" in service

    options = first_data.parse_arguments(["--data", "/data", "--max-rejects", "5%"])
    assert (options.data, options.max_rejects) == (Path("/data"), 0.05)
