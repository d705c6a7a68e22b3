"""Which tests of a parallel session (pytest-xdist) run in one process: those of one file, where fixtures start slowly.

A fault campaign starts a whole system and measures how fast it recovers, so the campaigns run one after another.

pytest-xdist 3.8 carries `xdist_group` marks in the test ids, which pytest 9.2 no longer lets a plugin change: the marks
have no effect and no warning says so (pytest-xdist issue 1386). So the groups come from the paths in the test ids.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

SPREAD = frozenset({"slow", "unit", "contract"})  # these share nothing that starts slowly


class ScheduleByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Give a process whole files of `chaos`, `e2e` and `integration`, and single tests of the other folders."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the file of a test, or the test itself where the tests of a file may be spread."""
    path = nodeid.partition("::")[0]
    return nodeid if SPREAD & set(path.split("/")[:-1]) else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ScheduleByFile | None:
    """Answer for `--dist loadscope`; None leaves any other way of distribution to pytest-xdist."""
    return ScheduleByFile(config, log) if config.getoption("dist") == "loadscope" else None
