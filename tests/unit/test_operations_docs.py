"""docs/operations.md and docs/production.md name what the code has, and no warning or error goes unexplained."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from api.metrics import GatewayMetrics
from script.render_settings import collect_settings
from shared.liveness import StallWatch
from trainer.service import metrics as trainer_metrics
from worker.metrics import WorkerMetrics

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()
PAGES = OPERATIONS + (REPOSITORY / "docs" / "production.md").read_text()
FLOWING = re.sub(r"\n(?=\S)", " ", PAGES)  # a line's end may lie within a name's surroundings
SOURCES = [path for folder in ("api", "worker", "trainer", "shared") for path in (REPOSITORY / folder).rglob("*.py")]
METRIC = re.compile(r"`(recommender_[a-z_]+)")
LOG_EVENTS = re.compile(r"\blogs? (`[a-z_.]+`(?:(?:, and |, | and )`[a-z_.]+`)*)")
SETTING = re.compile(r"`([A-Z]+(?:_[A-Z]+)+)[=`]")
SAID = re.compile(r'says? "([^"]+)"')
COMMAND = re.compile(r"python (-m [a-z.]+|[A-Za-z-]+/[a-z_]+\.py)")


@cache
def nodes() -> list[ast.AST]:
    return [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))]


@cache
def texts() -> str:
    """Return every text in the sources of the services, a line each."""
    return "\n".join(node.value for node in nodes() if isinstance(node, ast.Constant) and isinstance(node.value, str))


def logged(*levels: str) -> set[str]:
    """Return the names of the events that are logged at these levels."""
    return {
        str(node.args[0].value)
        for node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in levels
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
        and isinstance(node.args[0], ast.Constant)
    }


def exposed() -> set[str]:
    """Return the name of every sample that the three services can expose."""
    worker = CollectorRegistry()
    WorkerMetrics(worker)
    for name in ("worker", "trainer"):
        StallWatch(lambda: None, stall_seconds=60.0, name=name, registry=worker)
    trainer = [value for value in vars(trainer_metrics).values() if isinstance(value, MetricWrapperBase)]
    families: list[Metric] = [*worker.collect(), *(family for metric in trainer for family in metric.collect())]
    gateway = GatewayMetrics(queue_length=lambda: 0)
    gateway.count_processes()
    families += [one for one in gateway.registry.collect() if one.name.startswith("recommender_")]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def documented_events() -> set[str]:
    return {name for found in LOG_EVENTS.findall(FLOWING) for name in re.findall(r"`([a-z_.]+)`", found)}


def test_every_metric_on_the_pages_is_exposed() -> None:
    assert set(METRIC.findall(PAGES)) - exposed() == set()


def test_every_log_event_on_the_pages_is_in_the_code() -> None:
    names = documented_events()

    assert len(names) >= 30
    assert names - set(texts().splitlines()) == set()


def test_every_warning_and_error_of_the_code_is_explained() -> None:
    found = logged("warning", "error", "exception", "critical")

    assert len(found) >= 25
    assert {name for name in found if f"`{name}`" not in OPERATIONS} == set()


@pytest.mark.parametrize("pattern", ["log", "metric"])
def test_a_wrong_name_would_be_found(pattern: str) -> None:
    page = "*See:* log `consumer.gone`, `no.such_event` and `recommender_worker_no_such_metric` > 0"

    if pattern == "log":
        [names] = LOG_EVENTS.findall(page)
        assert set(re.findall(r"`([a-z_.]+)`", names)) & set(texts().splitlines()) == set()
    else:
        assert set(METRIC.findall(page)) - exposed() == {"recommender_worker_no_such_metric"}


def test_every_setting_on_the_pages_is_one() -> None:
    assert set(SETTING.findall(PAGES)) - {setting.name for setting in collect_settings()} == set()


def test_every_reason_that_is_quoted_is_said_by_the_code() -> None:
    quoted = SAID.findall(FLOWING)

    assert len(quoted) >= 3
    assert [reason for reason in quoted if reason not in texts()] == []


def test_every_command_on_the_pages_exists() -> None:
    commands = set(COMMAND.findall(PAGES))

    assert len(commands) >= 4
    for command in commands:
        path = command.removeprefix("-m ").replace(".", "/") if command.startswith("-m ") else command
        assert any((REPOSITORY / place).is_file() for place in (path, f"{path}.py", f"{path}/__main__.py")), command
