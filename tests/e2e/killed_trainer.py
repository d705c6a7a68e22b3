"""A trainer that kills itself (SIGKILL) at a failpoint: python -m tests.e2e.killed_trainer

Reads one step a line from standard input ("none" for no death), trains once in a fork of itself, and prints how that
ended: the negative number of a signal, else the exit code. A fork, so that everything is imported only once.
"""

from __future__ import annotations

import os
import signal
import sys

from tests.chaos.failpoints import FAILPOINTS, set_failpoints
from trainer.__main__ import main

# In the order of a publication; between any two of them the trainer can be killed.
STEPS = (*(name for name, failpoint in FAILPOINTS.items() if failpoint.service == "trainer"), "none")


def die(_: str) -> None:
    """End this process as a crash of the machine's kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(step: str) -> int:
    """Train once in a child process; return how it ended."""
    child = os.fork()
    if child == 0:
        set_failpoints([step] if step != "none" else [], die)
        os._exit(main(["--once", "--force"]))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for line in sys.stdin:
        print(train_and_die(line.strip()), flush=True)
