"""A command that prepares a server's folder: it runs to its end, or ends with its owner, and never outlives it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence

from script.local.owned_process import LocalServerError, SystemUser, die_with_parent


def run_to_end(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    user: SystemUser | None = None,
    timeout_seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Ctrl-C in a terminal does not reach the command; on Linux it is killed when this process is."""
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            start_new_session=True,
            user=None if user is None else user.user_id,
            group=None if user is None else user.group_id,
            extra_groups=None if user is None else [],
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),
        )
    except subprocess.TimeoutExpired as error:
        raise LocalServerError(f"{command[0]} did not end within {timeout_seconds:.0f} s") from error
