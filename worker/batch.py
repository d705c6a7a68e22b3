"""What one transaction works on."""

from __future__ import annotations

from dataclasses import dataclass

from shared.ports import Message


@dataclass(frozen=True)
class Batch:
    """Messages of one transaction, each partition's in the order of the log; interactions are applied first."""

    interactions: tuple[Message, ...] = ()
    requests: tuple[Message, ...] = ()

    def __len__(self) -> int:
        return len(self.interactions) + len(self.requests)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of them, in the order in which they take effect."""
        return self.interactions + self.requests

    def split(self, count: int) -> tuple[Batch, Batch]:
        """Return the first `count` messages and the others, both in the order in which they take effect."""
        after = max(0, count - len(self.interactions))
        return (
            Batch(self.interactions[:count], self.requests[:after]),
            Batch(self.interactions[count:], self.requests[after:]),
        )
