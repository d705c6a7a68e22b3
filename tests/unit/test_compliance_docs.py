"""docs/compliance.md names files and tests that exist, and a test for each requirement."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "compliance.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
NAMED = sorted(set(re.findall(r"`([a-z_]+/[\w./-]+\.(?:py|md|toml)(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_named_file_or_test_exists(name: str) -> None:
    path, _, test = name.partition("::")
    source = (REPOSITORY / path).read_text()
    if test:
        assert f"def {test}(" in source


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row[0][:40])
def test_a_requirement_names_a_test_and_where_it_is_met(row: list[str]) -> None:
    requirement, where, tests, _ = row
    assert requirement
    assert where
    assert re.findall(r"`tests/[\w/]+\.py(?:::\w+)?`", tests)


def test_the_page_has_its_kinds_of_requirements() -> None:
    for kind in ("2017/565", "2014/65", "SR 26-2", "GDPR", *(f"API{n}:2023" for n in range(1, 11))):
        assert kind in PAGE
    assert len(NAMED) > 20
