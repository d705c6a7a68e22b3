""".env.example, docs/configuration.md and docker-compose.yml know every setting, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from script.render_settings import (
    FIXED_IN_COMPOSE,
    SERVICES,
    Setting,
    collect_settings,
    render_document,
    render_env_example,
)

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text()
ONE_REQUIRED = Setting("NAME", None, "meaning", ("api",))


def names_of(settings: type[BaseSettings]) -> set[str]:
    return {name.upper() for name in settings.model_fields}


def environment_of(service: str) -> dict[str, str]:
    """Name -> value (empty: passed on) in docker-compose.yml, without a YAML library: block style, one name a line."""
    start = rf"^  {service}:\n(?:    .*\n| *#.*\n)*?    environment:\n"
    return _entries(start, indent=6)


def _entries(start: str, *, indent: int) -> dict[str, str]:
    block = re.search(start + rf"((?: {{{indent}}}\S.*\n)+)", COMPOSE, flags=re.MULTILINE)
    assert block, f"no environment block at {start!r}"
    found: dict[str, str] = {}
    for name, value in re.findall(r"^ +(<<|[A-Z_]+): ?(.*)$", block[1], flags=re.MULTILINE):
        if name == "<<":
            found |= _entries(rf"^x-[a-z-]+: &{value[1:]}\n", indent=2)
        else:
            found[name] = value
    return found


def test_env_example_is_what_the_settings_classes_say() -> None:
    assert (REPOSITORY / ".env.example").read_text() == render_env_example(collect_settings()), (
        "run python script/render_settings.py"
    )


def test_the_configuration_table_is_what_the_settings_classes_say() -> None:
    assert (REPOSITORY / "docs" / "configuration.md").read_text() == render_document(collect_settings()), (
        "run python script/render_settings.py"
    )


def test_every_setting_of_every_service_is_in_env_example_and_in_the_table() -> None:
    expected = set().union(*(names_of(settings) for settings in SERVICES.values()))

    for file, pattern in ((".env.example", r"^#?([A-Z_]+)="), ("docs/configuration.md", r"^\| `([A-Z_]+)`")):
        found = re.findall(pattern, (REPOSITORY / file).read_text(), flags=re.MULTILINE)
        assert len(found) == len(set(found))
        assert expected <= set(found), file


@pytest.mark.parametrize("service", SERVICES)
def test_compose_gives_a_service_its_own_settings_and_no_other(service: str) -> None:
    assert set(environment_of(service)) == names_of(SERVICES[service])


@pytest.mark.parametrize("service", SERVICES)
def test_compose_fixes_only_the_settings_that_the_example_marks(service: str) -> None:
    fixed = {name for name, value in environment_of(service).items() if value}
    # The container's port is fixed; API_PORT in .env is where this machine finds it. The key has a default in compose.
    assert fixed - {"API_PORT", "ARTIFACT_SIGNING_KEY"} == FIXED_IN_COMPOSE & names_of(SERVICES[service])


def test_env_example_holds_no_secret() -> None:
    text = (REPOSITORY / ".env.example").read_text()
    assert "\n#POSTGRES_PASSWORD=\n" in text
    assert "\n#DATABASE_URL=\n" in text


def test_every_setting_says_what_it_means() -> None:
    assert [setting.name for setting in collect_settings() if not setting.meaning] == []


def test_a_required_setting_is_left_open_for_the_reader() -> None:
    assert "\n# meaning; required\nNAME=\n" in render_env_example([ONE_REQUIRED])
    assert "| `NAME` | **required** | meaning | api |" in render_document([ONE_REQUIRED])
