"""How long a training may go on choosing."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Counts from its making; what is under way when it is spent is finished, nothing more is begun."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def is_spent(self) -> bool:
        """Whether nothing more should be begun."""
        return self._clock() >= self._end
