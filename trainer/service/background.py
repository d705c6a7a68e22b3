"""One training beside the loop, in a thread of its own: NumPy, SciPy and LightFM let the loop run meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.errors import describe_error
from shared.logging import get_logger
from trainer.service.job import Outcome, TrainingOrder

log = get_logger(__name__)


class TrainingThread:
    """Runs one order at a time; a daemon, so that a training that does not heed `stop` keeps no process alive."""

    def __init__(self, run: Callable[[TrainingOrder], Outcome]) -> None:
        self._run = run
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | None = None

    def start(self, order: TrainingOrder) -> None:
        """Begin; only while none is under way."""
        if self.is_busy():
            raise RuntimeError("a training is under way")
        self._thread = threading.Thread(target=self._work, args=(order,), name="training", daemon=True)
        self._thread.start()

    def is_busy(self) -> bool:
        """Return whether a training is under way, or its outcome not taken yet."""
        return self._thread is not None

    def take_outcome(self) -> Outcome | None:
        """Return how the training ended, once."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread.join()
        outcome, self._outcome, self._thread = self._outcome, None, None
        return outcome

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the training, so long at most; True when none is running any more."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def _work(self, order: TrainingOrder) -> None:
        began = time.monotonic()
        try:
            self._outcome = self._run(order)
        except Exception as error:  # a training always has an outcome, or the next one would begin without a pause
            log.exception("training.crashed", version=order.version)
            self._outcome = Outcome("failed", describe_error(error), time.monotonic() - began)
