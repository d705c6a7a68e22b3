"""The client is a package of its own: it installs without this repository and imports nothing but httpx."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = ("api", "worker", "trainer", "shared", "script", "tests", "pydantic", "fastapi", "tenacity", "numpy")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed a copy of `client/`."""
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(REPOSITORY / "client", folder / "source", ignore=shutil.ignore_patterns("*.egg-info", "build"))
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "installed"), "./source"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder / "installed"


def test_it_is_imported_without_anything_of_this_repository(installed: Path) -> None:
    program = (
        f"import sys, json; sys.path.insert(0, {str(installed)!r}); import far_trans_client;"
        "print(json.dumps([far_trans_client.__file__, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=installed, capture_output=True, text=True, check=True, timeout=60
    )

    place, modules = json.loads(done.stdout)
    assert Path(place).parent == installed / "far_trans_client"
    assert not {name.partition(".")[0] for name in modules} & {*OURS}


def test_type_checkers_find_its_types(installed: Path) -> None:
    assert (installed / "far_trans_client" / "py.typed").is_file()


def test_its_one_dependency_is_httpx() -> None:
    assert requires("far-trans-client") == ["httpx>=0.28"]
