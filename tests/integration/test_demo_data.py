"""The demo asks the database which data it holds: another program may have loaded others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from script.demo_setup import fetch_sources, is_loaded
from script.local.owned_process import LocalServerError
from tests.far_trans_files import REPOSITORY, write_folder

pytestmark = [pytest.mark.postgres]


def load(folder: Path, database_url: str, *options: str) -> None:
    command = [sys.executable, "FAR-Trans/script.py", "--data", str(folder), "--database-url", database_url, *options]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


def test_other_data_in_the_database_are_noticed_and_so_is_an_undo(database_url: str, tmp_path: Path) -> None:
    own, other = (write_folder(tmp_path / name) for name in ("own", "other"))
    assert not is_loaded(own, fetch_sources(database_url))

    load(own, database_url)
    assert is_loaded(own, fetch_sources(database_url))

    load(other, database_url)
    assert not is_loaded(own, fetch_sources(database_url))

    load(own, database_url, "--undo")
    assert is_loaded(own, fetch_sources(database_url))


def test_a_database_without_tables_is_no_loaded_one(empty_database_url: str) -> None:
    with pytest.raises(LocalServerError, match="which data it holds"):
        fetch_sources(empty_database_url)
