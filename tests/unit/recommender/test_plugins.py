"""The worked example of docs/signals.md, installed as a package of a third party."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.artifacts.publication import FileArtifacts
from shared.errors import ArtifactInvalid, ConfigurationInvalid
from shared.recommender.configuration import build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.signal import ENTRY_POINT_GROUP, Signal, signal_class
from shared.recommender.types import Weights
from tests.unit.recommender.planted import build_data
from tests.unit.recommender.signal_laws import SignalLaws
from tests.unit.worker.world import World

REPOSITORY = Path(__file__).resolve().parents[3]
EXAMPLE = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "signals.md").read_text(), flags=re.DOTALL)

VALUE = "alphabetical_signal:Alphabetical"


def install(
    directory: Path, *, code: str, name: str = "alphabetical", value: str = "alphabetical_signal:Alphabetical"
) -> None:
    """Install a package with one module and one entry point."""
    (directory / "alphabetical_signal.py").write_text(code)
    facts = directory / "alphabetical-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: alphabetical\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {value}\n")
    importlib.invalidate_caches()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("alphabetical_signal", None)


@pytest.fixture
def alphabetical(directory: Path) -> type[Signal]:
    install(directory, code=EXAMPLE[0])
    return signal_class("alphabetical")


def test_the_example_obeys_the_laws(alphabetical: type[Signal]) -> None:
    names: dict[str, type] = {"Alphabetical": alphabetical}
    exec(EXAMPLE[1], names)  # the test class of the documentation
    laws = names["TestAlphabetical"]()
    assert isinstance(laws, SignalLaws)
    for name in dir(laws):
        if name.startswith("test_"):
            getattr(laws, name)(*([200] if name == "test_a_sparse_catalogue" else []))


def test_the_example_shows_in_a_served_list(alphabetical: type[Signal], tmp_path: Path) -> None:
    configuration = build_configuration("alphabetical", weights=Weights(1, 0, 0))
    artifacts = FileArtifacts(tmp_path / "models")
    artifacts.save_model(fit_model(build_data(customers=20, assets=30), configuration, version="v1"))
    world = World()
    world.publish_model(artifacts.load_model(artifacts.activate("v1")))
    world.click("C1", world.model.id_map.isins[20])

    asked = world.ask("C1")
    world.settle()

    assert [item.isin for item in world.decision(asked).answer.items] == list(world.model.id_map.isins[:10])


def test_a_worker_without_the_package_refuses_the_model(alphabetical: type[Signal], tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path / "models")
    model = fit_model(build_data(customers=20, assets=30), build_configuration("ease+alphabetical"), version="v1")
    artifacts.save_model(model)
    pointer = artifacts.activate("v1")
    (tmp_path / "alphabetical-1.0.dist-info" / "entry_points.txt").write_text("")
    importlib.invalidate_caches()

    with pytest.raises(ArtifactInvalid, match="there is no signal 'alphabetical'"):
        artifacts.load_model(pointer)


@pytest.mark.parametrize(
    ("code", "value", "problem"),
    [
        ("1 / 0", VALUE, "cannot be imported: ZeroDivisionError"),
        ("", VALUE, "cannot be imported: AttributeError"),
        ("", "missing_module:Alphabetical", "cannot be imported: ModuleNotFoundError"),
        ("class Alphabetical: pass", VALUE, "does not derive from Signal"),
        ("Alphabetical = 1", VALUE, "does not derive from Signal"),
        (EXAMPLE[0].replace('"alphabetical"', '"other"'), VALUE, "has the name 'other'"),
    ],
)
def test_a_bad_plugin_is_named_with_its_problem(directory: Path, code: str, value: str, problem: str) -> None:
    install(directory, code=code, value=value)

    with pytest.raises(ConfigurationInvalid, match=f"signal 'alphabetical' .*{problem}"):
        build_configuration("ease+alphabetical")


def test_a_plugin_cannot_replace_a_built_in_signal(directory: Path) -> None:
    install(directory, code=EXAMPLE[0].replace('"alphabetical"', '"trend"'), name="trend")

    assert signal_class("trend").__module__ == "shared.recommender.signals.trend"


def test_an_unknown_signal_is_named_with_the_installed_ones() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"no signal 'nothing'; installed are .*item_item.*user_knn"):
        build_configuration("ease+nothing")


def test_what_a_worker_imports_and_loads_does_not_load_scikit_learn() -> None:
    code = (
        "import sys, worker.__main__; from shared.recommender.signal import REGISTRY, signal_class\n"
        "[signal_class(name) for name in REGISTRY]\n"
        "sys.exit(' '.join(name for name in ('sklearn', 'lightfm', 'lightgbm') if name in sys.modules) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")
