"""The words of the code: none that the house rules exclude, and the glossary has the domain's words and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared import events
from shared.postgres.tables import metadata
from shared.recommender.types import InteractionType, RiskLevel

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("api", "worker", "trainer", "shared", "script", "FAR-Trans")
TEST_FOLDERS = ("tests/chaos", "tests/e2e", "tests/upgrade", "tests/unit/chaos")
GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text()
TERMS = re.compile(r"\*\*([^*]+)\*\*")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
EXCLUDED = frozenset(
    re.findall(
        "[a-z]+",
        """weather intake barrier condemned parts surroundings stage reading releases patience judge taste evidence
        fading calm sabotage quiet utils helpers common manager""",
    )
)


@cache
def trees(folders: tuple[str, ...] = FOLDERS) -> dict[Path, ast.Module]:
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]
    return {path: ast.parse(path.read_text()) for path in paths if "versions" not in path.parts}


def names_of(tree: ast.AST) -> Iterator[str]:
    """Yield each name that a module defines: classes, functions, arguments, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def words_of(name: str) -> set[str]:
    return {word.lower() for word in WORD.findall(name)}


def excluded_names(tree: ast.AST) -> set[str]:
    return {name for name in names_of(tree) if words_of(name) & EXCLUDED}


@pytest.mark.parametrize("folders", [FOLDERS, TEST_FOLDERS], ids=["code", "tests"])
def test_no_name_has_an_excluded_word(folders: tuple[str, ...]) -> None:
    found = {str(path.relative_to(REPOSITORY)): excluded_names(tree) for path, tree in trees(folders).items()}
    modules = [path for path in trees(folders) if words_of(path.stem) & EXCLUDED]

    assert {path: names for path, names in found.items() if names} == {}
    assert modules == []


@pytest.mark.parametrize(
    "code", ["class Barrier: ...", "def put_stage(): ...", "def wait(patience): ...", "a.calm = 1"]
)
def test_an_excluded_word_would_be_found(code: str) -> None:
    assert excluded_names(ast.parse(code)) != set()


def defined_terms() -> set[str]:
    """Return the words that the glossary defines: what is bold in the first column."""
    rows = [line.split("|")[1] for line in GLOSSARY.splitlines() if line.startswith("| **")]
    return {term.lower() for row in rows for term in TERMS.findall(row)}


def domain_words() -> dict[str, set[str]]:
    """Return the words of the domain that the code itself lists, by where they come from."""
    return {
        "tables": {table.name for table in metadata.sorted_tables},
        "interaction types": {kind.value for kind in InteractionType},
        "risk levels": {level.name.lower() for level in RiskLevel},
        "events": {name.lower() for name in event_names()},
    }


def event_names() -> list[str]:
    return [
        name
        for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, events.Event) and value is not events.Event
    ]


@pytest.mark.parametrize("source", sorted(domain_words()))
def test_the_glossary_mentions_each_domain_word_that_the_code_lists(source: str) -> None:
    text = GLOSSARY.lower().replace("_", " ")

    assert {word for word in domain_words()[source] if word.replace("_", " ") not in text} == set()


def test_the_code_uses_each_word_of_the_glossary() -> None:
    used = "\n".join(path.read_text() for path in trees()).lower().replace("_", " ")

    assert len(defined_terms()) >= 40
    assert {term for term in defined_terms() if term.replace("_", " ") not in used} == set()
