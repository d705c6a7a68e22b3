"""The running system of this clone is found by its note or by docker compose, never by a well-known port."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import psutil
import pytest

from script import running_system
from script.generate_interactions import find_api, main
from script.running_system import NOTE_FILE, find_compose_api, find_demo, noted_demo
from script.running_system import main as print_database

URL = "http://127.0.0.1:23456"
DATABASE = "postgresql://someone:secret@127.0.0.1:5433/recommender"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own, and no docker."""
    monkeypatch.setenv("DEMO_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("API_URL", raising=False)
    (tmp_path / "state").mkdir()
    (tmp_path / "bin").mkdir()
    return tmp_path / "state"


def install_docker(tmp_path: Path, script: str) -> None:
    program = tmp_path / "bin" / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_running_demo_is_found_by_its_note_which_only_its_user_can_read_and_which_goes_with_it(state: Path) -> None:
    with noted_demo(state, api_url=URL, database_url=DATABASE):
        demo = find_demo()
        assert demo is not None
        assert (demo.api_url, demo.database_url, demo.pid) == (URL, DATABASE, os.getpid())
        assert stat.S_IMODE((state / NOTE_FILE).stat().st_mode) == 0o600
        assert find_api() == URL

    assert list(state.iterdir()) == []
    assert find_demo() is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "{}",
        '{"api_url": 1}',
        "\x00",
        "null",
        '{"api_url": "u", "database_url": "d", "pid": -1, "process_started": 1}',
    ],
)
def test_a_damaged_note_is_no_demo(state: Path, note: str) -> None:
    (state / NOTE_FILE).write_text(note)

    assert find_demo() is None


@pytest.mark.parametrize("is_taken", [False, True])
def test_the_note_of_a_killed_demo_is_no_demo_even_if_another_process_has_its_pid(state: Path, is_taken: bool) -> None:
    pid, seconds = (os.getpid(), 60.0) if is_taken else (2**22 + 1, 0.0)
    with noted_demo(state, api_url=URL, database_url=DATABASE):
        fields = json.loads((state / NOTE_FILE).read_text())
        started = psutil.Process().create_time() - seconds
        (state / NOTE_FILE).write_text(json.dumps({**fields, "pid": pid, "process_started": started}))

        assert find_demo() is None


def test_a_note_that_a_killed_demo_left_half_written_does_not_stop_the_next_one(state: Path) -> None:
    (state / f"{NOTE_FILE}.new").write_text("half")

    with noted_demo(state, api_url=URL, database_url=DATABASE):
        assert find_demo() is not None


@pytest.mark.parametrize(
    ("printed", "url"),
    [
        ("echo 127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("echo 0.0.0.0:18000", "http://127.0.0.1:18000"),
        ("echo :0", None),
        ("echo 127.0.0.1:0", None),
        ("echo", None),
        ("echo 127.0.0.1:8000; exit 1", None),
        ("printf '\\377'", None),
        ("echo 'http://evil/'", None),
    ],
)
def test_compose_says_where_its_gateway_is(tmp_path: Path, printed: str, url: str | None) -> None:
    install_docker(tmp_path, printed)

    assert find_compose_api() == url


def test_docker_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_system, "_COMPOSE_TIMEOUT_SECONDS", 0.1)
    install_docker(tmp_path, "exec /bin/sleep 30")

    assert find_compose_api() is None


def test_without_a_system_the_message_says_how_to_start_one_and_nobody_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["CUSTOMER", "Technology"]) == 2
    error = capsys.readouterr().err
    assert "No system of this clone runs." in error
    assert "0 of 10 interactions" in error


def test_an_address_that_is_given_counts_before_the_demo(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with noted_demo(state, api_url=URL, database_url=DATABASE):
        assert main(["CUSTOMER", "Technology", "--api", "http://127.0.0.1:1"]) == 2

    assert "http://127.0.0.1:1/assets" in capsys.readouterr().err


def test_the_database_is_that_of_the_demo_else_of_compose_else_unknown(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (print_database(), capsys.readouterr().out) == (1, "")
    install_docker(tmp_path, "echo 4f5a")
    assert (print_database(), capsys.readouterr().out) == (0, "compose\n")
    with noted_demo(state, api_url=URL, database_url=DATABASE):
        assert (print_database(), capsys.readouterr().out) == (0, f"{DATABASE}\n")
