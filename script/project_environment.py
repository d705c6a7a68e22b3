"""Run a script with the packages of the project: in `.venv` of this clone when the Python that was called lacks them.

Every script calls `enter` before its other imports. It needs nothing but the standard library, of any Python 3.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NOT_POSSIBLE = 2


def enter(*packages: str) -> None:
    """Return when these packages are there; otherwise start the script again in `.venv`, or exit with what to type."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    environment = REPOSITORY / ".venv"
    program = environment / "bin" / "python"
    is_inside = Path(sys.prefix).resolve() == environment.resolve()
    if is_inside or not os.access(str(program), os.X_OK):
        state = "is not complete" if is_inside else "is not set up"
        command = f"make -C {shlex.quote(str(REPOSITORY))} setup"
        sys.stderr.write(f"The environment of the project {state}. Type: {command}\n")
        sys.exit(NOT_POSSIBLE)
    sys.stderr.write(f"{sys.executable} lacks {missing[0]}: continuing with {program}\n")
    sys.stderr.flush()
    os.execv(str(program), [str(program), *sys.argv])  # noqa: S606  (the same script, as it was called)
