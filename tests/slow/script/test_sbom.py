"""The software bill of materials has every locked package, and no licence that nobody allowed. No network."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from script.sbom import EXCEPTIONS, LOCK, find_problems, is_allowed, licences_of, locked_versions, main, write

LOCKED = locked_versions(LOCK.read_text())


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write(tmp_path_factory.mktemp("sbom") / "sbom.json", LOCKED)


def test_every_locked_package_is_there_with_its_version_and_an_allowed_licence(document: dict[str, Any]) -> None:
    versions = {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in document["components"]}
    assert document["bomFormat"] == "CycloneDX"
    assert len(LOCKED) > 100
    assert LOCKED.items() <= versions.items()
    assert find_problems(document, LOCKED) == []


def test_every_pin_of_the_lock_is_read() -> None:
    names = set(re.findall(r"^([a-z0-9._-]+)==", LOCK.read_text(), flags=re.MULTILINE))
    of_other_machines = names - LOCKED.keys()
    assert {"fastapi", "numpy", "pyspark", "schemathesis"} <= LOCKED.keys()
    for name in of_other_machines:
        assert re.search(rf"^{re.escape(name)}==\S+ ; ", LOCK.read_text(), flags=re.MULTILINE), name


def test_a_missing_package_another_version_and_a_foreign_licence_are_problems(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    components = {one["name"]: one for one in changed["components"]}
    changed["components"].remove(components["numpy"])
    components["pandas"]["version"] = "0.0.1"
    components["fastapi"]["licenses"] = [{"license": {"id": "AGPL-3.0-only"}}]
    components["httpx"]["licenses"] = []
    problems = find_problems(changed, LOCKED)
    assert problems == [
        f"numpy {LOCKED['numpy']} is locked and not in the document",
        f"pandas is locked as {LOCKED['pandas']}; 0.0.1 is installed",
        "fastapi: the licence AGPL-3.0-only is not allowed (script/sbom.py)",
        "httpx: the licence NOASSERTION is not allowed (script/sbom.py)",
    ]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (Apache-2.0 OR BSD-3-Clause)", True),
        ("GPL-3.0-only", False),
        ("LGPL-3.0-or-later", False),
        ("NOASSERTION", False),
        ("License :: Other/Proprietary License", False),
    ],
)
def test_of_a_choice_one_licence_is_enough_and_of_a_sum_all_count(licence: str, allowed: bool) -> None:
    assert is_allowed("some-package", licence) is allowed


def test_an_exception_is_for_one_package() -> None:
    for name, licence in EXCEPTIONS:
        assert is_allowed(name, licence)
        assert not is_allowed("some-package", licence)


def test_a_licence_text_without_a_name_is_no_licence() -> None:
    named = {"license": {"name": "declared license of 'x'"}}
    assert licences_of({"licenses": [named]}) == ["NOASSERTION"]
    assert licences_of({"licenses": [named, {"license": {"id": "MIT"}}]}) == ["MIT"]


def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("script.sbom.ALLOWED", frozenset({"Apache-2.0"}))
    assert main([str(tmp_path / "sbom.json")]) == 1
    assert "numpy: the licence" in capsys.readouterr().err
