"""Every command that README, docs and CONTRIBUTING print, extracted and run.

What can run without a server runs: `curl` against a gateway in memory, `make` as a dry run, a script by its help page,
in which each option of the command must stand, a module of ours as an import. The services of `docker compose` must be
those of docker-compose.yml; tests/e2e/test_compose.py runs them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from api.app import create_app
from api.gateway import Gateway
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, build_asset

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "FAR-Trans/README.md",
    *sorted(f"docs/{p.name}" for p in REPOSITORY.glob("docs/*.md")),
)
PRINTED = r"(?:[A-Z_]+=\S+ )*(?:make|python|curl|docker)\b"
SUBCOMMANDS = {"up", "down", "run", "logs", "restart", "stop", "start", "exec", "ps", "config"}


def commands_of(page: str) -> Iterator[str]:
    """Yield the commands of the indented blocks, continuation lines joined, and those in backticks."""
    text = (REPOSITORY / page).read_text().replace("\\\n", " ")
    text = re.sub(r"(-d '[^']*)\n\s*", r"\1 ", text)
    for line in re.findall(r"^    (?:\$ )?(\S.*)$", text, flags=re.MULTILINE):
        if re.match(PRINTED, line):
            yield line.split("  #")[0].strip()
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for inline in re.findall(r"`((?:make|python|docker compose) [^`]+)`", text.replace("\n", " ")):
        yield re.sub(r"\s+", " ", inline)


def all_commands() -> list[tuple[str, str]]:
    return sorted({(page, command) for page in PAGES for command in commands_of(page)})


COMMANDS = all_commands()


def words_of(command: str) -> list[str]:
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@cache
def help_of(script: str, subcommand: str) -> str:
    done = run(sys.executable, script, *filter(None, [subcommand]), "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_make(words: list[str]) -> None:
    done = run("make", "-n", *words[1:])
    assert done.returncode == 0, done.stderr


def check_python(words: list[str]) -> None:
    if words[1] == "-m":
        assert find_spec(words[2]) is not None
        return
    script = words[1]
    assert (REPOSITORY / script).is_file(), script
    subcommand = words[2] if script.endswith(("offsets.py", "dead_letters.py")) and len(words) > 2 else ""
    if script.endswith("render_settings.py"):
        return  # it has no options; tests/unit/test_env_example.py runs it
    shown = help_of(script, subcommand)
    for option in (word.partition("=")[0] for word in words[2:] if word.startswith("--")):
        assert option in shown, option


def check_docker(words: list[str]) -> None:
    assert words[1] == "compose"
    assert words[2] in SUBCOMMANDS, words[2]
    services = re.findall(r"^  ([a-z-]+):", (REPOSITORY / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    named = [re.sub("=.*", "", word) for word in words[3:] if re.fullmatch(r"[a-z-]+(=\d+)?", word) and word[0] != "-"]
    if words[2] in {"run", "exec"}:
        named = named[:1]
    assert set(named) <= set(services), named


def check_curl(words: list[str]) -> None:
    method, body = "GET", None
    headers: dict[str, str] = {}
    urls: list[str] = []
    options = iter(words[1:])
    for word in options:
        if word == "-X":
            method = next(options)
        elif word == "-H":
            name, _, value = next(options).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(options)
        elif not word.startswith("-"):
            urls.append(word)
    (url,) = urls
    path = re.fullmatch(r"http://127\.0\.0\.1:8000(/.*)", url)
    assert path is not None, url
    reader = FakeReader(assets=[build_asset("LU0006344922", "A fund", "MTF", None, None, None, 1.0, 0.1)])
    with AsgiClient(create_app(Gateway(FakePublisher(), reader))) as client:
        answer = client.request(method, path[1], headers=headers, content=body)
    # 404 with a sentence of ours: the route is there, and this empty system has no such customer or model.
    assert answer.status_code in {200, 202, 404, 503}, answer.text
    assert answer.status_code != 404 or "no list" in answer.text or "no trained model" in answer.text, answer.text


CHECKS = {"make": check_make, "python": check_python, "docker": check_docker, "curl": check_curl}


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS])
def test_a_printed_command_is_one_that_runs(page: str, command: str) -> None:
    words = words_of(command)

    CHECKS[words[0]](words)


def test_the_readme_prints_the_commands_that_a_new_user_types() -> None:
    printed = {command for page, command in COMMANDS if page == "README.md"}

    assert printed >= {
        "docker compose up --build -d",
        "python script/generate_interactions.py 85583A768E48870A546D Technology 10",
        "python FAR-Trans/download.py",
        "make demo",
        "make test",
    }


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        "python script/no_such_script.py",
        "python script/offsets.py list --no-such-option",
        "python -m no_such_module",
        "docker compose frobnicate",
        "docker compose logs no-such-service",
        "curl http://127.0.0.1:8000/no/such/route",
        "curl -X POST http://127.0.0.1:8000/models/retrain",
        "curl http://127.0.0.1:9999/models",
    ],
)
def test_a_command_that_does_not_run_would_be_found(command: str) -> None:
    words = words_of(command)

    with pytest.raises(AssertionError):
        CHECKS[words[0]](words)
