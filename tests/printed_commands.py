"""The commands that this repository prints: in its pages, in the help texts of its programs, and in its messages."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "FAR-Trans/README.md",
    *sorted(f"docs/{p.name}" for p in REPOSITORY.glob("docs/*.md")),
)
SOURCES = ("api", "worker", "trainer", "shared", "script", "FAR-Trans", "tests/chaos")
# Without options, so without a help text: docker compose, make or another script calls them.
WITHOUT_HELP = {
    "script/choose_requirements.py",
    "script/compose_secrets.py",
    "script/render_settings.py",
    "script.growing.measurements",
    "script.running_system",
    "trainer.spark",
    "api",
    "worker",
    "shared.migrations",
}
# Words of sentences that follow "make" or "docker compose" there: no target and no subcommand has such a name.
PROSE = {"a", "from", "lists", "of", "fields", "progress", "so", "into", "publishes", "runs"}
SUBCOMMANDS = {"up", "down", "run", "logs", "restart", "stop", "start", "exec", "ps", "config"}
_PRINTED = r"(?:[A-Z_]+=\S+ )*(?:make|python|curl|docker)\b"
_VALUE = r'(?:"[^"]*"|[^\s"`,;:()\[\]]+)'
_IN_TEXT = re.compile(
    rf"\bmake [a-z][a-z-]*(?: \[?[A-Z_]+={_VALUE}\]?)*"
    r"|\bpython (?:-m [a-z][\w.]*|(?!-)[\w./-]*[/-][\w./-]*|[\w-]+\.py)"
    r"(?: [a-z]+\b(?= --))?(?: \[?--[a-z][a-z-]*(?: [A-Z0-9][A-Z0-9.%]*\b)?\]?)*"
    r"|\bdocker compose(?: [a-z]+(?: --?[a-z-]+)*)?"
)


def commands_of_page(page: str) -> Iterator[str]:
    """Yield the commands of the indented blocks, continuation lines joined, and those in backticks."""
    text = (REPOSITORY / page).read_text().replace("\\\n", " ")
    text = re.sub(r"(-d '[^']*)\n\s*", r"\1 ", text)
    for line in re.findall(r"^    (?:\$ )?(\S.*)$", text, flags=re.MULTILINE):
        if re.match(_PRINTED, line):
            yield line.split("  #")[0].strip()
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for inline in re.findall(r"`((?:make|python|docker compose) [^`]+)`", text.replace("\n", " ")):
        yield re.sub(r"\s+", " ", inline)


def commands_in(text: str) -> Iterator[str]:
    """Yield the commands inside a message or a help text."""
    commands = (match[0].rstrip(".-") for match in _IN_TEXT.finditer(text))
    return (command for command in commands if command.split()[-1] not in PROSE)


def messages() -> Iterator[tuple[str, str]]:
    """Yield path and text of every string of the product; values inside an f-string become X."""
    for path in sorted(path for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
                yield str(path.relative_to(REPOSITORY)), "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                yield str(path.relative_to(REPOSITORY)), node.value


def programs() -> list[str]:
    """Return every script as a path and every module that can be run as a dotted name."""
    found = []
    for folder in SOURCES:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            name = str(path.relative_to(REPOSITORY))
            if path.name == "__main__.py":
                found.append(str(Path(name).parent).replace("/", "."))
            elif 'if __name__ == "__main__":' in path.read_text():
                is_module = folder not in ("script", "FAR-Trans") or "project_environment.py" not in path.read_text()
                is_script = not is_module or name in WITHOUT_HELP or path.name == "first_data.py"
                found.append(name if is_script else name.removesuffix(".py").replace("/", "."))
    return found


def all_help_texts() -> dict[str, str]:
    """Return the help page of each program that has one, and that of make."""
    names = [name for name in programs() if name not in WITHOUT_HELP]
    with ThreadPoolExecutor(2) as pool:
        pages = dict(zip(names, pool.map(lambda name: help_of(name, ""), names), strict=True))
    return {**pages, "make help": run("make", "help").stdout}


@cache
def help_of(program: str, subcommand: str) -> str:
    """Return a help page, as 80 columns show it."""
    start = [program] if program.endswith(".py") else ["-m", program]
    done = run(sys.executable, *start, *filter(None, [subcommand]), "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the folder of the repository."""
    return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def words_of(command: str) -> list[str]:
    """Return the words of a command without the variables before it and the brackets of optional parts."""
    words = shlex.split(re.sub(r"\[([^\]]*)\]", r"\1", command))
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def check_exists(command: str) -> None:
    """Raise AssertionError unless the target, script, module, service and each option exist."""
    words = words_of(command)
    {"make": _check_make, "python": _check_python, "docker": _check_docker}[words[0]](words)


def _check_make(words: Sequence[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        assert re.search(rf"^{name} \?=" if is_variable else rf"^{name}:", makefile, flags=re.MULTILINE), word


def _check_python(words: Sequence[str]) -> None:
    is_module = words[1] == "-m"
    program, arguments = (words[2], words[3:]) if is_module else (words[1], words[2:])
    if is_module:
        assert find_spec(program) is not None, program
    else:
        assert (REPOSITORY / program).is_file(), program
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    if options or (program.endswith(("offsets.py", "dead_letters.py", "kafka")) and arguments):
        has_subcommand = arguments and re.fullmatch("[a-z]+", arguments[0]) and "generate" not in program
        shown = help_of(program, arguments[0] if has_subcommand else "")
        for option in options:
            assert re.search(rf"{option}\b", shown), option


def _check_docker(words: Sequence[str]) -> None:
    assert words[1] == "compose"
    if len(words) == 2:
        return
    assert words[2] in SUBCOMMANDS, words[2]
    services = re.findall(r"^  ([a-z-]+):", (REPOSITORY / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    named = [re.sub("=.*", "", word) for word in words[3:] if re.fullmatch(r"[a-z-]+(=\d+)?", word) and word[0] != "-"]
    if words[2] in {"run", "exec"}:
        named = named[:1]
    assert set(named) <= set(services), named
